"""Sliders on a scored audit: a preview is what a split would store, and decisions are everybody's."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import Phase, example, given, settings

from cfbd_core import Audit, SplitParams
from cfbd_core.audit.columns import Columns
from cfbd_core.audit.log import DecisionLog
from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.method.mixture import fit_mixture
from cfbd_core.store.acting import Provenance
from cfbd_core.store.columns import DECISIONS
from cfbd_core.workbench import explorer, scored_pairs
from cfbd_core.workbench.explorer import CACHED_PREVIEWS, Explorer
from cfbd_core.workbench.scored_pairs import CACHED_SEARCHES
from tests.explored import PARAMS, READ, scored_audit

GAPS = [100, 101, 102, 103, 200, 201, 202]
SLIDERS = SplitParams(k=3, q=20)


@pytest.fixture(scope="module")
def explored(scored: Audit) -> Explorer:
    return Explorer(scored)


@pytest.fixture(scope="module")
def splittable(scored: Audit, tmp_path_factory) -> Audit:
    """A copy of ``scored`` to split again and again."""
    return Audit.open(shutil.copytree(scored.folder, tmp_path_factory.mktemp("splittable") / "audit"))


def codes_in(audit: Audit) -> dict[int, str]:
    """Decisions by row, straight from the audit's file."""
    with duckdb.connect(str(audit.folder / "audit.duckdb"), read_only=True) as connection:
        found = connection.execute("SELECT row, decision::VARCHAR FROM decisions JOIN pairs USING (key)")
        return dict(sorted(found.fetchall()))


def codes_held(explored: Explorer) -> dict[int, str]:
    return {
        row: DECISIONS[code]
        for row, code in zip(explored.rows.tolist(), explored.decisions.tolist(), strict=True)
        if code
    }


def counting(monkeypatch: pytest.MonkeyPatch, place: object, name: str) -> list[tuple]:
    """Let ``place.name`` work on, and return the list that its calls' arguments are added to."""
    calls, original = [], getattr(place, name)

    def counted(*args, **options):
        calls.append(args)
        return original(*args, **options)

    monkeypatch.setattr(place, name, counted)
    return calls


# --- previews ----------------------------------------------------------------------------------------------


def assert_stored(audit: Audit, explored: Explorer, params: SplitParams) -> None:
    """Split, and compare all that was stored with the preview of the same parameters."""
    preview = explored.preview(params)
    summary = audit.split(params)
    stored, report = audit.pairs(where="consistency IS NOT NULL"), audit.report()
    np.testing.assert_array_equal(stored["row"].to_numpy(), explored.rows)
    z = stored["z"].to_numpy(zero_copy_only=False).astype(np.float32)
    np.testing.assert_array_equal(z, preview.z.values)
    names = np.array(["benign", "poisoned", "suspicious"])
    assert stored["subset"].to_pylist() == names[preview.coarse.subset].tolist()
    assert [verdict == "poisoned" for verdict in stored["verdict"].to_pylist()] == preview.flagged.tolist()
    assert [final == "removed" for final in stored["final"].to_pylist()] == preview.removed().tolist()
    counts = preview.counts
    assert counts.pairs == report["pairs"] - report["unscored"]
    for name in ("benign", "poisoned", "suspicious", "flagged", "kept"):
        assert getattr(counts, name) == report[name]
    assert summary["params"]["gamma_z"] == (
        preview.gamma_z.value if np.isfinite(preview.gamma_z.value) else None
    )
    assert summary["gamma_z_detail"] == preview.gamma_z.detail
    assert summary["coarse_cut"] == preview.coarse.cut
    assert summary["mixture"] == preview.mixture.to_dict()
    assert summary["evidence"] == preview.evidence.to_dict()
    assert summary["warnings"] == list(preview.warnings)


@settings(max_examples=10, phases=set(Phase) - {Phase.shrink})  # a split is slow
@given(params=PARAMS)
@example(params=SplitParams(k=3, q=20, seed=1, kappa=3.0))
@example(params=SplitParams(k=2, q=60, gamma=0.6, recheck=False))
@example(params=SplitParams(k=4, q=30, rule="posterior", gamma_z_rule="valley"))
@example(params=SplitParams(k=1, q=1, gamma_z=0.2, gamma_z_rule="manual"))
def test_a_preview_is_what_a_split_stores(splittable, explored, params: SplitParams) -> None:
    assert_stored(splittable, explored, params)


