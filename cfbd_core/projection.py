"""The map: which pairs are on it, where they lie, and their pictures, kept in ``DIR/maps/<space>/``.

The flagged pairs and those removed by hand are on the map, at most ``FLAGGED_SHARE`` of its points; then D_p and a
sample of the rest. A map is a folder of its own,
``<space>/<made at>/`` with ``map.parquet`` (row, x, y, weight) and ``sheet_NNNN.webp``; ``<space>/map.json``,
written last, says which one counts. So a map is whole or not there, its files never change, and an app
that still shows the one before finds it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cfbd_core.audit import Audit
from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.files import one_job, told_in_one_line, write_json
from cfbd_core.lasso import Space
from cfbd_core.layout import lay_out
from cfbd_core.places import DATABASE_NAME
from cfbd_core.scores import gather, unit_rows
from cfbd_core.shards import EmbeddingFolder
from cfbd_core.sprites import COLUMNS, PER_SHEET, TILE, write_sheets
from cfbd_core.store import Database, queries
from cfbd_core.thumbnails import Locator, Thumbnails, locator_of

SPACES: tuple[Space, ...] = get_args(Space)
LEAST, MOST = 10, 100_000  # points; neighbours are found among all pairs of points
FLAGGED_SHARE = 0.8  # of the points, at most: a map of flagged pairs alone shows no contrast
IDENTITY = ("encoder", "sha256", "architecture", "width", "rows")  # of the plan: what the vectors rest on

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Map:
    """Points of pairs in the plane and their pictures.

    ``rows`` int64 (n,) are the pairs, ``xy`` float32 (n, 2) their places, most within ±1. The picture
    of point i is tile ``i % per_sheet`` of ``sheets[i // per_sheet]``, row by row, ``columns`` tiles of
    ``tile`` px a row. ``info`` says how the map was made. ``weights`` float32 (n,) tell how many of the audit's pairs
    each point stands for.
    """

    space: Space
    rows: np.ndarray
    xy: np.ndarray
    sheets: list[Path]
    tile: int
    columns: int
    per_sheet: int
    info: dict[str, Any] = field(repr=False)
    weights: np.ndarray = field(repr=False)

    @property
    def id(self) -> str:
        """What no other map of this audit is called: its folder's name."""
        return Path(self.info["folder"]).name


def make_map(
    audit: Audit, space: Space, points: int = 5000, seed: int = 0, progress: Progress | None = None
) -> Map:
    """Choose at most ``points`` pairs, lay their caption or image embeddings out, draw their pictures.

    ``progress(stage, done, total)`` tells of the stages "neighbours", "layout" and "pictures". The same
    seed chooses and places the same. Raises ParameterError for a bad value or fewer than ten pairs,
    AuditError when the embeddings are not whole or this map is being made already.
    """
    if space not in SPACES:
        raise ParameterError(f"--space {space}: give {' or '.join(SPACES)}")
    if not LEAST <= points <= MOST:
        raise ParameterError(f"--points {points}: give {LEAST} to {MOST:,}")
    if not 0 <= seed < 2**32:
        raise ParameterError(f"--seed {seed}: give 0 to {2**32 - 1}")
    tell = progress or (lambda stage, done, total: None)
    home = _home(audit.folder, space)
    with told_in_one_line(audit.folder):
        home.mkdir(parents=True, exist_ok=True)
    with one_job(home, "map"):
        rows, weights, vectors, info = _sample(audit, space, points, seed)
        xy = lay_out(vectors, seed, tell)
        _keep(
            audit, home, pa.table({"row": rows, "x": xy[:, 0], "y": xy[:, 1], "weight": weights}), info, tell
        )
    made = load_map(audit.folder, space)
    if made is None:
        raise AuditError(f"{audit.folder}: its embeddings changed while the map was made; make it again")
    return made


def load_map(audit_folder: str | Path, space: Space) -> Map | None:
    """The map last made, or None: there is none, it is damaged, or the embeddings were made anew since."""
    home = _home(audit_folder, space)
    plan = EmbeddingFolder(Path(audit_folder) / "embeddings").plan() or {}
    try:
        info = json.loads((home / "map.json").read_text(encoding="utf-8"))
        if info["embedding"] != {name: plan.get(name) for name in IDENTITY}:
            return None
        folder = home / Path(info["folder"]).name
        table = pq.read_table(folder / "map.parquet")
        sheets = [
            folder / f"sheet_{number:04d}.webp" for number in range(-(-len(table) // info["per_sheet"]))
        ]
        if not all(sheet.is_file() for sheet in sheets):
            return None
        return Map(
            space,
            table["row"].to_numpy(),
            np.column_stack([table["x"].to_numpy(), table["y"].to_numpy()]),
            sheets,
            info["tile"],
            info["columns"],
            info["per_sheet"],
            info,
            # maps of before each point was one of a crowd
            table["weight"].to_numpy() if "weight" in table.column_names else np.ones(len(table), np.float32),
        )
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, pa.ArrowException):
        return None


def _sample(
    audit: Audit, space: Space, points: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
    """Rows (n,), ascending, their weights (n,) and unit vectors (n, d), and what is to be told of them."""
    plan = audit.shards.plan()
    if plan is None:
        raise AuditError(f"{audit.folder}: not ready for this step; run `cfbd embed` first")
    shards = audit.shards.texts() if space == "captions" else audit.shards.images()
    with Database(audit.folder / DATABASE_NAME).reading() as connection:
        rows, flagged, probe = queries.map_candidates(connection)
        split = queries.get_meta(connection, "split")
    pairs = len(rows)
    chosen = choose(flagged, probe, points, np.random.default_rng(seed))
    chosen = chosen[np.argsort(rows[chosen])]
    weights = weigh(flagged, probe, chosen)
    vectors = unit_rows(gather(shards, rows[chosen]))
    usable = np.isfinite(vectors).all(1)
    chosen, weights, vectors = chosen[usable], weights[usable], vectors[usable]
    if len(chosen) < LEAST:
        raise ParameterError(f"{audit.folder}: {len(chosen)} pairs with embeddings; a map needs {LEAST}")
    info = {
        "space": space,
        "points": len(chosen),
        "flagged": int(flagged[chosen].sum()),
        "pairs": pairs,
        "seed": seed,
        "embedding": {name: plan.get(name) for name in IDENTITY},
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
    chosen = [_evenly(np.flatnonzero(flagged), int(FLAGGED_SHARE * points), rng)]
    chosen.append(_evenly(np.flatnonzero(probe & ~flagged), points - len(chosen[0]), rng))
    chosen.append(_evenly(np.flatnonzero(rest), points - len(chosen[0]) - len(chosen[1]), rng))
    return np.concatenate(chosen)


def weigh(flagged: np.ndarray, probe: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """How many of N pairs each of the ``chosen`` positions (m,) stands for, float32 (m,).

    Those chosen of a group share its pairs in equal parts. The groups are those of :func:`choose`: flagged, the rest
    of D_p, the rest.
    """
    group = np.where(flagged, 0, np.where(probe, 1, 2))
    every, here = np.bincount(group, minlength=3), np.bincount(group[chosen], minlength=3)
    share = (every / np.maximum(here, 1)).astype(np.float32)
    found: np.ndarray = share[group[chosen]]
    return found


def _evenly(positions: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    if len(positions) <= most:
        return positions
    step = len(positions) / max(most, 1)
    return positions[((np.arange(most) + rng.random()) * step).astype(np.int64)]


def _keep(audit: Audit, home: Path, placed: pa.Table, info: dict[str, Any], progress: Progress) -> None:
    rows = placed["row"].to_numpy()
    made, before = datetime.now(UTC), _current(home)
    folder = home / f"{made:%Y%m%dT%H%M%S.%f}"
    try:
        folder.mkdir()
        pictures, locators = Thumbnails(audit.folder), _locators(audit, rows)
        write_sheets(folder, pictures, locators, lambda done: progress("pictures", done, len(rows)))
        pq.write_table(placed, folder / "map.parquet")
        write_json(home / "map.json", info | {"folder": folder.name, "made_at": made.isoformat()})
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    for old in home.iterdir():
        if old.is_dir() and old.name not in (folder.name, before):
            shutil.rmtree(old, ignore_errors=True)


def _home(audit_folder: str | Path, space: Space) -> Path:
    return Path(audit_folder) / "maps" / space


def _current(home: Path) -> str | None:
    try:
        return str(json.loads((home / "map.json").read_text(encoding="utf-8"))["folder"])
    except (OSError, ValueError, KeyError):
        return None


def _locators(audit: Audit, rows: np.ndarray) -> list[Locator]:
    pairs = audit.pairs_at(rows).select(["row", "image", "image_offset", "image_size"]).to_pylist()
    held = {pair["row"]: locator_of(pair) for pair in pairs}
    return [held.get(row, (None, None, None)) for row in rows.tolist()]
