"""Decisions as a log: any action can be undone in any order, nothing is lost, old decisions are in it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.errors import AuditError, DecidedMeanwhile, ParameterError
from cfbd_core.store import Database, acting, log, migrations, queries, schema
from cfbd_core.store.acting import Provenance
from cfbd_core.store.adding import add_pairs
from cfbd_core.store.columns import DECISIONS, decided, notes_of
from cfbd_core.store.log import Action
from tests.store.older import DECIDED, make_older

KEYS = ("a", "b", "c", "d", "e", "f")
ADA, BOB = Provenance("ada"), Provenance("bob")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return made(tmp_path)


def made(folder: Path) -> Database:
    """An audit's file with the pairs a … f in the rows 0, 2, … 10."""
    database = Database.create(folder / "audit.duckdb")
    n = len(KEYS)
    texts = ("image", "label", "attack", "target", "origin_key", "origin_caption")
    pairs = pa.table(
        {
            "row": np.arange(n) * 2,
            "key": KEYS,
            "caption": KEYS,
            "poisoned": pa.nulls(n, pa.bool_()),
            **{name: pa.nulls(n, pa.int64()) for name in ("image_offset", "image_size")},
            **{name: pa.nulls(n, pa.string()) for name in texts},
        }
    )
    pq.write_table(pairs, folder / "pairs_000000.parquet")
    with database.writing(folder) as connection:
        add_pairs(connection, folder)
    return database


def decide(
    database: Database,
    keys: str,
    decision: str,
    by: Provenance = ADA,
    notes: Sequence[str | None] | None = None,
) -> int:
    rows = np.array([KEYS.index(key) * 2 for key in keys], np.int64)
    with database.writing() as connection:
        return acting.decide_rows(connection, rows, DECISIONS.index(decision), by, notes).id


def turn(database: Database, what: str, action: int, by: Provenance = ADA) -> Action:
    with database.writing() as connection:
        return getattr(acting, what)(connection, action, by)


def stands(database: Database) -> dict[str, tuple[str, str | None]]:
    with database.reading() as connection:
        rows = connection.execute("SELECT key, decision::VARCHAR, note FROM decisions").fetchall()
    found = {key: (decision, note) for key, decision, note in rows}
    assert len(found) == len(rows)  # no key twice
    return found


def replayed(database: Database) -> dict[str, tuple[str, str | None]]:
    """What the log says when it is read from its beginning."""
    held: dict[str, tuple[str, str | None]] = {}
    with database.reading() as connection:
        query = "SELECT key, before::VARCHAR, after::VARCHAR, note_before, note_after FROM action_pairs ORDER BY action"
        for key, before, after, note_before, note_after in connection.execute(query).fetchall():
            assert held.get(key, (None, None)) == (before, note_before)
            held[key] = (after, note_after)
    return {key: value for key, value in held.items() if value[0] is not None}


def history(database: Database, *bounds: int | None) -> list[Action]:
    with database.reading() as connection:
        return log.history(connection, *bounds)


# --- deciding ------------------------------------------------------------------------------------------


def test_an_action_tells_who_when_what_why_and_under_what(database):
    began = datetime.now(UTC)
    by = Provenance("ada", "a banana", {"text": "banana"}, {"k": 5})
    with database.writing() as connection:
        done = acting.decide_rows(connection, np.array([0, 4]), 2, by)
    assert history(database) == [done]
    assert (done.id, done.who, done.kind, done.decision, done.note) == (
        1,
        "ada",
        "decide",
        "remove",
        "a banana",
    )
    assert (done.filter, done.params, done.pairs, done.undone) == ({"text": "banana"}, {"k": 5}, 2, False)
    assert began <= done.time <= datetime.now(UTC)
    assert json.dumps(done.to_dict())
    assert stands(database) == {"a": ("remove", "a banana"), "c": ("remove", "a banana")}


def test_decisions_that_differ_from_pair_to_pair_are_one_action(database):
    with database.writing() as connection:
        rows, codes = np.array([4, 0, 2]), np.array([1, 2, 0], np.int8)
        assert acting.decide_rows(connection, rows, codes, ADA).decision is None
    assert stands(database) == {"c": ("keep", None), "a": ("remove", None)}


def test_of_a_row_or_key_given_twice_the_last_counts_and_rows_that_are_gone_are_left_out(database):
    with database.writing() as connection:
        rows, codes = np.array([2, 0, 2, 99]), np.array([1, 1, 2, 1], np.int8)
        assert acting.decide_rows(connection, rows, codes, ADA, ["x", "y", "z", "-"]).pairs == 2
    assert stands(database) == {"a": ("keep", "y"), "b": ("remove", "z")}
    table = pa.table({"key": ["a", "a"], "decision": ["remove", "unsure"], "note": ["1", None]})
    with database.writing() as connection:
        assert acting.decide_keys(connection, table, ADA, "import").pairs == 1
    assert stands(database)["a"] == ("unsure", None)