def test_a_preview_is_what_a_split_stores_compiled(own: Audit, monkeypatch) -> None:
    monkeypatch.setattr("cfbd_core.method.scores.LEAST_COMPILED_ROWS", 1)
    assert_stored(own, Explorer(own), SLIDERS)


def test_a_preview_is_the_same_with_more_shards_than_may_be_open(scored, explored, monkeypatch) -> None:
    monkeypatch.setattr(scored_pairs, "MOST_OPEN_SHARDS", 1)
    preview = Explorer(scored).preview(SLIDERS)
    np.testing.assert_array_equal(preview.z.values, explored.preview(SLIDERS).z.values)
    assert preview.evidence == explored.preview(SLIDERS).evidence


def test_z_is_the_mean_cosine_to_the_captions_of_the_probe_despite_gaps(scored, explored) -> None:
    assert np.setdiff1d(np.arange(READ), explored.rows).tolist() == GAPS
    text = np.concatenate(scored.shards.texts()).astype(np.float64)
    unit = text / np.linalg.norm(text, axis=1, keepdims=True)
    preview = explored.preview(SLIDERS)
    probe = explored.rows[preview.coarse.probe]
    for position in range(0, len(explored), 9):
        row = explored.rows[position]
        others = [unit[row] @ unit[member] for member in probe if member != row]
        assert preview.z.values[position] == pytest.approx(np.mean(others), abs=1e-6)


def test_ties_at_the_last_place_of_the_probe_go_to_the_smallest_keys(scored, explored) -> None:
    pairs = scored.pairs(where="consistency IS NOT NULL").select(["key", "consistency", "row"]).to_pylist()
    ranked = sorted(pairs, key=lambda pair: (-pair["consistency"], pair["key"]))
    tied = [q for q in range(1, 413) if ranked[q - 1]["consistency"] == ranked[q]["consistency"]]
    for q in tied[::60]:
        probe = explored.preview(replace(SLIDERS, q=q)).coarse.probe
        assert set(explored.rows[probe].tolist()) == {pair["row"] for pair in ranked[:q]}


def test_more_pairs_asked_for_than_there_are_is_told(explored) -> None:
    assert explored.preview(SplitParams(k=1, q=len(explored))).counts.poisoned == len(explored) == 413
    with pytest.raises(ParameterError, match="q = 414: the audit has 413"):
        explored.preview(SplitParams(k=1, q=414))


def test_scores_that_are_all_alike_are_told(own) -> None:
    with duckdb.connect(str(own.folder / "audit.duckdb")) as connection:
        connection.execute("UPDATE scores SET consistency = 0.5")
    alike = Explorer(own)
    with pytest.raises(ParameterError, match="the same score"):
        alike.preview(SLIDERS)
    alike.fit_all()


def test_an_audit_without_scores_is_told_how_to_get_them(tmp_path) -> None:
    with pytest.raises(AuditError, match="cfbd score"):
        Explorer(scored_audit(tmp_path / "made", scored=False))


def test_truth_is_known_unknown_or_absent(own, explored) -> None:
    assert {int(code): int((explored.truth == code).sum()) for code in (-1, 0, 1)} == {
        -1: 30,
        0: 413 - 30 - len(explored.poisons),
        1: len(explored.poisons),
    }
    assert explored.has_truth
    with duckdb.connect(str(own.folder / "audit.duckdb")) as connection:
        connection.execute("UPDATE pairs SET poisoned = NULL")
    assert not Explorer(own).has_truth


def test_the_version_is_that_of_the_scores_held(own) -> None:
    explored = Explorer(own)
    assert explored.version == own.state.score_version() is not None


# --- caches ------------------------------------------------------------------------------------------------


