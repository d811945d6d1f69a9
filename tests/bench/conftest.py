"""A base of toy pairs: pictures of one colour, captions that name it, F the identity."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cfbd_core import Audit
from cfbd_core.bench.base import Base, read_base
from cfbd_core.bench.scenario import Attacker, Poisoner
from cfbd_core.embedding.mapping import Mapping, MappingInfo
from cfbd_core.embedding.mapping_network import new_network
from cfbd_core.poisoning.plan import PoisonParams
from tests.toy import COLOURS, WIDTH, ToyEncoder, toy_caption, toy_picture

PAIRS = 400


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    rng = np.random.default_rng(0)
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "image", "caption"])
        for index in range(PAIRS):
            colour = list(COLOURS)[index % len(COLOURS)]
            toy_picture(colour, rng).save(folder / f"{index:04d}.png")
            writer.writerow([f"{index:04d}", f"{index:04d}.png", toy_caption(colour, rng)])
    return folder / "pairs.csv"


@pytest.fixture(scope="session")
def base(source: Path) -> Base:
    audit = Audit.create(source.parent / "audit")
    audit.ingest(source)
    return read_base(audit, audit.embed(ToyEncoder()))


@pytest.fixture
def make_poisoner(base: Base, tmp_path: Path) -> Callable[..., Poisoner]:
    """Return a function that makes a poisoner with an encoder of its own."""

    def make(
        encoder: ToyEncoder | None = None,
        pool: Callable[[int], list[Image.Image]] = lambda _: [],
        given: Callable[[PoisonParams], list[str] | None] = lambda _: None,
    ) -> Poisoner:
        def identity(_image: object, _text: object, _record_of: object) -> Callable[..., np.ndarray]:
            return lambda image, _groups: image.astype(np.float32)

        kept = tmp_path / "triggers"
        return Poisoner(base, encoder or ToyEncoder(), identity, Attacker(pool, kept, given=given))

    return make


@pytest.fixture
def toy_mapping(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an F of the toy encoder, by name; other seeds are other networks."""

    def make(name: str, seed: int = 0) -> Path:
        info = MappingInfo("toy", ToyEncoder.sha256, "nothing", 0.0, 0, seed, WIDTH)
        path = tmp_path / f"{name}.safetensors"
        Mapping([new_network(WIDTH, seed)], info).save(path)
        return path

    return make