def test_an_action_on_no_pair_is_told_all_the_same(database):
    with database.writing() as connection:
        assert acting.decide_rows(connection, np.array([], np.int64), 1, ADA).pairs == 0
    assert (stands(database), len(history(database))) == ({}, 1)


def test_notes_go_with_their_decisions_or_stay(database):
    decide(database, "ab", "keep", notes=["first", None])
    decide(database, "ab", "remove")
    assert stands(database) == {"a": ("remove", "first"), "b": ("remove", None)}
    decide(database, "b", "keep", Provenance("bob", "mine"))
    decide(database, "a", "")
    assert stands(database) == {"b": ("keep", "mine")}
    with database.reading() as connection:
        assert notes_of(connection, np.array([2, 0, 99])) == ["mine", None, None]


def test_an_unknown_key_stores_nothing(database):
    table = pa.table({"key": ["a", "zzz"], "decision": ["keep", "keep"], "note": ["", ""]})
    with pytest.raises(ParameterError, match=r"'zzz' .*1 such"), database.writing() as connection:
        acting.decide_keys(connection, table, ADA, "import")
    assert (stands(database), history(database)) == ({}, [])


def test_one_note_for_all_keys_is_the_action_s(database):
    table = pa.table({"key": ["a", "b"], "decision": ["keep", "keep"], "note": ["why", "why"]})
    with database.writing() as connection:
        assert acting.decide_keys(connection, table, ADA, "import").note == "why"


# --- undo and redo -------------------------------------------------------------------------------------


def test_an_undo_is_an_action_and_brings_back_what_was_before_with_its_note(database):
    decide(database, "a", "unsure", notes=["hm"])
    bulk = decide(database, "abc", "remove", Provenance("bob", "all alike"))
    done = turn(database, "undo", bulk)
    assert (done.kind, done.target, done.pairs, done.who) == ("undo", bulk, 3, "ada")
    assert stands(database) == {"a": ("unsure", "hm")}
    assert [action.undone for action in history(database)] == [False, True, False]
    assert turn(database, "redo", bulk).pairs == 3
    assert stands(database) == dict.fromkeys("abc", ("remove", "all alike"))
    assert [action.kind for action in history(database)] == ["redo", "undo", "decide", "decide"]


def test_where_a_later_action_touched_a_pair_the_later_one_stays(database):
    first = decide(database, "abc", "remove")
    later = decide(database, "b", "keep", BOB)
    assert turn(database, "undo", first).pairs == 2
    assert stands(database) == {"b": ("keep", None)}
    assert turn(database, "undo", later).pairs == 1
    assert stands(database) == {}
    assert turn(database, "redo", first).pairs == 3
    assert turn(database, "redo", later).pairs == 1
    assert stands(database) == {"a": ("remove", None), "b": ("keep", None), "c": ("remove", None)}


def test_a_later_action_that_said_the_same_stays_too(database):
    first = decide(database, "a", "remove")
    decide(database, "a", "remove", BOB)
    assert turn(database, "undo", first).pairs == 0
    assert stands(database) == {"a": ("remove", None)}


def test_the_undo_of_an_undo_is_a_redo(database):
    first = decide(database, "a", "remove")
    undone = turn(database, "undo", first)
    again = turn(database, "undo", undone.id)
    assert (again.kind, again.target) == ("redo", first)
    assert stands(database) == {"a": ("remove", None)}
    assert turn(database, "undo", again.id).target == first
    assert stands(database) == {}


def test_what_cannot_be_undone_or_redone_is_told(database):
    first = decide(database, "a", "remove")
    with pytest.raises(ParameterError, match="no action 7"):
        turn(database, "undo", 7)
    with pytest.raises(ParameterError, match="action 1 is not undone"):
        turn(database, "redo", first)
    turn(database, "undo", first)
    with pytest.raises(ParameterError, match="action 1 is undone already"):
        turn(database, "undo", first)
    assert len(history(database)) == 2


def test_a_page_of_the_log(database):
    for key in KEYS:
        decide(database, key, "keep")
    assert [action.id for action in history(database, 2)] == [6, 5]
    assert [action.id for action in history(database, 2, 5)] == [4, 3]
    assert [action.id for action in history(database, 2, 1)] == []


# --- the log and what stands ---------------------------------------------------------------------------

_ACTS = st.one_of(
    st.tuples(
        st.just("rows"),
        st.dictionaries(st.sampled_from(KEYS), st.integers(0, 3), max_size=6),
        st.none() | st.sampled_from(["x", "y"]),
    ),
    st.tuples(
        st.just("keys"),
        st.dictionaries(st.sampled_from(KEYS), st.integers(0, 3), max_size=4),
        st.sampled_from(["", "z"]),
    ),
    st.tuples(st.sampled_from(["undo", "redo"]), st.integers(1, 12), st.none()),
)