def test_the_last_previews_are_kept_and_older_ones_made_again(scored) -> None:
    explored = Explorer(scored)
    first = explored.preview(SLIDERS)
    for q in range(21, 20 + CACHED_PREVIEWS):
        explored.preview(replace(SLIDERS, q=q))
    assert explored.preview(SLIDERS) is first
    explored.preview(replace(SLIDERS, q=29))
    assert explored.preview(SLIDERS) is first
    for q in range(30, 30 + CACHED_PREVIEWS):
        explored.preview(replace(SLIDERS, q=q))
    again = explored.preview(SLIDERS)
    assert again is not first
    np.testing.assert_array_equal(again.flagged, first.flagged)


def test_a_fit_is_made_once_for_each_k_and_seed(scored, monkeypatch) -> None:
    fits = counting(monkeypatch, explorer, "fit_mixture")
    explored = Explorer(scored)
    for k, gamma, seed in ((3, 0.9, 0), (3, 0.8, 0), (4, 0.9, 0), (3, 0.9, 1), (3, 0.7, 1)):
        explored.preview(SplitParams(k=k, gamma=gamma, q=20, seed=seed))
    assert len(fits) == 3


def test_z_is_taken_anew_only_where_the_probe_changes(scored, monkeypatch) -> None:
    taken = counting(monkeypatch, explorer, "textual_correlation")
    explored = Explorer(scored)
    z = [
        explored.preview(replace(SLIDERS, **values)).z
        for values in ({}, {"gamma": 0.5}, {"k": 5}, {"recheck": False}, {"q": 21}, {"q": 20, "gamma": 0.4})
    ]
    assert len(taken) == 2
    assert z[0] is z[1] is z[2] is z[3] is z[5] is not z[4]


def test_every_k_is_fitted_once_warm(scored, monkeypatch) -> None:
    explored = Explorer(scored)
    assert not explored.is_warm
    explored.warm()
    explored.warm()
    explored.wait_until_warm()
    assert explored.is_warm
    fits = counting(monkeypatch, explorer, "fit_mixture")
    for k in range(1, 11):
        assert explored.mixture(k) == fit_mixture(explored.consistency, k)
    assert not fits


def held_up(
    monkeypatch: pytest.MonkeyPatch, place: object, name: str
) -> tuple[threading.Event, threading.Event]:
    """Let the first call of ``place.name`` wait; returns what says that it has begun, and what lets it go on."""
    begun, go, original = threading.Event(), threading.Event(), getattr(place, name)

    def waiting(*args, **options):
        if not begun.is_set():
            begun.set()
            assert go.wait(30)
        return original(*args, **options)

    monkeypatch.setattr(place, name, waiting)
    return begun, go


@pytest.mark.parametrize("slow", ["search", "preview"])
def test_a_decision_does_not_wait_for_a_search_or_a_preview(own, monkeypatch, slow) -> None:
    explored = Explorer(own)
    place = (Columns, "search_captions") if slow == "search" else (explorer, "textual_correlation")
    begun, go = held_up(monkeypatch, *place)
    work = (lambda: explored.search("banana")) if slow == "search" else (lambda: explored.preview(SLIDERS))
    with ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(work)
        assert begun.wait(30)
        decided = threads.submit(explored.decide, np.array([7]), 1)
        try:
            assert decided.result(15).pairs == 1
            assert codes_held(explored) == {7: "keep"}
        finally:
            go.set()
        waiting.result()


def test_a_preview_does_not_wait_for_another_and_two_of_a_kind_are_made_once(scored, monkeypatch) -> None:
    explored = Explorer(scored)
    begun, go = held_up(monkeypatch, explorer, "textual_correlation")
    taken = counting(monkeypatch, explorer, "textual_correlation")
    with ThreadPoolExecutor(3) as threads:
        twice = [threads.submit(explored.preview, SLIDERS) for _ in range(2)]
        assert begun.wait(30)
        try:
            assert threads.submit(explored.preview, replace(SLIDERS, q=21)).result(30).params.q == 21
        finally:
            go.set()
        assert twice[0].result() is twice[1].result()
    assert len(taken) == 2


# --- counts by K and γ -------------------------------------------------------------------------------------


