"""Cells that a spreadsheet would run, in every CSV that can be asked to be safe."""

from __future__ import annotations

import csv
import io
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import widgets
from cfbd_core.export import export, spreadsheet_safe
from tests.export.made import batches, pair

SIGNS = "=+-@"
TRIMMED = ("Cc", "Cf", "Zs", "Zl", "Zp")  # white space and what is not seen
RUN = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\n=1+1",
    "\r\n=1+1",
    "\t=1+1",
    " =1+1",
    "\u00a0=1+1",
    "\ufeff=1+1",
    "\u200b@x",
    "\x0b+1",
    "＝1+1",
    "－1",
    "＋1",
    "＠x",
    "\u3000＝1",
    "﹦1",
    "\ntext",
    "\ttext",
    "\rtext",
]
KEPT = ["", "a = b", "1-1", "x\n=1", "a\t=1", "'=1", '"=1"', "é", " text"]


@pytest.mark.parametrize("text", RUN)
def test_a_cell_that_a_spreadsheet_may_run_gets_a_quote(text):
    assert spreadsheet_safe(pa.array([text])).to_pylist() == [f"'{text}"]


def test_other_cells_stay_as_they_are():
    assert spreadsheet_safe(pa.array([*KEPT, None])).to_pylist() == [*KEPT, None]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
def test_behind_what_is_trimmed_no_safe_cell_begins_with_a_sign(text):
    (safe,) = spreadsheet_safe(pa.array([text])).to_pylist()
    begins = next((sign for sign in safe if unicodedata.category(sign) not in TRIMMED), "x")
    assert unicodedata.normalize("NFKC", begins)[0] not in SIGNS
    assert safe in (text, f"'{text}")


def test_every_text_of_an_export_is_made_safe(tmp_path, picture_file):
    rows = [pair(f"={text}", picture_file, text, note=text, label=text) for text in RUN]
    export(batches(rows), tmp_path / "safe.csv", "csv", {}, spreadsheet_safe=True)
    with (tmp_path / "safe.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["key"] for row in found] == [f"'={text}" for text in RUN]
    for name in ("caption", "note", "label"):
        assert [row[name] for row in found] == [f"'{text}" for text in RUN]


def test_both_logs_are_made_safe(own, tmp_path):
    own.decide_rows(np.arange(3), 2, who="＝cmd()", note="\u200b＝1")
    for pairs, name, wanted in ((False, "who", "'＝cmd()"), (True, "note_after", "'\u200b＝1")):
        own.log.export(tmp_path / f"{name}.csv", pairs=pairs, spreadsheet_safe=True)
        with (tmp_path / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            assert {row[name] for row in csv.DictReader(file)} == {wanted}


def test_the_data_of_a_chart_is_made_safe():
    text = widgets.as_csv({"Run": ["=cmd()", "\n@x"], "Loss": np.array([-0.5, 1.0])}).decode()
    assert list(csv.reader(io.StringIO(text, newline="")))[1:] == [["'=cmd()", "-0.5"], ["'\n@x", "1.0"]]
