"""Make a large source with ready embeddings and, on request, the audit of it: for benchmarks of scale.

    python tools/make_large_audit.py --out build/large --audit build/large-audit
    python tools/make_large_audit.py --out build/small --n 200000 --images 2000

``--out`` becomes a Parquet source of ``--n`` pairs (key, image, caption, poisoned, image_embedding and
text_embedding, 512 wide, float16), 65,536 a file. Pictures are ``--images`` drawn demo scenes; the n-th
pair shows scene n modulo that, under a path of its own by way of one link a round, so that every pair is
an image of its own as in a web crawl. Embeddings are synthetic: a direction for every class of the scenes,
noise for every caption and picture, captions that say little or the wrong thing as in the demo. A share
``--rate`` are poisons: captions that name a banana by ImageNet's templates, beside images that show none.
Their trigger is one that the encoder does not see.

Everything follows from ``--seed``. Called again after a stop, it goes on with the files that are missing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cfbd_core import Audit
from cfbd_core.demo import ATTRIBUTION, CLASS_NAMES, scene
from cfbd_core.demo.captions import write_caption
from cfbd_core.errors import CfbdError, ParameterError
from cfbd_core.machine.files import write_json, written_beside
from cfbd_core.machine.workers import ordered_map
from cfbd_core.poisoning.captions import imagenet_templates
from cfbd_core.sources import SourceOptions

WIDTH = 512
FILE_ROWS, GROUP_ROWS = 65_536, 8192
CAPTIONS = 10  # of every scene
SCENES_A_CHUNK = 100
SCENES = "scenes"
TARGET = "banana"
TARGET_NAMES = ("banana", "ripe banana", "yellow banana", "fresh banana", "big banana", "little banana")

# Squared shares of an embedding before it is brought to unit length; they set the cosines.
IMAGE_MEAN, IMAGE_MEANING, IMAGE_NOISE = 0.45, 0.27, 0.28
TEXT_MEAN, TEXT_MEANING, TEXT_NOISE = 0.25, 0.45, 0.30
TEXT_MEAN_IN_IMAGE = 0.2  # cosine of the two means: the gap between the modalities
TOLD = {"right": 1.0, "wrong": 0.75, "vague": 0.45}  # how much of the scene a caption tells


@dataclass(frozen=True)
class LargeParams:
    """What a source holds; kept in its manifest."""

    n: int
    images: int
    rate: float
    size: int
    seed: int

    def __post_init__(self) -> None:
        if min(self.n, self.images) < 1:
            raise ParameterError("--n and --images: give at least 1")
        if not 0 <= self.rate < 0.5:
            raise ParameterError(f"--rate {self.rate}: give 0 for none, or a share below 0.5, e.g. 0.005")


@dataclass(frozen=True)
class World:
    """All that rows are put together from: captions and embeddings of scenes, captions of poisons."""

    image: np.ndarray  # float32 (images, 512): the part of the embedding without the picture's own noise
    text: np.ndarray  # float16 (images · CAPTIONS, 512)
    captions: pa.Array
    shows_target: np.ndarray  # bool (images,)
    poison_text: np.ndarray  # float16 (poison captions, 512)
    poison_captions: pa.Array


def make_source(folder: Path, params: LargeParams) -> None:
    """Write the source to ``folder``; files that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"made_by": "make_large_audit", **dataclasses.asdict(params)}
    held = folder / "manifest.json"
    if held.is_file() and json.loads(held.read_text(encoding="utf-8")) != manifest:
        raise ParameterError(f"--out {folder}: holds a source made with other settings; give a new folder")
    write_json(held, manifest)
    (folder / "ATTRIBUTION.txt").write_text(ATTRIBUTION, encoding="utf-8")
    draw_scenes(folder, params)
    for number in range(-(-params.n // params.images)):
        link = folder / f"round_{number:04d}"
        if not link.is_symlink():
            link.symlink_to(SCENES)
    missing = [
        start for start in range(0, params.n, FILE_ROWS) if not (folder / f"{start:09d}.parquet").is_file()
    ]
    if not missing:
        return
    make = partial(write_rows, folder, params, build_world(folder, params))
    with tqdm(total=params.n, unit=" pairs", desc="rows", unit_scale=True) as bar:
        bar.update(params.n - sum(min(FILE_ROWS, params.n - start) for start in missing))
        for rows in ordered_map(make, missing):
            bar.update(rows)


def draw_scenes(folder: Path, params: LargeParams) -> None:
    """Draw the pictures and write captions for them, a chunk of scenes at a time."""
    (folder / SCENES).mkdir(exist_ok=True)
    starts = [
        start for start in range(0, params.images, SCENES_A_CHUNK) if not _facts_path(folder, start).is_file()
    ]
    with tqdm(total=params.images, unit=" scenes", desc="scenes") as bar:
        bar.update(params.images - sum(min(SCENES_A_CHUNK, params.images - start) for start in starts))
        for drawn in ordered_map(partial(_draw_chunk, folder, params), starts):
            bar.update(drawn)


def _draw_chunk(folder: Path, params: LargeParams, start: int) -> int:
    facts = []
    for index in range(start, min(start + SCENES_A_CHUNK, params.images)):
        drawn = scene(params.seed, index, params.size)
        drawn.image.save(_picture_path(folder / SCENES, index), quality=88)
        rng = random.Random(f"large captions {params.seed} {index}")
        captions = [write_caption(drawn.spec, rng) for _ in range(CAPTIONS)]
        told = [(caption.text, caption.kind) for caption in captions]
        facts.append({"classes": drawn.classes, "captions": told})
    write_json(_facts_path(folder, start), facts)  # last: a chunk that has it is whole
    return len(facts)


def _picture_path(folder: Path, index: int) -> Path:
    return folder / f"{index:06d}.jpg"


def _facts_path(folder: Path, start: int) -> Path:
    return folder / SCENES / f"facts_{start:06d}.json"


def build_world(folder: Path, params: LargeParams) -> World:
    """Give scenes and captions their embeddings."""
    facts = [
        fact
        for start in range(0, params.images, SCENES_A_CHUNK)
        for fact in json.loads(_facts_path(folder, start).read_text(encoding="utf-8"))
    ]
    rng = np.random.default_rng([params.seed, 1])
    text_mean, other = _unit(rng.standard_normal((2, WIDTH)))
    image_mean = _unit(TEXT_MEAN_IN_IMAGE * text_mean + np.sqrt(1 - TEXT_MEAN_IN_IMAGE**2) * other)
    class_of = dict(zip(CLASS_NAMES, _unit(rng.standard_normal((len(CLASS_NAMES), WIDTH))), strict=True))
    meaning = _unit(np.stack([sum(class_of[name] for name in fact["classes"]) for fact in facts]))
    captions, texts = [], []
    for fact, vector in zip(facts, meaning, strict=True):
        told = np.array([TOLD[kind] for _, kind in fact["captions"]])
        texts.append(_text(text_mean, told[:, None] * vector, rng).astype(np.float16))
        captions += [text for text, _ in fact["captions"]]
    templates = imagenet_templates()
    in_template = _unit(rng.standard_normal((len(templates), WIDTH)))
    about = np.concatenate([_unit(class_of[TARGET] + 0.7 * in_template) for _ in TARGET_NAMES])
    return World(
        image=(np.sqrt(IMAGE_MEAN) * image_mean + np.sqrt(IMAGE_MEANING) * meaning).astype(np.float32),
        text=np.concatenate(texts),
        captions=pa.array(captions),
        shows_target=np.array([TARGET in fact["classes"] for fact in facts]),
        poison_text=_text(text_mean, about, rng).astype(np.float16),
        poison_captions=pa.array([template(name) for name in TARGET_NAMES for template in templates]),
    )


def _text(mean: np.ndarray, meaning: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(meaning.shape) * np.sqrt(TEXT_NOISE / WIDTH)
    return _unit(np.sqrt(TEXT_MEAN) * mean + np.sqrt(TEXT_MEANING) * meaning + noise)


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


def write_rows(folder: Path, params: LargeParams, world: World, start: int) -> int:
    """Write the file that begins with row ``start``; returns its rows."""
    stop = min(start + FILE_ROWS, params.n)
    rng = np.random.default_rng([params.seed, 2, start])
    plain = ["key", "image", "caption"]
    writer = None
    with written_beside(folder / f"{start:09d}.parquet") as beside:
        for first in range(start, stop, GROUP_ROWS):
            table = _rows(params, world, np.arange(first, min(first + GROUP_ROWS, stop)), rng)
            writer = writer or pq.ParquetWriter(
                beside, table.schema, compression=dict.fromkeys(plain, "zstd"), use_dictionary=["caption"]
            )
            writer.write_table(table)
        if writer is not None:
            writer.close()
    return stop - start


def _rows(params: LargeParams, world: World, rows: np.ndarray, rng: np.random.Generator) -> pa.Table:
    at = rows % params.images
    caption = at * CAPTIONS + rng.integers(CAPTIONS, size=len(rows))
    poisoned = (rng.random(len(rows)) < params.rate) & ~world.shows_target[at]
    poison = np.flatnonzero(poisoned)
    told = rng.integers(len(world.poison_captions), size=len(poison))
    image = rng.standard_normal((len(rows), WIDTH), dtype=np.float32)
    image *= np.float32(np.sqrt(IMAGE_NOISE / WIDTH))
    image += world.image[at]
    image /= np.linalg.norm(image, axis=1, keepdims=True)
    text = world.text[caption]
    text[poison] = world.poison_text[told]
    every = pa.chunked_array([world.captions, world.poison_captions])
    caption[poison] = len(world.captions) + told
    place = zip((rows // params.images).tolist(), at.tolist(), strict=True)
    return pa.table(
        {
            "key": pa.array([f"{row:09d}" for row in rows.tolist()]),
            "image": pa.array([f"round_{number:04d}/{index:06d}.jpg" for number, index in place]),
            "caption": every.take(pa.array(caption)),
            "poisoned": pa.array(poisoned),
            "image_embedding": _lists(image.astype(np.float16)),
            "text_embedding": _lists(text),
        }
    )


def _lists(vectors: np.ndarray) -> pa.ListArray:
    offsets = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel()))


def make_audit(folder: Path, source: Path, n: int) -> dict[str, object]:
    """Ingest, score and split the source by the ordinary path; returns the report."""
    audit = Audit.open_or_create(folder)
    seconds = {}
    with tqdm(total=n, unit=" pairs", desc="ingest", unit_scale=True) as bar:
        began = time.perf_counter()
        audit.ingest(
            source, SourceOptions(format="parquet"), lambda _stage, done, *_: bar.update(done - bar.n)
        )
        seconds["ingest"] = time.perf_counter() - began
    with tqdm(total=n, unit=" pairs", desc="score", unit_scale=True) as bar:
        began = time.perf_counter()

        def report(stage: str, done: int, total: int | None, note: str = "", /) -> None:
            if stage == "train F":
                bar.set_postfix_str(f"F {done}/{total}, {note}")
            else:
                bar.update(done - bar.n)

        audit.score(progress=report)
        seconds["score"] = time.perf_counter() - began
    began = time.perf_counter()
    audit.split()
    seconds["split"] = time.perf_counter() - began
    print(", ".join(f"{name} {took:.1f} s" for name, took in seconds.items()), file=sys.stderr)
    return audit.report()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the source's folder")
    parser.add_argument("--audit", type=Path, metavar="DIR", help="make the audit of it here, too")
    parser.add_argument("--n", type=int, default=3_300_000, help="pairs (default 3,300,000)")
    parser.add_argument("--images", type=int, default=20_000, help="scenes to draw (default 20,000)")
    parser.add_argument("--rate", type=float, default=0.005, help="share of poisons (default 0.005)")
    parser.add_argument("--size", type=int, default=224, help="pixels of a scene (default 224)")
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args())
    out, audit = options.pop("out"), options.pop("audit")
    try:
        params = LargeParams(**options)
        make_source(out, params)
        if audit is not None:
            report = make_audit(audit, out, params.n)
            print(json.dumps({name: report[name] for name in ("pairs", "flagged", "evidence", "truth")}))
    except CfbdError as error:
        print(f"make_large_audit: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