@given(acts=st.lists(_ACTS, max_size=14))
def test_what_stands_is_what_the_log_says_however_it_is_read(tmp_path_factory, acts):
    database = made(tmp_path_factory.mktemp("log"))
    model = Model()
    seen = [(0, 0)]
    with database.writing() as connection:
        for kind, what, note in acts:
            if kind == "rows":
                rows = np.array([KEYS.index(key) * 2 for key in what], np.int64)
                acting.decide_rows(
                    connection, rows, np.array(list(what.values()), np.int8), Provenance("ada", note)
                )
                model.decide(what, note)
            elif kind == "keys":
                asked = ([*what], [DECISIONS[code] for code in what.values()], [note] * len(what))
                columns = [pa.array(column, pa.string()) for column in asked]
                table = pa.table(columns, names=["key", "decision", "note"])
                acting.decide_keys(connection, table, ADA, "import")
                model.decide(what, note)
            elif model.can(kind, what):
                getattr(acting, kind)(connection, what, ADA)
                model.turn(kind, what)
            else:
                with pytest.raises(ParameterError):
                    getattr(acting, kind)(connection, what, ADA)
            seen.append(log.mark(connection))
    assert stands(database) == replayed(database) == model.stands()
    with database.reading() as connection:
        assert log.undone_actions(connection) == model.off
        counts = "SELECT count(*) FROM action_pairs p WHERE p.action = a.id"
        assert connection.execute(f"SELECT count(*) FROM actions a WHERE pairs <> ({counts})").fetchall() == [
            (0,)
        ]
        now = dict(zip(*(column.tolist() for column in decided(connection)), strict=True))
        for mark in seen:  # whoever knew the log up to here learns the rest
            assert log.has(connection, mark)
            rows, codes = log.decided_since(connection, mark[0])
            assert all(
                now.get(row, 0) == code for row, code in zip(rows.tolist(), codes.tolist(), strict=True)
            )
        rows, codes = log.decided_since(connection, 0)
        assert {row: code for row, code in zip(rows.tolist(), codes.tolist(), strict=True) if code} == now


class Model:
    """The same by the book: the latest action on a pair, of those that are not undone."""

    def __init__(self) -> None:
        self.actions: list[tuple[str, int, dict[str, Any]]] = []
        self.off: set[int] = set()

    def decide(self, what: dict[str, int], note: str | None) -> None:
        held = self.stands()
        said: dict[str, Any] = {}
        for key, code in what.items():
            own = held.get(key, (None, None))[1] if note is None else note or None
            said[key] = (DECISIONS[code], own) if code else None
        self.actions.append(("decide", 0, said))

    def root(self, kind: str, number: int) -> tuple[str, int] | None:
        if not 1 <= number <= len(self.actions):
            return None
        found, target, _ = self.actions[number - 1]
        if found == "decide":
            return kind, number
        return ("redo" if (kind == "undo") == (found == "undo") else "undo"), target

    def can(self, kind: str, number: int) -> bool:
        root = self.root(kind, number)
        return root is not None and (root[1] in self.off) == (root[0] == "redo")

    def turn(self, kind: str, number: int) -> None:
        found = self.root(kind, number)
        assert found is not None
        self.off ^= {found[1]}
        self.actions.append((*found, {}))

    def stands(self) -> dict[str, tuple[str, str | None]]:
        held: dict[str, Any] = {}
        for number, (kind, _, said) in enumerate(self.actions, 1):
            if kind == "decide" and number not in self.off:
                held |= said
        return {key: value for key, value in held.items() if value is not None}


# --- older audits --------------------------------------------------------------------------------------

OLD_ACTIONS = [(2, None, None, 2), (1, "remove", None, 2)]  # id, decision, note, pairs


@pytest.mark.parametrize("version", [1, 2])
def test_old_decisions_are_log_entries_before_and_after_the_first_write(database, version):
    make_older(database.path, version, DECIDED)
    before = shutil.copy(database.path, database.path.with_name("before"))
    read = history(database)
    assert [(one.id, one.decision, one.note, one.pairs) for one in read] == OLD_ACTIONS
    assert {one.who for one in read} == {"unknown"}
    assert [one.time.minute for one in read] == [2, 1]
    assert not list(database.path.parent.glob("*.bak"))  # who only reads changes nothing
    old = stands(database)
    assert decide(database, "a", "keep") == 3
    assert history(database)[1:] == read
    assert stands(database) == replayed(database) == old | {"a": ("keep", None)}
    backup = database.path.with_name(f"audit.duckdb.v{version}.bak")
    assert backup.read_bytes() == Path(before).read_bytes()
    with database.reading() as connection:
        assert schema.version(connection, database.path.parent) == schema.SCHEMA_VERSION
        assert queries.select_pairs(connection, "key = 'a'")["decision"].to_pylist() == ["keep"]
    assert turn(database, "undo", 1).pairs == 1
    assert stands(database) == {"a": ("keep", None), "b": ("keep", "looked at"), "d": ("unsure", "")}


