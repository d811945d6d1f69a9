"""Read decisions that were made elsewhere: a CSV with the columns key, decision and, if wanted, note."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import pyarrow as pa

from cfbd_core.errors import SourceError
from cfbd_core.sources.csv_lines import MAX_RECORD_CHARS
from cfbd_core.sources.locate import check_file
from cfbd_core.store.columns import DECISIONS


def read_decisions(path: Path, most: int | None = None) -> pa.Table:
    """Read the CSV as a table (key, decision, note); an exported CSV is one such file.

    Raises SourceError: not readable, a column is missing, a row has no key or is cut before its decision,
    a decision is none of keep, remove, unsure and empty, a key has two different ones (the line is named), there are
    more than ``most`` keys, or none.
    """
    check_file(path)
    # The limit belongs to the whole process; exported captions are longer than its default.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD_CHARS))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = iter(partial(file.readline, MAX_RECORD_CHARS), "")  # of a device, too, that has none
            reader = csv.DictReader(lines)
            missing = {"key", "decision"} - set(reader.fieldnames or ())
            if missing:
                raise SourceError(f"{path}: no column {missing.pop()!r}; it needs key and decision")
            rows: dict[str, tuple[str, str]] = {}
            for row in reader:
                where = f"{path} line {reader.line_num}"
                if not row["key"]:
                    raise SourceError(f"{where}: the row has no key; give it one or delete the row")
                if row["decision"] is None:
                    raise SourceError(f"{where}: the row ends before its decision; complete it or delete it")
                decision = row["decision"].strip().lower()
                if decision not in DECISIONS:
                    raise SourceError(f"{where}: decision {decision[:40]!r}; give keep, remove or unsure")
                earlier = rows.get(row["key"], (decision, ""))[0]
                if earlier != decision:
                    both_decisions = f"{earlier or 'nothing'} and {decision or 'nothing'}"
                    raise SourceError(
                        f"{where}: key {row['key'][:60]!r} is decided twice, {both_decisions}; keep one line"
                    )
                rows[row["key"]] = (decision, row.get("note") or "")
                if most is not None and len(rows) > most:
                    raise SourceError(
                        f"{where}: names more keys than the {most:,} pairs of the audit; is it of another audit?"
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: not readable as CSV in UTF-8 ({error})") from error
    if not rows:
        raise SourceError(f"{path}: holds no decisions; give a line for each, KEY,DECISION")
    return pa.table(
        {
            "key": pa.array(list(rows), pa.string()),
            "decision": pa.array([decision for decision, _ in rows.values()], pa.string()),
            "note": pa.array([note for _, note in rows.values()], pa.string()),
        }
    )
