"""`cfbd decide`, `log`, `undo` and `redo`."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from cfbd_core import SplitParams
from cfbd_core.cli import main


@pytest.fixture
def cfbd(own, capsys):
    """Run a command on the audit ``own``; its exit code, what it printed and its errors."""

    def run(command: str, *arguments: object) -> tuple[int, str, str]:
        code = main([command, "--audit", str(own.folder), *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def mine(own, tmp_path):
    """A CSV of decisions on the first three pairs."""
    keys = own.pairs(limit=3)["key"].to_pylist()
    rows = [f"{key},{name},odd" for key, name in zip(keys, ("keep", "remove", "unsure"), strict=True)]
    (tmp_path / "mine.csv").write_text("\n".join(["key,decision,note", *rows]), encoding="utf-8")
    return tmp_path / "mine.csv"


def test_decisions_of_a_csv_are_one_action_with_who_and_the_file_s_name(own, cfbd, mine):
    code, out, _ = cfbd("decide", "--from", mine, "--who", "Ada", "--note", "seen on paper", "--json")
    assert (code, json.loads(out)) == (0, {"decisions": 3, "action": 1})
    done = own.history()[0]
    assert (done.kind, done.who, done.note, done.filter) == (
        "import",
        "Ada",
        "seen on paper",
        {"file": "mine.csv"},
    )
    assert own.pairs(limit=3)["decision"].to_pylist() == ["keep", "remove", "unsure"]


def test_notes_go_out_with_an_export_and_come_back_with_its_decisions(own, cfbd, tmp_path):
    own.split(SplitParams(k=2, q=8))
    rows = own.pairs(limit=3)["row"].to_numpy()
    own.decide_rows(rows[:2], np.array([1, 2], np.int8), ['a, "b"', None])
    assert cfbd("export", "--out", tmp_path / "all.csv", "--subset", "all")[::2] == (0, "")
    own.decide_rows(rows, 0)
    assert own.columns.notes_of(rows) == [None, None, None]
    assert cfbd("decide", "--from", tmp_path / "all.csv")[0] == 0
    assert own.pairs(limit=3)["decision"].to_pylist() == ["keep", "remove", ""]
    assert own.columns.notes_of(rows) == ['a, "b"', None, None]


def test_the_log_is_printed_newest_first(own, cfbd, mine):
    assert cfbd("log") == (0, "no decisions yet\n", "")
    cfbd("decide", "--from", mine, "--who", "Ada\x1b[31m")
    cfbd("undo", "--who", "Bob")
    lines = cfbd("log")[1].splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("#2  ")
    assert lines[0].endswith("Bob  undo #1, 3 pairs changed")
    assert "import: various, 3 pairs  odd  from the file mine.csv  (undone)" in lines[1]
    assert "\x1b" not in lines[1]
    assert cfbd("log", "--limit", 1)[1].splitlines() == lines[:1]
    told = json.loads(cfbd("log", "--json")[1])["actions"]
    assert told == [action.to_dict() for action in own.history()]


def test_undo_and_redo_of_an_action_or_the_last(own, cfbd, mine):
    cfbd("decide", "--from", mine)
    cfbd("decide", "--from", mine)
    assert cfbd("undo", 1)[1] == "undo #1, 0 pairs changed\n"
    assert json.loads(cfbd("undo", "--json")[1])["pairs"] == 3
    assert own.pairs("decision <> ''").num_rows == 0
    code, _, err = cfbd("undo")
    assert (code, err) == (2, "cfbd undo: the log has no action to undo\n")
    assert cfbd("redo", 1)[1] == "redo #1, 3 pairs changed\n"
    assert cfbd("redo", 9)[0] == 2


def test_the_log_is_written_to_a_file(cfbd, mine, tmp_path):
    cfbd("decide", "--from", mine)
    assert cfbd("log", "--out", tmp_path / "log.csv")[1] == f"1 actions written to {tmp_path / 'log.csv'}\n"
    assert json.loads(cfbd("log", "--out", tmp_path / "log.json", "--json")[1])["actions"] == 1
    assert cfbd("log", "--out", tmp_path / "pairs.csv", "--pairs")[0] == 0
    with (tmp_path / "pairs.csv").open(encoding="utf-8", newline="") as file:
        assert [row["after"] for row in csv.DictReader(file)].count("keep") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--limit", "0"], "at least 1"),
        (["--pairs"], "give --out"),
        (["--spreadsheet-safe"], "give --out"),
        (["--out", "log.csv", "--limit", "3"], "the whole log"),
        (["--out", "log.txt"], ".csv or .json"),
    ],
)
def test_what_cannot_be_printed_or_written_is_told_in_one_line(cfbd, tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    code, _, err = cfbd("log", *arguments)
    assert code == 2
    assert told in err
    assert err.count("\n") == 1


def test_the_report_tells_what_overrules_the_verdict(own, cfbd, mine):
    own.split(SplitParams(k=2, q=10))
    assert "decided by hand" not in cfbd("report")[1]
    cfbd("decide", "--from", mine)
    assert "decided by hand: 1 keep, 1 remove, 1 unsure; 1 overrule the verdict" in cfbd("report")[1]
    assert json.loads(cfbd("report", "--json")[1])["decided"] == {
        "removed_by_hand": 1,
        "kept_by_hand": 0,
        "overruled": 1,
        "keep": 1,
        "remove": 1,
        "unsure": 1,
    }
