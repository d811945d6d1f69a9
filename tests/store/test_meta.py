"""What an audit says of itself is read against its shape: damage is one line, or is done without."""

from __future__ import annotations

import json
import os

import pytest

from cfbd_core import Audit
from cfbd_core.errors import AuditError
from cfbd_core.store import queries

DAMAGED_SOURCE = {
    "options without a name": {"options": {"captions": "first"}},
    "an option of no version": {"options": {"colour": "red"}},
    "paths that are none": {"paths": 5},
}


def audit_of(source, folder, name: str, value: object) -> Audit:
    audit = Audit.create(folder)
    audit.ingest(source)
    with audit.files.database.writing() as connection:
        held = queries.get_meta(connection, name)
        if name == "source":
            more = value.pop("options", None)
            value = held | value | ({"options": _changed(held["options"], more)} if more else {})
        queries.set_meta(connection, name, value)
    os.utime(source)
    return audit


def _changed(options: dict, more: dict) -> dict:
    return options | more if "colour" in more else more


@pytest.mark.parametrize("change", DAMAGED_SOURCE)
def test_a_damaged_record_of_the_source_is_told_in_one_line(tmp_path, toy_source, change):
    changes = json.loads(json.dumps(DAMAGED_SOURCE[change]))
    audit = audit_of(toy_source(4), tmp_path / "audit", "source", changes)
    with pytest.raises(AuditError, match="what it says of the source is damaged"):
        audit.check_source()


@pytest.mark.parametrize("stamps", [5, [[1, 2], [3]], {"a": 1}, [["x"]], []])
def test_stamps_that_are_damaged_are_done_without(tmp_path, toy_source, stamps):
    audit = audit_of(toy_source(4), tmp_path / "audit", "stamps", stamps)
    audit.check_source()


@pytest.mark.parametrize("unread", [3, {"kinds": [{}], "notes": []}, {"kinds": [], "notes": [1]}])
def test_a_damaged_account_of_what_was_not_read_is_told_in_one_line(tmp_path, toy_source, unread):
    audit = audit_of(toy_source(4), tmp_path / "audit", "unread", unread)
    with pytest.raises(AuditError, match="what it says of the unread is damaged"):
        audit.validation_report()