def test_a_backup_is_an_audit_that_opens_and_is_made_once(database):
    make_older(database.path, 2, DECIDED)
    decide(database, "a", "keep")
    backup = database.path.with_name("audit.duckdb.v2.bak")
    first = backup.stat().st_mtime_ns
    decide(database, "a", "remove")
    assert backup.stat().st_mtime_ns == first
    again = Database(Path(shutil.copy(backup, database.path.with_name("again.duckdb"))))
    assert [(one.id, one.decision, one.note, one.pairs) for one in history(again)] == OLD_ACTIONS


def test_an_older_audit_without_decisions(database):
    make_older(database.path, 1)
    assert history(database) == []
    assert decide(database, "a", "keep") == 1
    assert stands(database) == {"a": ("keep", None)}


def test_what_a_killed_writer_left_ahead_of_an_older_file_is_in_its_backup(database):
    make_older(database.path, 2)
    kill_after(database.path, "INSERT INTO decisions VALUES ('e', 'keep', 'late', now())")
    assert database.path.with_name("audit.duckdb.wal").exists()
    decide(database, "a", "keep")
    with duckdb.connect(str(database.path.with_name("audit.duckdb.v2.bak")), read_only=True) as connection:
        assert connection.execute("SELECT key, note FROM decisions").fetchall() == [("e", "late")]
    assert stands(database) == {"a": ("keep", None), "e": ("keep", "late")}


def test_without_room_for_a_backup_nothing_is_changed(database):
    make_older(database.path, 2, DECIDED)
    database.path.with_name("audit.duckdb.v2.bak").mkdir()
    before = stands(database)
    with pytest.raises(AuditError, match="must be copied before its update"):
        decide(database, "a", "keep")
    with database.reading() as connection:
        assert schema.version(connection, database.path.parent) == 2
    assert stands(database) == before
    assert not database.path.with_name("audit.duckdb.v2.bak.part").exists()


def test_a_migration_that_fails_half_way_leaves_the_file_as_it_was(database, monkeypatch):
    make_older(database.path, 2, DECIDED)
    before = stands(database)
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "_ACTION_PAIRS_3", "SELECT no_such_column FROM decisions")
        with pytest.raises(AuditError):
            decide(database, "a", "keep")
    assert stands(database) == before
    decide(database, "a", "keep")
    assert stands(database) == before | {"a": ("keep", None)}


def kill_after(path: Path, statement: str) -> None:
    """Let a process commit a statement and die before it can close the file."""
    program = (
        "import duckdb, os, signal, sys\nconnection = duckdb.connect(sys.argv[1])\n"
        "connection.execute(sys.argv[2])\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(path), statement], check=False)


def test_a_decision_on_what_someone_decided_meanwhile_is_refused_and_nothing_stored(
    database: Database,
) -> None:
    decide(database, "a", "keep", BOB)
    rows, remove = np.array([0, 2]), DECISIONS.index("remove")
    refused = pytest.raises(DecidedMeanwhile, match="decided meanwhile: keep, by bob; press again")
    with refused, database.writing() as connection:
        acting.decide_rows(connection, rows, remove, replace(ADA, seen=0))
    assert stands(database) == {"a": ("keep", None)}
    with database.writing() as connection:  # seen by now, so it is overruled
        acting.decide_rows(connection, rows[:1], remove, replace(ADA, seen=DECISIONS.index("keep")))
    with database.writing() as connection:  # what was asked for stands already: nobody is overruled
        assert acting.decide_rows(connection, rows[:1], remove, replace(BOB, seen=0)).pairs == 1
    turn(database, "undo", 3)
    turn(database, "undo", 2)
    turn(database, "undo", 1, BOB)
    refused = pytest.raises(DecidedMeanwhile, match="decided meanwhile: taken back, by bob")
    with refused, database.writing() as connection:
        acting.decide_rows(connection, rows[:1], remove, replace(ADA, seen=DECISIONS.index("keep")))


def test_pairs_touched_by_others_meanwhile_are_counted_once(database: Database) -> None:
    since = decide(database, "f", "keep")
    decide(database, "ab", "keep", BOB)
    turn(database, "undo", decide(database, "be", "unsure", BOB))
    mine = decide(database, "abcf", "remove")
    decide(database, "c", "keep", BOB)
    with database.reading() as connection:
        assert log.touched_between(connection, since, mine) == 2
        assert log.touched_between(connection, since - 1, mine) == 3
        assert log.touched_between(connection, mine - 1, mine) == 0
