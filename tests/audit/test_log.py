"""The log of an audit: two sessions at once, a process that is killed, what outlives what, its export."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from cfbd_core import Audit, SplitParams
from cfbd_core.audit import log_export
from cfbd_core.errors import ParameterError
from tests.explored import put_scores

TURNS = 12
DECIDES = """
import sys, numpy as np
from cfbd_core import Audit
audit, who, code = Audit.open(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for turn in range(int(sys.argv[4])):
    done = audit.decide_rows(np.r_[0:50, 300 + turn], code, who=who)
    print(done.id, flush=True)
"""


def decider(audit: Audit, who: str, code: int, turns: int = TURNS) -> subprocess.Popen[str]:
    """A process that decides on the rows 0 … 49 and one of its own, again and again, once it is told to."""
    command = [sys.executable, "-c", DECIDES, str(audit.folder), who, str(code), str(turns)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def check_whole(audit: Audit) -> None:
    """The log is whole, and what stands is what it says."""
    with duckdb.connect(str(audit.folder / "audit.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT id FROM actions ORDER BY id").fetchall() == [
            (number,) for number in range(1, len(audit.history()) + 1)
        ]
        halves = connection.execute(
            "SELECT id FROM actions a WHERE pairs <> (SELECT count(*) FROM action_pairs WHERE action = a.id)"
        ).fetchall()
        strays = connection.execute("SELECT * FROM action_pairs WHERE action NOT IN (SELECT id FROM actions)")
        assert (halves, strays.fetchall()) == ([], [])
        told = connection.execute(
            """
            SELECT key, last.d::VARCHAR, last.n FROM (
                SELECT key, arg_max({'d': after, 'n': note_after}, action) AS last FROM action_pairs GROUP BY key
            ) WHERE last.d IS NOT NULL ORDER BY key
            """
        ).fetchall()
        stands = connection.execute(
            "SELECT key, decision::VARCHAR, note FROM decisions ORDER BY key"
        ).fetchall()
        assert told == stands


def keys_of(audit: Audit, count: int) -> list[str]:
    return audit.pairs(limit=count)["key"].to_pylist()


# --- several at once -----------------------------------------------------------------------------------


def test_two_threads_deciding_and_undoing_at_once_lose_nothing(own):
    def session(who: str) -> list[int]:
        audit, done = Audit.open(own.folder), []
        for turn in range(TURNS):
            action = audit.decide_rows(np.r_[0:50, 300 + turn], 1 + (who == "bob"), who=who)
            done.append(action.id)
            if turn % 3 == 2:
                done.append(audit.undo(action.id, who=who).id)
        return done

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(session, ["ada", "bob"]))
    actions = {action.id: action.who for action in own.history()}
    assert {who for number in found[0] for who in [actions[number]]} == {"ada"}
    assert sorted(found[0] + found[1]) == sorted(actions)
    check_whole(own)


def test_two_processes_deciding_at_once_lose_nothing(own):
    both = [decider(own, "ada", 1), decider(own, "bob", 2)]
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    found = [[int(line) for line in process.communicate()[0].split()] for process in both]
    assert [len(numbers) for numbers in found] == [TURNS, TURNS]
    assert sorted(found[0] + found[1]) == [action.id for action in own.history()][::-1]
    check_whole(own)
    last = own.history(1)[0]
    assert set(own.pairs("row < 50")["decision"].to_pylist()) == {last.decision}


@pytest.mark.parametrize("after", [0.05, 0.2, 0.4])
def test_a_process_that_is_killed_loses_nothing_and_leaves_nothing_half_written(own, after):
    process = decider(own, "ada", 1, turns=1000)
    process.stdin.write("\n")
    process.stdin.flush()
    first = int(process.stdout.readline())
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    told = [first, *map(int, process.communicate()[0].split())]
    audit = Audit.open(own.folder)
    done = audit.history()
    assert len(done) - len(told) in (0, 1)  # the last one may be stored and not told
    check_whole(audit)
    assert audit.undo(who="bob").target == done[0].id
    assert set(audit.pairs(f"row = {299 + done[0].id}")["decision"].to_pylist()) == {""}
    check_whole(audit)


# --- what outlives what --------------------------------------------------------------------------------


def test_decisions_outlive_scoring_splitting_and_reading_again_and_win_over_the_verdict(own):
    own.split(SplitParams(k=2, q=10))
    flagged = own.pairs("verdict = 'poisoned'")["key"].to_pylist()
    clean = own.pairs("verdict = 'clean'", limit=2)["key"].to_pylist()
    kept = own.decide(pa.table({"key": flagged[:1], "decision": ["keep"]}), who="ada")
    own.decide(pa.table({"key": clean, "decision": ["remove", "unsure"]}), who="ada", note="odd")
    assert kept.params == SplitParams(k=2, q=10).to_dict()
    before = own.report()["decided"]
    assert before["kept_by_hand"] == before["removed_by_hand"] == 1
    assert (before["keep"], before["remove"], before["unsure"], before["overruled"]) == (1, 1, 1, 2)

    c = np.random.default_rng(5).uniform(0, 0.3, 420).round(2).astype(np.float32)
    put_scores(own, c)
    own.split(SplitParams(k=3, q=20))
    own.ingest(own.state.source())
    decided = own.pairs("decision <> ''")
    assert dict(zip(decided["key"].to_pylist(), decided["final"].to_pylist(), strict=True)) | {
        clean[1]: None
    } == {flagged[0]: "kept", clean[0]: "removed", clean[1]: None}
    own.undo(kept.id)
    assert own.pairs("decision <> ''").num_rows == 2
    check_whole(own)


def test_undo_and_redo_without_a_number_take_the_last(own):
    with pytest.raises(ParameterError, match="no action to undo"):
        own.undo()
    first, second = (own.decide_rows(np.array([row]), 1, who="ada").id for row in (0, 1))
    assert [own.undo().target, own.undo().target] == [second, first]
    with pytest.raises(ParameterError, match="no action to undo"):
        own.undo()
    assert [own.redo().target, own.redo().target] == [first, second]
    with pytest.raises(ParameterError, match="no action to redo"):
        own.redo()


def test_who_decides_is_one_line_and_never_nobody(own, monkeypatch):
    rows = np.array([0])
    assert (
        own.decide_rows(rows, 1, who="  Ada\n  Lovelace " + "x" * 200).who
        == ("Ada Lovelace " + "x" * 200)[:100]
    )
    with pytest.raises(ParameterError, match="give a name"):
        own.decide_rows(rows, 1, who=" ")
    monkeypatch.setattr("getpass.getuser", lambda: "unix")
    assert own.decide_rows(rows, 1).who == "unix"

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert own.decide_rows(rows, 1).who == "unknown"


# --- export --------------------------------------------------------------------------------------------


@pytest.fixture
def logged(own: Audit) -> Audit:
    """An audit with three actions, one of them undone, with words that a spreadsheet would run."""
    own.split(SplitParams(k=2, q=10))
    bulk = own.decide_rows(
        np.arange(40), 2, who="=cmd()", note='say "no",\nor\r\nyes', filter={"text": "=1+1", "z": [0.5, 1.0]}
    )
    own.decide(pa.table({"key": keys_of(own, 1), "decision": ["keep"]}), who="bob", source="mine.csv")
    own.undo(bulk.id, who="Zoë")
    return own


def test_the_log_as_csv_and_as_json_say_the_same(logged, tmp_path):
    assert logged.log.export(tmp_path / "log.csv") == {"out": str(tmp_path / "log.csv"), "actions": 3}
    logged.log.export(tmp_path / "log.json")
    with (tmp_path / "log.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    told = json.loads((tmp_path / "log.json").read_text(encoding="utf-8"))
    assert told["log_of"] == str(logged.folder.resolve())
    assert told["actions"] == [action.to_dict() for action in logged.history()][::-1]
    assert [row["who"] for row in rows] == ["=cmd()", "bob", "Zoë"]
    for row, action in zip(rows, told["actions"], strict=True):
        for name in ("filter", "params"):
            assert (json.loads(row[name]) if row[name] else None) == action[name]
        assert row["note"] == (action["note"] or "")
        assert (row["id"], row["pairs"]) == (str(action["id"]), str(action["pairs"]))
    assert rows[0]["undone"] == "true"
    assert told["actions"][1]["filter"] == {"file": "mine.csv"}
    assert told["actions"][2]["pairs"] == 39  # bob's stays


def test_an_empty_log_can_be_written_too(own, tmp_path):
    for name, pairs in (("log.csv", False), ("pairs.csv", True), ("log.json", False)):
        own.log.export(tmp_path / name, pairs=pairs)
    assert (tmp_path / "log.csv").read_text().strip() == ",".join(log_export.COLUMNS)
    assert json.loads((tmp_path / "log.json").read_text())["actions"] == []


def test_a_spreadsheet_runs_nothing_of_a_safe_log(logged, tmp_path):
    logged.log.export(tmp_path / "log.csv", spreadsheet_safe=True)
    with (tmp_path / "log.csv").open(encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["who"] == "'=cmd()"
    with pytest.raises(ParameterError, match="--spreadsheet-safe is for CSV"):
        logged.log.export(tmp_path / "log.json", spreadsheet_safe=True)


def test_every_pair_of_every_action(logged, tmp_path):
    assert logged.log.export(tmp_path / "pairs.csv", pairs=True)["pairs"] == 80
    with (tmp_path / "pairs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["action"] for row in rows] == ["1"] * 40 + ["2"] + ["3"] * 39
    assert rows[40] == {
        "action": "2",
        "key": keys_of(logged, 1)[0],
        "before": "remove",
        "after": "keep",
        "note_before": 'say "no",\nor\r\nyes',
        "note_after": "",
    }
    with pytest.raises(ParameterError, match=r"with --pairs give a \.csv"):
        logged.log.export(tmp_path / "pairs.json", pairs=True)


def test_a_log_is_written_over_a_log_and_over_nothing_else(logged, tmp_path):
    for name, pairs in (("log.csv", False), ("log.json", False), ("pairs.csv", True)):
        for _ in range(2):
            logged.log.export(tmp_path / name, pairs=pairs)
    (tmp_path / "mine.csv").write_text("key,caption\n")
    (tmp_path / "folder.csv").mkdir()
    for name in ("mine.csv", "folder.csv"):
        with pytest.raises(ParameterError, match="no log"):
            logged.log.export(tmp_path / name)
    with pytest.raises(ParameterError, match="never changed"):
        logged.log.export(logged.folder / "log.csv")
    with pytest.raises(ParameterError, match=r"give a \.csv or \.json"):
        logged.log.export(tmp_path / "log.txt")
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match="cannot be written"):
        logged.log.export(tmp_path / "file" / "log.csv")
    assert not list(Path(tmp_path).glob(".*.part"))


def test_a_decision_changes_what_comes_of_a_split_and_a_view_does_not(own):
    scored = own.log.changed()
    own.views.save("mine", {"show": "all"})
    assert own.log.changed() == scored is not None
    done = own.decide_rows(np.array([0]), 1)
    assert own.log.changed() == done.time > scored
    assert own.undo().time == own.log.changed()
