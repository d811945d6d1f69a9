"""The control sample: drawn at random from frozen strata, the same again from what is kept of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.review import draw_control, extended, read_control, write_control
from cfbd_core.review.control import KEPT, REMOVED, JudgedPairs, allocated
from cfbd_core.store.columns import KEEP, REMOVE


def made(n: int = 1000, seed: int = 0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n).astype(np.float32)
    decisions = rng.choice(np.array([0, KEEP, REMOVE, 3], np.int8), n, p=[0.8, 0.1, 0.05, 0.05])
    return z, z > 1.5, decisions


def test_the_pool_is_what_nobody_settled_cut_by_side_and_z() -> None:
    z, removed, decisions = made()
    z[3], removed[3], decisions[3] = np.nan, False, 0
    control = draw_control(JudgedPairs(z, removed, decisions), kept_size=50, removed_size=20)
    pool = (decisions != KEEP) & (decisions != REMOVE)
    np.testing.assert_array_equal(control.stratum >= 0, pool)
    assert control.side == (KEPT, KEPT, REMOVED)
    assert (control.stratum[removed & pool] == 2).all()
    top, rest = (control.stratum == number for number in (0, 1))
    assert top.sum() == round(0.05 * (pool & ~removed).sum())
    assert rest[3]
    assert z[top].min() >= np.nanmax(z[rest])
    assert control.sizes == (top.sum(), rest.sum(), (removed & pool).sum())
    assert sum(control.drawn[:2]) == 50
    assert control.drawn[2] == 20
    assert len(set(control.order.tolist())) == 70
    for number, part in enumerate(control.members):
        assert (control.stratum[part] == number).all()


def test_who_is_drawn_depends_on_the_seed_and_on_nothing_decided_later() -> None:
    z, removed, decisions = made()
    control = draw_control(JudgedPairs(z, removed, decisions), seed=4)
    again = draw_control(JudgedPairs(z, removed, decisions), seed=4)
    np.testing.assert_array_equal(control.order, again.order)
    assert set(control.order) != set(draw_control(JudgedPairs(z, removed, decisions), seed=5).order)
    later = decisions.copy()
    later[control.order[:10]] = KEEP
    np.testing.assert_array_equal(control.pending(later), control.order[10:][later[control.order[10:]] == 0])


def test_every_pair_of_a_stratum_is_drawn_equally_often() -> None:
    z, removed, decisions = made(60)
    decisions[:] = 0
    times = np.zeros(60)
    for seed in range(600):
        times[
            draw_control(JudgedPairs(z, removed, decisions), kept_size=20, removed_size=0, seed=seed).order
        ] += 1
    control = draw_control(JudgedPairs(z, removed, decisions), kept_size=20, removed_size=0)
    for number, (size, drawn) in enumerate(zip(control.sizes, control.drawn, strict=True)):
        share = drawn / size
        tolerance = 4.5 * np.sqrt(share * (1 - share) / 600) + 1e-9
        np.testing.assert_allclose(times[control.stratum == number] / 600, share, atol=tolerance)


def test_an_extension_holds_what_was_drawn_and_is_another_look() -> None:
    control = draw_control(JudgedPairs(*made()), kept_size=30, removed_size=10)
    larger = extended(control, kept_more=25)
    assert (control.look, larger.look) == (1, 2)
    assert sum(larger.drawn) == 65
    for before, after in zip(control.members, larger.members, strict=True):
        np.testing.assert_array_equal(after[: len(before)], before)
    assert draw_control(JudgedPairs(*made()), after=larger).look == 3
    with pytest.raises(ParameterError, match="only grow"):
        extended(control, kept_more=-1)


def test_a_side_without_pairs_and_no_pairs_at_all() -> None:
    z, _, decisions = made()
    control = draw_control(JudgedPairs(z, np.zeros(1000, bool), decisions))
    assert control.side == (KEPT, KEPT)
    empty = draw_control(JudgedPairs(np.empty(0), np.empty(0, bool), np.empty(0, np.int8)))
    assert (empty.side, empty.sizes, len(empty.order)) == ((), (), 0)
    settled = draw_control(JudgedPairs(z, z > 0, np.full(1000, KEEP, np.int8)))
    assert len(settled.order) == 0
    with pytest.raises(ParameterError, match="0 or more"):
        draw_control(JudgedPairs(z, z > 0, decisions), kept_size=-1)


def test_pairs_that_changed_sides_are_counted() -> None:
    z, removed, decisions = made()
    control = draw_control(JudgedPairs(z, removed, decisions))
    assert control.strayed(removed) == 0
    moved = removed.copy()
    moved[np.flatnonzero(control.stratum >= 0)[:7]] ^= True
    assert control.strayed(moved) == 7


@given(st.lists(st.integers(0, 400), max_size=5), st.integers(0, 900), st.data())
def test_draws_are_shared_by_the_roots_of_the_sizes(sizes, total, data) -> None:
    least = [data.draw(st.integers(0, min(size, 20))) for size in sizes]
    total = max(total, sum(least))
    given_ = allocated(sizes, total, least)
    assert sum(given_) == min(total, sum(sizes))
    assert all(low <= got <= size for low, got, size in zip(least, given_, sizes, strict=True))
    free = [i for i in range(len(sizes)) if least[i] < given_[i] < sizes[i]]
    for i in free:
        for j in free:
            assert (given_[i] - 1) / sizes[i] ** 0.5 <= (given_[j] + 1) / sizes[j] ** 0.5 + 1e-6


def test_a_sample_outlives_the_file_and_a_new_scoring(tmp_path) -> None:
    z, removed, decisions = made()
    rows = np.sort(np.random.default_rng(0).choice(5000, 1000, replace=False))
    control = extended(draw_control(JudgedPairs(z, removed, decisions), seed=9), 5, 5)
    path = tmp_path / "review" / "control.npz"
    assert read_control(path, rows) is None
    write_control(path, control, rows)
    found = read_control(path, rows)
    assert (found.side, found.drawn, found.seed, found.look) == (control.side, control.drawn, 9, 2)
    np.testing.assert_array_equal(found.stratum, control.stratum)
    np.testing.assert_array_equal(found.order, control.order)
    with pytest.raises(AuditError, match="other pairs"):
        read_control(path, rows + 1)
    with pytest.raises(AuditError, match="other pairs"):
        read_control(path, rows[:0])
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(AuditError, match="damaged"):
        read_control(path, rows)
    path.write_bytes(whole)
    with np.load(path) as held:
        arrays = dict(held)
    for odd in (
        {"drawn": arrays["drawn"] + 10_000},
        {"drawn": arrays["drawn"][:1]},
        {"side": arrays["side"] + 5},
        {"stratum": arrays["stratum"] + 9},
        {"stratum": arrays["stratum"][:3]},
        {"about": np.array([-1, 1])},
        {"rows": arrays["rows"].astype(float)},
        {"members": np.zeros((2, 2), np.int64)},
        {"more": np.zeros(10**6)},
    ):
        np.savez_compressed(path, **arrays | odd)
        with pytest.raises(AuditError, match="damaged") as refused:
            read_control(path, rows)
        assert "\n" not in str(refused.value)
