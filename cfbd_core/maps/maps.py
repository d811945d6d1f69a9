"""The map: which pairs are on it, where they lie, and their pictures, kept in ``DIR/maps/<space>/``.

The flagged pairs and those removed by hand are on the map, at most ``MOST_FLAGGED_SHARE`` of its points; then D_p and a
sample of the rest. A map is a folder of its own,
``<space>/<made at>/`` with ``map.parquet`` (row, x, y, weight) and ``sheet_NNNN.webp``; ``<space>/map.json``,
written last, says which one counts. So a map is whole or not there, its files never change, and an app
that still shows the one before finds it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cfbd_core.audit.audit import Audit
from cfbd_core.embedding.shards import EmbeddingFolder
from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.machine.checked_files import read_object, report_damage
from cfbd_core.machine.files import one_job, read_json, report_in_one_line, write_json
from cfbd_core.machine.json_shapes import COUNT
from cfbd_core.machine.places import DATABASE_NAME
from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.maps.lasso import Space
from cfbd_core.maps.layout import lay_out
from cfbd_core.maps.sprites import COLUMNS, PER_SHEET, TILE, write_sheets
from cfbd_core.method.scores import gather, unit_rows
from cfbd_core.pictures.picture import NO_PICTURE, Picture, pictures_of
from cfbd_core.pictures.thumbnails import Thumbnails
from cfbd_core.store import Database, queries
from cfbd_core.store.entries import EmbeddingEntry
from cfbd_core.store.meta import SPLIT

SPACES: tuple[Space, ...] = get_args(Space)
LEAST_POINTS, MOST_POINTS = 10, 100_000  # points; neighbours are found among all pairs of points
MOST_FLAGGED_SHARE = 0.8  # of the points, at most: a map of flagged pairs alone shows no contrast
INFO_NAME = "map.json"
INFO_SHAPE = {
    "folder": str,
    "embedding": dict,
    "points": range(MOST_POINTS + 1),
    **dict.fromkeys(("flagged", "pairs"), COUNT),
    **dict.fromkeys(("tile", "columns", "per_sheet"), range(1, 10_000)),
}
POINTS = pa.schema([("row", pa.int64()), ("x", pa.float32()), ("y", pa.float32()), ("weight", pa.float32())])
WAY_OUT = "make the map again"
IDENTITY = ("encoder", "sha256", "architecture", "width", "rows")  # of the plan: what the vectors rest on


class Sample(TypedDict):
    """The pairs of a map and how they were chosen, of which embeddings and after which split; how pictures lie."""

    space: Space
    points: int
    flagged: int
    pairs: int
    seed: int
    embedding: dict[str, object]
    settings_id: str | None
    tile: int
    columns: int
    per_sheet: int


class MapInfo(Sample):
    """What is kept of a map: in which ``folder`` it lies, and when it was made."""

    folder: str
    made_at: str


@dataclass(frozen=True, eq=False)
class Map:
    """Points of pairs in the plane and their pictures.

    ``rows`` int64 (n,) are the pairs, ``xy`` float32 (n, 2) their places, most within ±1. The picture
    of point i is tile ``i % per_sheet`` of ``sheets[i // per_sheet]``, row by row, ``columns`` tiles of
    ``tile`` px a row. ``info`` says how the map was made. ``weights`` float32 (n,) say how many of the audit's pairs
    each point stands for.
    """

    space: Space
    rows: np.ndarray
    xy: np.ndarray
    sheets: list[Path]
    tile: int
    columns: int
    per_sheet: int
    info: MapInfo = field(repr=False)
    weights: np.ndarray = field(repr=False)

    @property
    def id(self) -> str:
        """What no other map of this audit is called: its folder's name."""
        return Path(self.info["folder"]).name


def make_map(
    audit: Audit, space: Space, points: int = 5000, seed: int = 0, progress: Progress = no_progress
) -> Map:
    """Choose at most ``points`` pairs, lay their caption or image embeddings out, draw their pictures.

    ``progress(stage, done, total)`` gets the stages "neighbours", "layout" and "pictures". The same
    seed chooses and places the same. Raises ParameterError for a bad value or fewer than ten pairs,
    AuditError when the embeddings are not whole or this map is being made already.
    """
    if space not in SPACES:
        raise ParameterError(f"--space {space}: give {' or '.join(SPACES)}")
    if not LEAST_POINTS <= points <= MOST_POINTS:
        raise ParameterError(f"--points {points}: give {LEAST_POINTS} to {MOST_POINTS:,}")
    if not 0 <= seed < 2**32:
        raise ParameterError(f"--seed {seed}: give 0 to {2**32 - 1}")
    home = _home(audit.folder, space)
    with report_in_one_line(audit.folder):
        home.mkdir(parents=True, exist_ok=True)
    audit.check_source()
    with one_job(home, "map"):
        rows, weights, vectors, info = _sample(audit, space, points, seed)
        xy = lay_out(vectors, seed, progress)
        placed = pa.table({"row": rows, "x": xy[:, 0], "y": xy[:, 1], "weight": weights})
        _keep(audit, home, placed, info, progress)
    made = load_map(audit.folder, space)
    if made is None:
        raise AuditError(f"{audit.folder}: its embeddings changed while the map was made; make it again")
    return made


def load_map(audit_folder: str | Path, space: Space) -> Map | None:
    """Return the map last made, or None: there is none, it is damaged, or the embeddings were made anew since."""
    home = _home(audit_folder, space)
    try:
        info: MapInfo = read_object(home / INFO_NAME, INFO_SHAPE, WAY_OUT)
        if info["embedding"] != _identity(EmbeddingFolder(Path(audit_folder) / "embeddings").plan()):
            return None
        with report_damage(home / INFO_NAME, WAY_OUT):
            return _read_map(space, home / Path(info["folder"]).name, info)
    except (FileNotFoundError, AuditError):
        return None


def _read_map(space: Space, folder: Path, info: MapInfo) -> Map:
    """Read a map's points. Raises ValueError, and whatever a damaged file makes its reader raise."""
    path = folder / "map.parquet"
    if pq.read_metadata(path).num_rows != info["points"]:
        raise ValueError("other points than were told of")
    table = pq.read_table(path)
    if "weight" not in table.column_names:  # maps of before each point was one of a crowd
        table = table.append_column("weight", pa.array(np.ones(len(table), np.float32)))
    points = table.select(POINTS.names).cast(POINTS)
    sheets = [folder / f"sheet_{number:04d}.webp" for number in range(-(-len(points) // info["per_sheet"]))]
    if any(column.null_count for column in points.columns) or not all(map(os.path.isfile, sheets)):
        raise ValueError("it is not whole")
    rows, x, y, weights = (column.to_numpy() for column in points.columns)
    xy = np.column_stack([x, y])
    return Map(
        space, rows, xy, sheets, info["tile"], info["columns"], info["per_sheet"], info=info, weights=weights
    )


def _identity(plan: EmbeddingEntry | None) -> dict[str, object]:
    """What of the plan the vectors rest on."""
    return {name: None if plan is None else plan.get(name) for name in IDENTITY}


def _sample(
    audit: Audit, space: Space, points: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Sample]:
    """Return rows (n,), ascending, their weights (n,) and unit vectors (n, d), and what ``info`` says of them."""
    plan = audit.shards.plan()
    if plan is None:
        raise AuditError(f"{audit.folder}: not ready for this step; run `cfbd embed` first")
    shards = audit.shards.texts() if space == "captions" else audit.shards.images()
    with Database(audit.folder / DATABASE_NAME).reading() as connection:
        rows, flagged, probe = queries.map_candidates(connection)
        split = queries.get_meta(connection, SPLIT)
    pairs = len(rows)
    chosen = choose(flagged, probe, points, np.random.default_rng(seed))
    chosen = chosen[np.argsort(rows[chosen])]
    weights = weigh(flagged, probe, chosen)
    vectors = unit_rows(gather(shards, rows[chosen]))
    usable = np.isfinite(vectors).all(1)
    chosen, weights, vectors = chosen[usable], weights[usable], vectors[usable]
    if len(chosen) < LEAST_POINTS:
        raise ParameterError(
            f"{audit.folder}: {len(chosen)} pairs with embeddings; a map needs {LEAST_POINTS}"
        )
    info: Sample = {
        "space": space,
        "points": len(chosen),
        "flagged": int(flagged[chosen].sum()),
        "pairs": pairs,
        "seed": seed,
        "embedding": _identity(plan),
        "settings_id": split["settings_id"] if split else None,
        "tile": TILE,
        "columns": COLUMNS,
        "per_sheet": PER_SHEET,
    }
    return rows[chosen], weights, vectors, info


def choose(flagged: np.ndarray, probe: np.ndarray, points: int, rng: np.random.Generator) -> np.ndarray:
    """Positions (m,) of at most ``points`` of N pairs: the flagged, then D_p, then a sample of the rest.

    Each group that does not fit is thinned evenly from a random start in the order given, so a sample
    of pairs ordered by subset and consistency has its share of every stratum.
    """
    rest = ~(flagged | probe)
    chosen = [_evenly(np.flatnonzero(flagged), int(MOST_FLAGGED_SHARE * points), rng)]
    chosen.append(_evenly(np.flatnonzero(probe & ~flagged), points - len(chosen[0]), rng))
    chosen.append(_evenly(np.flatnonzero(rest), points - len(chosen[0]) - len(chosen[1]), rng))
    return np.concatenate(chosen)


def weigh(flagged: np.ndarray, probe: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return how many of N pairs each of the ``chosen`` positions (m,) stands for, float32 (m,).

    Those chosen of a group share its pairs in equal parts. The groups are those of :func:`choose`: flagged, the rest
    of D_p, the rest.
    """
    group = np.where(flagged, 0, np.where(probe, 1, 2))
    every, here = np.bincount(group, minlength=3), np.bincount(group[chosen], minlength=3)
    share = (every / np.maximum(here, 1)).astype(np.float32)
    weights: np.ndarray = share[group[chosen]]
    return weights


def _evenly(positions: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    if len(positions) <= most:
        return positions
    step = len(positions) / max(most, 1)
    return positions[((np.arange(most) + rng.random()) * step).astype(np.int64)]


def _keep(audit: Audit, home: Path, placed: pa.Table, info: Sample, progress: Progress) -> None:
    rows = placed["row"].to_numpy()
    made, before = datetime.now(UTC), _current(home)
    folder = home / f"{made:%Y%m%dT%H%M%S.%f}"
    try:
        folder.mkdir()
        thumbnails, pictures = Thumbnails(audit.folder), _pictures(audit, rows)
        write_sheets(folder, thumbnails, pictures, progress)
        pq.write_table(placed, folder / "map.parquet")
        write_json(home / INFO_NAME, {**info, "folder": folder.name, "made_at": made.isoformat()})
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    for old in home.iterdir():
        if old.is_dir() and old.name not in (folder.name, before):
            shutil.rmtree(old, ignore_errors=True)


def _home(audit_folder: str | Path, space: Space) -> Path:
    return Path(audit_folder) / "maps" / space


def _current(home: Path) -> str:
    return str((read_json(home / INFO_NAME) or {}).get("folder"))


def _pictures(audit: Audit, rows: np.ndarray) -> list[Picture]:
    pairs = audit.columns.pairs_at(rows)
    picture_of = dict(zip(pairs["row"].to_pylist(), pictures_of(audit.shards, pairs), strict=True))
    return [picture_of.get(row, NO_PICTURE) for row in rows.tolist()]