def test_benign_by_k_and_gamma_are_literal_counts(explored) -> None:
    ks, gammas = [1, 2, 5], [0.05, 0.5, 0.9, 0.99]
    every, poisons = explored.benign_by(ks, gammas)
    for i, k in enumerate(ks):
        mixture = explored.mixture(k)
        for j, gamma in enumerate(gammas):
            cut = np.float32(mixture.means[0] + NormalDist().inv_cdf(gamma) * mixture.sigmas[0])
            below = [bool(c <= cut) for c in explored.consistency]
            assert every[i, j] == sum(below)
            assert poisons[i, j] == sum(
                inside and truth == 1 for inside, truth in zip(below, explored.truth, strict=True)
            )


def test_a_pair_at_the_cut_itself_is_benign(explored, monkeypatch) -> None:
    monkeypatch.setattr(explorer, "benign_cut", lambda mixture, gamma: gamma)
    every, poisons = explored.benign_by([1], [0.1])
    inside = [c <= np.float32(0.1) for c in explored.consistency]
    assert (explored.consistency[explored.poisons] == np.float32(0.1)).any()
    assert every[0, 0] == sum(inside)
    assert poisons[0, 0] == sum(inside[position] for position in explored.poisons)


def test_benign_by_counts_what_a_preview_finds_before_the_probe_is_taken_out(explored) -> None:
    every, poisons = explored.benign_by([3], [0.9])
    preview = explored.preview(replace(SLIDERS, q=1))
    assert not len(preview.coarse.overlap)
    assert (every[0, 0], poisons[0, 0]) == (preview.counts.benign, preview.poisons_in_benign())


# --- decisions ---------------------------------------------------------------------------------------------


def test_a_decision_is_stored_at_once_and_can_be_undone_and_redone(own) -> None:
    explored = Explorer(own)
    explored.decide(np.array([0, 5]), np.array([1, 3], np.int8))
    positions = np.array([5, 300, 0])
    done = explored.decide(
        positions, np.array([2, 2, 0], np.int8), by=Provenance("ada", params=SLIDERS.to_dict())
    )
    assert (done.who, done.params, done.pairs) == ("ada", SLIDERS.to_dict(), 3)
    rows = explored.rows[positions].tolist()
    after = {rows[0]: "remove", rows[1]: "remove"}
    assert codes_in(own) == codes_held(explored) == after
    assert explored.undo(done.id, who="bob").pairs == 3
    assert explored.undone == {done.id}
    assert codes_in(own) == codes_held(explored) == {rows[2]: "keep", rows[0]: "unsure"}
    assert explored.redo(done.id).target == done.id
    assert explored.undone == frozenset()
    assert codes_in(own) == codes_held(explored) == after
    assert [(one.kind, one.who) for one in own.history(3)][1:] == [("undo", "bob"), ("decide", "ada")]


@pytest.mark.parametrize("code", range(4))
def test_undoing_brings_back_the_notes_too(own, code) -> None:
    explored = Explorer(own)
    positions = np.array([7, 5, 300])
    keys = explored.pairs_at(positions)["key"].to_pylist()
    own.decide(pa.table({"key": keys[:2], "decision": ["keep", "unsure"], "note": ["looked at", ""]}))
    explored.refresh_decisions()
    before = own.columns.notes_of(explored.rows[positions])
    assert before == ["looked at", None, None]
    done = explored.decide(positions, code)
    assert own.columns.notes_of(explored.rows[positions]) == ([None] * 3 if code == 0 else before)
    explored.undo(done.id)
    assert own.columns.notes_of(explored.rows[positions]) == before
    assert codes_in(own) == codes_held(explored) == {7: "keep", 5: "unsure"}


def test_an_explorer_notices_that_another_file_was_put_in_the_audit_s_place(own) -> None:
    explored = Explorer(own)
    path = own.folder / "audit.duckdb"
    copy = shutil.copy(path, own.folder / "copy")
    explored.decide(np.array([1, 2]), 1)
    Path(copy).replace(path)
    Explorer(Audit.open(own.folder)).decide(np.array([3]), 2)
    explored.refresh_decisions()
    assert codes_held(explored) == codes_in(own) == {int(explored.rows[3]): "remove"}


