"""Training runs and what they logged: in the audit that they trained on, or in a file of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
    request: dict[str, Any],
    result: dict[str, Any] | None,
    lines: Sequence[dict[str, Any]],
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


def runs(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return all runs, oldest first: ``folder``, ``asked`` (its run.json), ``result`` (its result.json, or None)."""
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


def _stored(text: str, shape: Any, folder: str) -> dict[str, Any]:
    try:
        value: dict[str, Any] = parse(text)
        check(value, shape)
    except ValueError as error:
        raise AuditError(
            f"what the audit holds of the training run {folder} is damaged ({error}); "
            f"`cfbd train --out {folder} --resume` takes it in again"
        ) from error
    return value


def _table(folder: str, lines: Sequence[dict[str, Any]]) -> pa.Table:
    rows = [
        {
            **{name: line.get(name) for name in ("kind", "step", "epoch", *_NUMBERS)},
            "folder": folder,
            "parts": json.dumps(line["parts"]) if line.get("parts") else None,
        }
        for line in lines
    ]
    return pa.Table.from_pylist(rows, schema=_METRICS)


def _has_tables(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether the file has them: an audit of version 1 in which nothing was trained has not."""
    query = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'training_runs'"
    return bool(connection.execute(query).fetchall()[0][0])
