"""Training runs and what they logged: in the audit that they trained on, or in a file of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import duckdb
import pyarrow as pa

from cfbd_core.errors import AuditError
from cfbd_core.machine.json_shapes import COUNT, check, parse
from cfbd_core.store import schema
from cfbd_core.store.database import DuckFile

_TEXT, _WHOLE, _NUMBER = (str, None), (COUNT, None), (float, None)
REQUEST_SHAPE = {
    "id?": str,
    "params?": {
        **{f"{name}?": _TEXT for name in ("subset", "model", "defense", "device", "precision")},
        **{f"{name}?": _WHOLE for name in ("epochs", "steps", "batch_size", "warmup", "seed")},
        **{f"{name}?": _NUMBER for name in ("lr", "weight_decay", "crop_scale")},
        "defense_options?": dict,
    },
    **{f"{name}?": _TEXT for name in ("audit", "data", "engine", "set_fingerprint", "started")},
    **{f"{name}?": _WHOLE for name in ("pairs", "epochs", "steps")},
    "measured_on?": {str: _TEXT},
}
RESULT_SHAPE = {
    **{f"{name}?": COUNT for name in ("steps", "epochs", "pairs")},
    **{f"{name}?": _NUMBER for name in ("loss", "seconds", "pairs_per_s", "ca", "asr")},
}
_NUMBERS = ("loss", "lr", "logit_scale", "pairs_per_s", "ca", "asr", "time")
_METRICS = pa.schema(
    [
        ("folder", pa.string()),
        ("kind", pa.string()),
        ("step", pa.int64()),
        ("epoch", pa.int64()),
        *((name, pa.float64()) for name in _NUMBERS),
        ("parts", pa.string()),
    ]
)


class TrainSettings(TypedDict, total=False):
    """The fields of ``TrainParams`` as JSON; runs of older versions lack some."""

    subset: str | None
    model: str
    defense: str
    defense_options: dict[str, Any]
    epochs: int | None
    steps: int | None
    batch_size: int
    accumulate: int
    lr: float | None
    betas: list[float]
    eps: float
    weight_decay: float
    warmup: int | None
    crop_scale: float
    seed: int
    device: str
    precision: str
    checkpoint_every: int
    log_every: int
    workers: int


class SetOrigin(TypedDict):
    """Where the pairs of a set come from: an audit's folder and which of its pairs, or an export; None for others."""

    audit: str | None
    data: str | None
    subset: str | None


class RequestEntry(SetOrigin):
    """The content of ``run.json``; ``id`` changes with whatever decides what is learned.

    Runs of older versions lack some of it: whoever reads it says what is needed. ``measured_on`` are the sources of
    classes, images and attack.
    """

    id: str
    params: TrainSettings
    pairs: int
    set_fingerprint: str
    model_sha256: str
    epochs: int
    steps: int
    engine: str
    versions: dict[str, str]
    started: str
    measured_on: NotRequired[dict[str, str | None]]


class Measured(TypedDict, total=False):
    """What an evaluation finds: CA and ASR, and of how many pictures."""

    ca: float | None
    asr: float | None
    images: int | None
    asr_images: int | None


class RunFigures(TypedDict):
    """How far a run went: ``loss`` is the mean since the last step that was logged, None where there was none."""

    steps: int
    epochs: int
    loss: float | None
    seconds: float
    pairs_per_s: float | None


class ResultEntry(RunFigures):
    """The content of ``result.json``."""

    ca: float | None
    asr: float | None
    images: NotRequired[int | None]
    asr_images: NotRequired[int | None]
    defense: str
    subset: str | None
    model: str
    pairs: int
    device: str
    finished: str


class StepLine(TypedDict):
    """A line of ``metrics.jsonl`` that tells of a step; ``parts`` are those of its loss."""

    kind: Literal["step"]
    step: int
    epoch: NotRequired[int]
    loss: float | None
    parts: dict[str, float] | None
    lr: float
    logit_scale: float
    pairs_per_s: float | None
    time: float


class EvalLine(Measured):
    """A line of ``metrics.jsonl`` that tells of an evaluation."""

    kind: Literal["eval"]
    step: int
    epoch: int
    time: float


LogLine = StepLine | EvalLine


class StoredRun(TypedDict):
    """A run as a database holds it; ``result`` is None where it has not ended well."""

    folder: str
    asked: RequestEntry
    result: ResultEntry | None


@contextmanager
def writing_run(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a run's own file ``path`` to write, making it if need be."""
    file = DuckFile(path)
    file.make(lambda connection: connection.execute(schema.TRAINING))
    with file.writing() as connection:
        yield connection


def put_run(
    connection: duckdb.DuckDBPyConnection,
    folder: str,
    request: RequestEntry,
    result: ResultEntry | None,
    lines: Sequence[LogLine],
) -> None:
    """Put a run and the lines of its log in place of what is stored of ``folder``.

    ``result`` is None where it has not ended well (yet).
    """
    connection.execute(
        "INSERT OR REPLACE INTO training_runs VALUES (?, ?, ?, ?, ?)",
        [
            folder,
            json.dumps(request, allow_nan=False),
            None if result is None else json.dumps(result, allow_nan=False),
            request.get("started"),
            datetime.now(UTC),
        ],
    )
    connection.execute("DELETE FROM training_metrics WHERE folder = ?", [folder])
    connection.register("lines", _table(folder, lines))
    connection.execute("INSERT INTO training_metrics BY NAME SELECT * FROM lines")
    connection.unregister("lines")


def runs(connection: duckdb.DuckDBPyConnection) -> list[StoredRun]:
    """Return all runs, oldest first."""
    if not _has_tables(connection):
        return []
    rows = connection.execute(
        "SELECT folder, asked, result FROM training_runs ORDER BY started, folder"
    ).fetchall()
    return [
        {
            "folder": folder,
            "asked": _stored(request, REQUEST_SHAPE, folder),
            "result": None if result is None else _stored(result, RESULT_SHAPE, folder),
        }
        for folder, request, result in rows
    ]


def metrics(connection: duckdb.DuckDBPyConnection, folder: str) -> pa.Table:
    """Return what the run in ``folder`` logged, by step; lines of kind "step" and "eval"."""
    if not _has_tables(connection):
        return _METRICS.empty_table()
    query = (
        f"SELECT {', '.join(_METRICS.names)} FROM training_metrics WHERE folder = ? ORDER BY step, kind DESC"
    )
    return connection.sql(query, params=[folder]).to_arrow_table()


def _stored(text: str, shape: Any, folder: str) -> Any:
    try:
        value = parse(text)
        check(value, shape)
    except ValueError as error:
        raise AuditError(
            f"what the audit holds of the training run {folder} is damaged ({error}); "
            f"`cfbd train --out {folder} --resume` takes it in again"
        ) from error
    return value


def _table(folder: str, lines: Sequence[LogLine]) -> pa.Table:
    return pa.Table.from_pylist([_row(folder, line) for line in lines], schema=_METRICS)


def _row(folder: str, line: LogLine) -> dict[str, object]:
    row: dict[str, object] = {name: line.get(name) for name in ("kind", "step", "epoch", *_NUMBERS)}
    parts = line.get("parts")
    return row | {"folder": folder, "parts": json.dumps(parts) if parts else None}


def _has_tables(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether the file has them: an audit of version 1 in which nothing was trained has not."""
    query = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'training_runs'"
    return bool(connection.execute(query).fetchall()[0][0])