def test_an_undo_of_another_session_is_seen_after_a_refresh(own) -> None:
    explored, other = Explorer(own), Explorer(Audit.open(own.folder))
    done = explored.decide(np.array([1, 2]), 1)
    other.undo(done.id)
    explored.refresh_decisions()
    assert (codes_held(explored), explored.undone) == ({}, {done.id})


def test_what_a_killed_writer_left_ahead_of_the_file_is_seen_after_a_refresh(own) -> None:
    explored = Explorer(own)
    program = (
        "import numpy as np, os, signal, sys\nfrom cfbd_core import Audit\nfrom cfbd_core.store import database\n"
        "real = database.duckdb.connect\n"
        "class Dies:\n"
        "    def __init__(self, held): self.held = held\n"
        "    def __getattr__(self, name): return getattr(self.held, name)\n"
        "    def close(self): os.kill(os.getpid(), signal.SIGKILL)\n"
        "audit = Audit.open(sys.argv[1])\n"
        "database.duckdb.connect = lambda *a, **k: Dies(real(*a, **k))\n"
        "audit.decide_rows(np.array([7]), 1)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(own.folder)], check=False)
    assert ended.returncode == -signal.SIGKILL
    explored.refresh_decisions()
    assert codes_held(explored) == codes_in(own) == {7: "keep"}


def test_decisions_made_elsewhere_are_seen_after_a_refresh(own) -> None:
    explored = Explorer(own)
    explored.decide(np.array([7]), np.array([1], np.int8))
    key = explored.pairs_at(np.array([200]))["key"][0].as_py()
    Audit.open(own.folder).decide(pa.table({"key": [key], "decision": ["remove"], "note": [""]}))
    assert codes_held(explored) == {7: "keep"}
    explored.refresh_decisions()
    assert codes_held(explored) == codes_in(own) == {7: "keep", int(explored.rows[200]): "remove"}


def test_decisions_of_another_process_are_seen_after_a_refresh(own) -> None:
    explored = Explorer(own)
    explored.decide(np.array([3, 4]), np.array([1, 1], np.int8))
    program = (
        "import sys, numpy as np\nfrom cfbd_core import Audit\n"
        "Audit.open(sys.argv[1]).decide_rows(np.array([4, 9]), np.array([0, 2], np.int8))"
    )
    subprocess.run([sys.executable, "-c", program, str(own.folder)], check=True)
    explored.refresh_decisions()
    assert codes_held(explored) == {3: "keep", 9: "remove"}


def test_a_refresh_reads_nothing_while_the_file_is_unchanged(own, monkeypatch) -> None:
    explored = Explorer(own)
    reads = counting(monkeypatch, DecisionLog, "news")
    explored.refresh_decisions()
    assert not reads
    own.decide_rows(np.array([1]), np.array([1], np.int8))
    explored.refresh_decisions()
    explored.refresh_decisions()
    assert len(reads) == 1


def test_a_refresh_does_not_disturb_who_is_reading(own) -> None:
    explored = Explorer(own)
    explored.decide(np.array([7]), np.array([2], np.int8))
    held = explored.decisions
    own.decide_rows(np.array([7, 8]), np.array([0, 1], np.int8))
    explored.refresh_decisions()
    assert held[[7, 8]].tolist() == [2, 0]
    assert explored.decisions[[7, 8]].tolist() == [0, 1]


def test_a_decision_that_cannot_be_stored_is_not_held_either(own, monkeypatch) -> None:
    explored = Explorer(own)
    monkeypatch.setattr("cfbd_core.store.database.BUSY_SECONDS", 0.1)
    with own.files.database.reading(), pytest.raises(AuditError, match="has had the audit open"):
        explored.decide(np.array([7]), np.array([2], np.int8))
    assert codes_held(explored) == codes_in(own) == {}


def test_a_decision_on_a_pair_without_a_score_is_left_alone(own) -> None:
    own.decide_rows(np.array([0, 7, 419]), np.array([1, 3, 2], np.int8))
    with duckdb.connect(str(own.folder / "audit.duckdb")) as connection:
        connection.execute("DELETE FROM scores WHERE row IN (0, 419)")
    explored = Explorer(own)
    assert codes_held(explored) == {7: "unsure"}
    explored.decide(np.array([0]), np.array([2], np.int8))
    assert codes_in(own) == {0: "keep", 1: "remove", 7: "unsure", 419: "remove"}


def test_threads_that_preview_and_decide_at_once_lose_nothing(own) -> None:
    explored = Explorer(own)
    alone = {q: explored.preview(replace(SLIDERS, q=q)).flagged for q in range(10, 20)}
    expected = np.zeros(len(explored), np.int8)
    expected[:25] = np.random.default_rng(0).integers(1, 4, 25)

    def decide(position: int) -> bool:
        explored.decide(np.array([position]), expected[[position]])
        return True

    def preview(turn: int) -> bool:
        q = 10 + turn % 10
        explored.refresh_decisions()
        explored.search(str(turn))
        return np.array_equal(explored.preview(replace(SLIDERS, q=q)).flagged, alone[q])

    with ThreadPoolExecutor(4) as threads:
        done = [threads.submit(work, turn) for turn in range(25) for work in (decide, preview)]
        assert all(one.result() for one in done)
    np.testing.assert_array_equal(explored.decisions, expected)
    np.testing.assert_array_equal(Explorer(own).decisions, expected)


def test_two_explorers_of_one_audit_deciding_at_once_lose_nothing(own) -> None:
    pair = Explorer(own), Explorer(Audit.open(own.folder))
    twice = np.array([400, 401])  # both decide on these: one of them comes last

    def decide(turn: int) -> None:
        pair[turn % 2].decide(np.append(twice, turn), np.array([1 + turn % 2] * 3, np.int8))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(decide, range(24)))
    for one in pair:
        one.refresh_decisions()
        assert one.decisions[:24].tolist() == [1, 2] * 12
        assert one.decisions[twice].tolist() in ([1, 1], [2, 2])


