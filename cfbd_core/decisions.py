"""Read decisions that were made elsewhere: a CSV with the columns key, decision and, if wanted, note."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa

from cfbd_core.errors import SourceError

DECISIONS = ("keep", "remove", "unsure", "")


def read_decisions(path: Path) -> pa.Table:
    """Read the CSV as a table (key, decision, note); an exported CSV is one such file.

    Raises SourceError: not readable, a column is missing, or a decision is none of keep, remove,
    unsure and empty (the line is named).
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = {"key", "decision"} - set(reader.fieldnames or ())
            if missing:
                raise SourceError(f"{path}: no column {missing.pop()!r}; it needs key and decision")
            rows = {}
            for row in reader:
                decision = (row["decision"] or "").strip().lower()
                if decision not in DECISIONS:
                    raise SourceError(
                        f"{path} line {reader.line_num}: decision {decision!r}; give keep, remove or unsure"
                    )
                rows[row["key"]] = (decision, row.get("note") or "")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: not readable as CSV in UTF-8 ({error})") from error
    return pa.table(
        {
            "key": pa.array(list(rows), pa.string()),
            "decision": pa.array([decision for decision, _ in rows.values()], pa.string()),
            "note": pa.array([note for _, note in rows.values()], pa.string()),
        }
    )
