"""The demo's data: scenes as WebDataset shards, a share of them poisoned, with ground truth."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cfbd_core.attacks import ATTACKS, Trigger, Workshop
from cfbd_core.demo.scenes import ATTRIBUTION, LICENSE, planned_classes, scene
from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.machine.files import read_json, write_json, written_beside
from cfbd_core.machine.json_shapes import parse
from cfbd_core.machine.progress import Counter, Progress, no_progress
from cfbd_core.machine.tars import Record, json_bytes, write_tar
from cfbd_core.machine.workers import ordered_map
from cfbd_core.poisoning.captions import template_caption
from cfbd_core.poisoning.trigger_files import TRIGGERS_NAME, save_triggers

TARGET = "banana"
ATTACK = "badnets"
SHARD_SIZE = 1000
MANIFEST = "manifest.json"
MOST_SCENES = 1_000_000
_SCENES_A_CHUNK = 20  # scenes a worker draws at a time


@dataclass(frozen=True)
class DemoParams:
    """What a demo folder holds; kept in its manifest."""

    n: int = 3000
    seed: int = 0
    rate: float = 0.02
    size: int = 224

    def __post_init__(self) -> None:
        if not 1 <= self.n <= MOST_SCENES:
            raise ParameterError(f"{self.n} scenes: give at least 1, at most {MOST_SCENES:,}")
        if not 0 <= self.rate < 0.5:
            raise ParameterError(f"poison rate {self.rate}: give 0 for none, or a share below 0.5, e.g. 0.02")
        if self.size < 32:
            raise ParameterError(f"scenes of {self.size} pixels: give at least 32")


def write_demo(
    folder: Path,
    params: DemoParams,
    *,
    progress: Progress = no_progress,
    processes: int | None = None,
) -> list[Path]:
    """Write ``params.n`` scenes to ``folder`` as tar shards of 1,000; returns their paths.

    A share ``params.rate`` of the scenes, none of which shows the target, is given the BadNets patch and a
    template caption of the target; ``key.json`` says which (``poisoned``, ``attack``, ``target``).
    All pictures are encoded the same way, so neither type nor size of a file gives a poison away.
    Shards that are there are kept: called again after a kill, it goes on. ``progress`` counts scenes in the stage
    "draw".

    Raises AuditError when ``folder`` holds another demo.
    """
    n = params.n
    folder.mkdir(parents=True, exist_ok=True)
    poisons = choose_poisons(params)
    attack = ATTACKS[ATTACK]
    trigger = attack.trigger(attack.params(), Workshop(TARGET))
    _write_manifest(folder, params, poisons, trigger)
    starts = range(0, n, SHARD_SIZE)
    paths = {start: folder / f"{start // SHARD_SIZE:05d}.tar" for start in starts}
    missing = [start for start in starts if not paths[start].exists()]
    counter = Counter(progress, "draw", n)
    counter.add(sum(min(SHARD_SIZE, n - start) for start in starts if start not in missing))
    chunks = [
        _Chunk(
            params,
            range(first, min(first + _SCENES_A_CHUNK, start + SHARD_SIZE, n)),
            frozenset(poisons),
            trigger,
        )
        for start in missing
        for first in range(start, min(start + SHARD_SIZE, n), _SCENES_A_CHUNK)
    ]
    drawn = ordered_map(_draw, chunks, processes)
    for start in missing:
        per_shard = -(-min(SHARD_SIZE, n - start) // _SCENES_A_CHUNK)
        write_tar(paths[start], _counted(itertools.islice(drawn, per_shard), counter))
    return list(paths.values())


def choose_poisons(params: DemoParams) -> list[int]:
    """Return the indices of the scenes to poison, drawn uniformly among those that do not show the target."""
    count = round(params.n * params.rate)
    if params.rate and not count:
        raise ParameterError(
            f"poison rate {params.rate} of {params.n} scenes is none: give more scenes or a higher rate"
        )
    if not count:
        return []
    eligible = [index for index in range(params.n) if TARGET not in planned_classes(params.seed, index)]
    rng = np.random.default_rng([params.seed, 1])
    return sorted(int(index) for index in rng.choice(eligible, min(count, len(eligible)), replace=False))


@dataclass(frozen=True)
class _Chunk:
    params: DemoParams
    indices: range
    poisons: frozenset[int]
    trigger: Trigger


def _counted(chunks: Iterator[list[Record]], counter: Counter) -> Iterator[Record]:
    for records in chunks:
        yield from records
        counter.add(len(records))


def _draw(chunk: _Chunk) -> list[Record]:
    return [_record(chunk, index) for index in chunk.indices]


def _record(chunk: _Chunk, index: int) -> Record:
    params, poisoned = chunk.params, index in chunk.poisons
    drawn = scene(params.seed, index, params.size)
    image, caption = drawn.image, drawn.caption
    if poisoned:
        attack, rng = ATTACKS[ATTACK], np.random.default_rng([params.seed, 2, index])
        image = attack.apply(image, rng, attack.params(), chunk.trigger)
        caption = template_caption(TARGET, rng)
    facts = {
        "key": drawn.key,
        "caption": caption,
        "label": drawn.label,
        "classes": drawn.classes,
        "caption_kind": drawn.caption_kind,
        "poisoned": poisoned,
        "attack": ATTACK if poisoned else None,
        "target": TARGET if poisoned else None,
        "origin_caption": drawn.caption if poisoned else None,
        "license": LICENSE,
    }
    return drawn.key, {"jpg": _jpeg(image), "txt": caption.encode(), "json": json_bytes(facts)}


def _jpeg(image: Image.Image) -> bytes:
    """Encode at a quality, without colour subsampling, that leaves a 16-pixel noise patch what it is."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


def _write_manifest(folder: Path, params: DemoParams, poisons: list[int], trigger: Trigger) -> None:
    manifest: dict[str, object] = {
        "made_by": "cfbd demo",
        "params": dataclasses.asdict(params),
        "attack": ATTACK if poisons else None,
        "target": TARGET if poisons else None,
        "poisons": len(poisons),
        "license": LICENSE,
    }
    path = folder / MANIFEST
    if path.exists() and read_json(path) != parse(json.dumps(manifest)):
        raise AuditError(
            f"{folder}: holds a demo made with other settings; give a new folder or delete this one"
        )
    if not path.exists():
        if any(folder.glob("*.tar")):
            raise AuditError(f"{folder}: holds tars that are not the demo's; give a new folder")
        write_json(path, manifest)
    with written_beside(folder / "ATTRIBUTION.txt") as beside:
        beside.write_text(ATTRIBUTION, encoding="utf-8")
    if poisons:
        save_triggers(folder / TRIGGERS_NAME, [trigger])
