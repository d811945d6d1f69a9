"""The log of decisions as CSV (a line an action, or a line a pair of an action) or JSON, written atomically."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

import pyarrow as pa
import pyarrow.csv as arrow_csv

from cfbd_core.errors import ParameterError
from cfbd_core.export import CSV_OPTIONS, neutralised
from cfbd_core.machine.files import clear_dead, parts_of, written_beside
from cfbd_core.machine.places import check_outside
from cfbd_core.store.log import Action

COLUMNS = ("id", "time", "who", "kind", "target", "decision", "note", "filter", "params", "pairs", "undone")
PAIR_COLUMNS = ("action", "key", "before", "after", "note_before", "note_after")
_JSON_BEGINS = '{"log_of": '
_TYPES = {"id": pa.int64(), "target": pa.int64(), "pairs": pa.int64(), "undone": pa.bool_()}


class WrittenLog(TypedDict):
    """A log that was written: where, and how many lines of actions or of their pairs."""

    out: str
    actions: NotRequired[int]
    pairs: NotRequired[int]


def as_csv(actions: Sequence[Action], *, spreadsheet_safe: bool = False) -> bytes:
    """Actions as CSV in UTF-8: ``COLUMNS``, filter and params as JSON."""
    rows = [
        {**action.to_dict(), "filter": _json(action.filter), "params": _json(action.params)}
        for action in actions
    ]
    schema = pa.schema([(name, _TYPES.get(name, pa.string())) for name in COLUMNS])
    table = pa.Table.from_pylist(rows, schema=schema).combine_chunks()
    return _csv(COLUMNS, table.to_batches(), spreadsheet_safe)


def _json(value: Mapping[str, object] | None) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def as_json(actions: Sequence[Action], folder: Path) -> bytes:
    """Actions as one JSON object: ``log_of`` (the audit's folder) and ``actions``."""
    lines = ",\n".join(json.dumps(action.to_dict(), ensure_ascii=False) for action in actions)
    return f'{_JSON_BEGINS}{json.dumps(str(folder.resolve()))}, "actions": [\n{lines}\n]}}\n'.encode()


def write(
    actions: Sequence[Action], out: Path, folder: Path, protected: Sequence[Path], spreadsheet_safe: bool
) -> WrittenLog:
    """Write the log of the audit in ``folder``, newest first in ``actions``, to a .csv or .json file.

    Raises ParameterError: another ending, a file that is no log, a place that is ``protected`` or not writable.
    """
    ending = out.suffix.lower()
    if ending not in (".csv", ".json"):
        raise ParameterError(f"--out {out}: give a .csv or .json file")
    if spreadsheet_safe and ending != ".csv":
        raise ParameterError("--spreadsheet-safe is for CSV only; leave it out for JSON")
    oldest_first = actions[::-1]
    data = (
        as_json(oldest_first, folder)
        if ending == ".json"
        else as_csv(oldest_first, spreadsheet_safe=spreadsheet_safe)
    )
    _put(out, [data], protected)
    return {"out": str(out), "actions": len(actions)}


def write_pairs(
    batches: Iterable[pa.RecordBatch], out: Path, protected: Sequence[Path], spreadsheet_safe: bool
) -> WrittenLog:
    """Write ``PAIR_COLUMNS`` to a .csv file, see :func:`write`."""
    if out.suffix.lower() != ".csv":
        raise ParameterError(f"--out {out}: with --pairs give a .csv file")
    written = 0

    def parts() -> Iterable[bytes]:
        nonlocal written
        yield _csv(PAIR_COLUMNS, [], spreadsheet_safe)
        for batch in batches:
            written += batch.num_rows
            yield _csv(None, [batch], spreadsheet_safe)

    _put(out, parts(), protected)
    return {"out": str(out), "pairs": written}


def _csv(header: Sequence[str] | None, batches: Iterable[pa.RecordBatch], spreadsheet_safe: bool) -> bytes:
    sink = pa.BufferOutputStream()
    if header is not None:
        sink.write((",".join(header) + "\r\n").encode())
    for batch in batches:
        arrow_csv.write_csv(neutralised(batch) if spreadsheet_safe else batch, sink, CSV_OPTIONS)
    return bytes(sink.getvalue())


def _put(out: Path, parts: Iterable[bytes], protected: Sequence[Path]) -> None:
    check_outside(f"--out {out}", [out], protected)
    try:
        if out.exists() and not _is_log(out):
            raise ParameterError(f"--out {out}: would overwrite what is no log; give another name")
        out.parent.mkdir(parents=True, exist_ok=True)
        clear_dead(out.parent, parts_of(out.name))
        with written_beside(out) as beside, beside.open("wb") as file:
            for part in parts:
                file.write(part)
    except OSError as error:
        raise ParameterError(
            f"--out {out}: cannot be written ({error.strerror}); give another place"
        ) from error


def _is_log(path: Path) -> bool:
    begins = (",".join(COLUMNS), ",".join(PAIR_COLUMNS), _JSON_BEGINS)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        first = file.read(max(map(len, begins)))
    return first.startswith(tuple(begin.encode() for begin in begins))
