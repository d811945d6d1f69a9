"""Detectors on an audit: what each says of the pairs, and how they agree.

A split is one of them (``cfbd``), whose verdict counts; what the others say is stored beside it
(:mod:`cfbd_core.store.detections`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa

from cfbd_core.audit.columns import Columns
from cfbd_core.audit.duplicates import collapsible
from cfbd_core.audit.files import AuditFiles
from cfbd_core.config import SplitParams
from cfbd_core.detectors import DETECTORS, Cfbd, Detection, Pairs
from cfbd_core.detectors import detect as judge
from cfbd_core.detectors.base import LazyTexts
from cfbd_core.embedding.expected import Expect, ExpectedRows
from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.machine.progress import Progress
from cfbd_core.method.metrics import areas_under, share
from cfbd_core.method.scores import JoinedRows, Scores
from cfbd_core.store import queries
from cfbd_core.store.detections import StoredDetection, replace_detection
from cfbd_core.store.detections import detections as stored_detections
from cfbd_core.store.entries import SplitSummary
from cfbd_core.store.meta import MAPPING, SPLIT
from cfbd_core.store.scores import judged, read_consistency, read_scores, replace_verdicts

LONGEST_INFO_LIST = (
    1000  # values of a list in a detection's info: what is longer is an array of pairs, and not kept
)


def split(files: AuditFiles, params: SplitParams) -> SplitSummary:
    """Split the scored pairs of an audit and store it. See :meth:`cfbd_core.audit.audit.Audit.split`."""
    files.needed(MAPPING, "cfbd score")
    started = datetime.now(UTC)
    with files.database.reading() as connection:
        rows, consistency = read_consistency(connection)
    pairs = _pairs_to_split(Columns(files), rows, consistency, params)
    detection = Cfbd.from_registry(DETECTORS).under(params).split(pairs)
    summary = detection.summary
    with files.database.writing() as connection:
        replace_verdicts(connection, rows, detection.z, detection.subset, detection.poisoned)
        queries.set_meta(connection, SPLIT, summary)
        queries.record_run(connection, "split", started, params.to_dict(), summary["params"])
    return summary


def detect(
    files: AuditFiles,
    names: Sequence[str],
    seed: int,
    losses: Mapping[str, float] | None,
    progress: Progress,
) -> None:
    """Let detectors judge the scored pairs and store what they say. See :meth:`cfbd_core.audit.audit.Audit.detect`."""
    files.needed(MAPPING, "cfbd score")
    started = datetime.now(UTC)
    with files.database.reading() as connection:
        scores = read_scores(connection)
        is_scored = np.isin(queries.pair_rows(connection), scores["row"].to_numpy())
        image_ids = queries.image_groups(connection)[is_scored]
    pairs = _pairs_to_judge(Columns(files), scores, image_ids, seed, losses)
    new_detections = []
    chosen = list(dict.fromkeys(names))
    for number, name in enumerate(chosen, 1):
        progress(name, number, len(chosen))
        new_detections.append(stored(name, judge(name, pairs), scores["row"].to_numpy()))
    with files.database.writing() as connection:
        for one in new_detections:
            replace_detection(connection, one)
        settings = {"detectors": [one.name for one in new_detections], "seed": seed}
        flagged = {one.name: int(one.flagged.sum()) for one in new_detections}
        queries.record_run(connection, "detect", started, settings, flagged)


def detections(files: AuditFiles) -> list[Compared]:
    """Return each stored detection beside the verdict and the truth (:func:`compared`)."""
    with files.database.reading() as connection:
        every = stored_detections(connection)
        outcome = judged(connection)
    return [compared(one, *outcome) for one in every]


def _pairs_to_split(
    columns: Columns, rows: np.ndarray, consistency: np.ndarray, params: SplitParams
) -> Pairs:
    """Return what a split looks at of the scored pairs at ``rows`` int64 (n,): captions and c (n,), no pictures."""
    unread = np.broadcast_to(np.float32(np.nan), rows.shape)
    captions = JoinedRows(columns.files.shards.texts(), rows)
    return Pairs(
        image=captions,
        text=captions,
        scores=Scores(unread, unread, consistency, unread, unread),
        keys=LazyTexts(len(rows), lambda at: columns.keys_of(rows[at])),
        captions=LazyTexts(len(rows), lambda at: columns.captions_of(rows[at])),
        seed=params.seed,
        clusters=collapsible(columns, rows) if params.collapse_duplicates else None,
    )


def _pairs_to_judge(
    columns: Columns,
    scores: pa.Table,
    image_ids: np.ndarray,
    seed: int,
    losses: Mapping[str, float] | None,
) -> Pairs:
    """Return what any detector sees of the pairs of ``scores`` (row, s_o, s_g, consistency, residual, intra), by row.

    ``losses`` are of training on the pairs, by key.
    """
    rows, shards = scores["row"].to_numpy(), columns.files.shards
    named = ("s_o", "s_g", "consistency", "residual", "intra")
    keys = LazyTexts(len(rows), lambda at: columns.keys_of(rows[at]))
    images = JoinedRows(shards.images(), rows)
    return Pairs(
        image=images,
        text=JoinedRows(shards.texts(), rows),
        scores=Scores(*(scores[name].to_numpy().astype(np.float32) for name in named)),
        keys=keys,
        captions=LazyTexts(len(rows), lambda at: columns.captions_of(rows[at])),
        seed=seed,
        losses=None if losses is None else np.array([losses.get(key, np.nan) for key in keys]),
        image_ids=image_ids,
        expected=ExpectedRows(images, image_ids, lambda: _mapping_of(columns.files)),
    )


def _mapping_of(files: AuditFiles) -> Expect:
    from cfbd_core.audit import scoring  # torch takes a second to import: only for a detector that asks for F

    return scoring.mapping_of(files)


def check_names(names: Sequence[str]) -> None:
    """Raise ParameterError where no detector has one of these names, or none is given."""
    if not names:
        raise ParameterError(f"no detector is named; there are: {', '.join(DETECTORS)}")
    unknown = next((name for name in names if name not in DETECTORS), None)
    if unknown is not None:
        raise ParameterError(f"detector {unknown[:40]!r} is unknown; there are: {', '.join(DETECTORS)}")


def stored(name: str, detection: Detection, rows: np.ndarray) -> StoredDetection:
    """Return a detection of the pairs at ``rows`` int64 (n,) as it is stored."""
    info = plain_info(detection) | ({"targets": list(detection.targets)} if detection.targets else {})
    score = np.where(np.isfinite(detection.score), detection.score, np.nan).astype(np.float32)
    return StoredDetection(
        name, DETECTORS[name].title, datetime.now(UTC), info, rows, score, detection.flagged
    )


def plain_info(detection: Detection) -> dict[str, Any]:
    """Return what a detector says of its way, as JSON: numbers, words, short lists; a long array is left out.

    What is no JSON is stored as its text.
    """
    return {
        name: value
        for name, value in ((key, _plain(one)) for key, one in detection.info.items())
        if value != ()
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON; ``()`` for what is not kept."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist() if value.size <= LONGEST_INFO_LIST else ()
    try:
        return value if value == () else json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return str(value)[:LONGEST_INFO_LIST]


class Compared(TypedDict):
    """A detection beside the verdict and the truth.

    ``both``, ``alone`` and ``verdict_alone`` count pairs that both flag, that it flags alone, and that the verdict
    flags alone. AUROC, AUPRC, TPR and FPR are None where the truth is not known, or of one kind.
    """

    detector: str
    title: str
    made: str
    flagged: int
    both: int
    alone: int
    verdict_alone: int
    auroc: float | None
    auprc: float | None
    tpr: float | None
    fpr: float | None


def compared(
    detection: StoredDetection, rows: np.ndarray, flagged: np.ndarray, truth: np.ndarray
) -> Compared:
    """A detection beside the verdict ``flagged`` bool and the truth int8 of the scored pairs at ``rows``, each (n,)."""
    if not np.array_equal(detection.rows, rows):
        raise AuditError("the audit was scored anew meanwhile; open it again")
    mine, known = detection.flagged, truth >= 0
    poisons, clean = truth == 1, truth == 0
    areas = areas_under(poisons[known], detection.score[known]) if known.any() else None
    return {
        "detector": detection.name,
        "title": detection.title,
        "made": detection.made.isoformat(),
        "flagged": int(mine.sum()),
        "both": int((mine & flagged).sum()),
        "alone": int((mine & ~flagged).sum()),
        "verdict_alone": int((flagged & ~mine).sum()),
        "auroc": areas[0] if areas else None,
        "auprc": areas[1] if areas else None,
        "tpr": share(int((mine & poisons).sum()), int(poisons.sum())),
        "fpr": share(int((mine & clean).sum()), int(clean.sum())),
    }
