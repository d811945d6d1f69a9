"""The page Export: what it says before is what is written, in the style that was chosen."""

from __future__ import annotations

import csv
import json
import os

import pytest
from streamlit.testing.v1 import AppTest

from cfbd_core.cli import main
from cfbd_core.export import FORMATS
from cfbd_core.jobs.jobs import Jobs
from tests.app.conftest import PAIRS, alter, metrics, words


def test_the_page_counts_pairs_without_a_score(page, audit):
    alter(audit, "DELETE FROM scores WHERE row < 3")
    audit.split(audit.state.applied_params())
    test = page("export")
    counts = audit.report()
    assert counts["kept"] + counts["flagged"] == PAIRS - 3
    assert (int(metrics(test)["Kept"]), int(metrics(test)["Removed"])) == (counts["kept"], counts["flagged"])
    assert f"**{counts['kept']}** pairs will be written as CSV." in words(test)
    assert "3 more have neither a score nor a decision" in words(test)
    test.segmented_control(key="subset").set_value("all").run()
    assert f"**{PAIRS}** pairs will be written as CSV, 3 of them without a score." in words(test)
    assert "3 more" not in words(test)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_first_rows_are_shown_as_they_will_be(page, root, audit, kind):
    test = page("export")
    test.segmented_control(key="format").set_value(kind).run()
    assert not test.exception
    shown = test.dataframe[0].value.to_dict("list")
    assert len(shown["key"]) == 5
    if kind == "csv":
        test.toggle(key="relative_paths").set_value(True).run()
        shown = test.dataframe[0].value.to_dict("list")
        out = root / "exports" / "toy" / "kept.csv"
        assert main(["export", "--audit", str(audit.folder), "--out", str(out), "--relative-paths"]) == 0
        with out.open(encoding="utf-8", newline="") as file:
            written = list(csv.DictReader(file))[:5]
        assert shown["image"] == [row["image"] for row in written]
        assert all(os.path.isfile(out.parent / place) for place in shown["image"])


def test_the_style_is_asked_for(page, audit, monkeypatch):
    started = []
    monkeypatch.setattr(Jobs, "start", lambda self, kind, folder, arguments: started.append(arguments))
    test = page("export")
    for key in ("safe", "pandas_safe", "relative_paths"):
        test.toggle(key=key).set_value(True).run()
    test.button(key="write").click().run()
    assert started[0][9:-2] == ["--spreadsheet-safe", "--pandas-safe", "--relative-paths"]
    test.segmented_control(key="format").set_value("webdataset").run()
    assert not test.toggle


def _shown(out: str) -> None:
    from pathlib import Path

    from app import downloads

    downloads.warnings(Path(out))


def test_what_the_sidecar_warns_of_is_shown_as_plain_text(tmp_path):
    record = {"warnings": ["2 captions are missing values, such as '<b>NA</b>'", "one more"]}
    (tmp_path / "out.csv.json").write_text(json.dumps(record))
    test = AppTest.from_function(_shown, args=(str(tmp_path / "out.csv"),)).run()
    assert len(test.warning) == 2
    assert "<b>NA</b>" in words(test)
    test = AppTest.from_function(_shown, args=(str(tmp_path / "older.csv"),)).run()
    assert not test.warning
    assert not test.exception