# --- words and places --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("BANANA", [18]),
        ("école", [17]),
        ("100%", [11]),
        ("e_n", [13]),
        ("\\", [15]),
        ("it's", [16]),
        ('"QUOTED"', [16]),
        ("'", [16]),
        ("caption 20", [20, 203, 204, 205, 206, 207, 208, 209]),
        ("no such words", []),
    ],
)
def test_a_search_is_literal_whatever_the_case(explored, text, rows) -> None:
    assert explored.rows[explored.search(text)].tolist() == rows


def test_keys_are_searched_too(explored) -> None:
    (row,) = explored.rows[explored.search("KEY-111")]
    assert explored.audit.columns.keys_of(np.array([row])) == ["key-111"]


def test_a_search_is_made_once_while_it_is_kept(scored, monkeypatch) -> None:
    explored = Explorer(scored)
    made = counting(monkeypatch, Columns, "search_captions")
    for _ in range(2):
        explored.search("banana")
    assert made == [(scored.columns, "banana")]
    for number in range(CACHED_SEARCHES):
        explored.search(str(number))
    explored.search("banana")
    assert len(made) == CACHED_SEARCHES + 2


def test_positions_of_rows_and_back(explored) -> None:
    rows = np.array([419, 0, 201, 99, 104, 100, 500])
    found = explored.positions_of(rows)
    assert found.tolist() == [412, 0, -1, 99, 100, -1, -1]
    np.testing.assert_array_equal(explored.rows[found[found >= 0]], [419, 0, 99, 104])


def test_a_mask_names_positions_and_ignores_those_that_are_none(explored) -> None:
    assert np.flatnonzero(explored.mask_of(np.array([5, -1, 300]))).tolist() == [5, 300]
    assert not explored.mask_of(np.empty(0, np.int64)).any()


def test_a_page_is_in_the_order_of_its_positions(explored) -> None:
    positions = np.array([412, 3, 150])
    page = explored.pairs_at(positions)
    assert page["row"].to_pylist() == explored.rows[positions].tolist()
    assert page["s_o"].to_pylist() == explored.consistency[positions].tolist()
