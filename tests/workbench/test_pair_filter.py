"""Views of the pairs against a literal filter and sort over rows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfbd_core import Audit, SplitParams
from cfbd_core.errors import ParameterError
from cfbd_core.store.columns import DECISIONS
from cfbd_core.workbench import pair_filter
from cfbd_core.workbench.explorer import Explorer
from cfbd_core.workbench.pair_filter import SHOWN, SORTS, SUBSET_CODES, PairFilter
from cfbd_core.workbench.preview import Preview
from tests.explored import scored_audit

SLIDERS = {
    "usual": SplitParams(k=3, q=20),
    "published": SplitParams(k=3, q=60, gamma=0.6, recheck=False),
    "one": SplitParams(k=2, q=1),  # its one member of D_p has no z
}
BOUNDS = st.none() | st.tuples(st.floats(-0.5, 1, width=32), st.floats(-0.5, 1, width=32)).map(sorted).map(
    tuple
)
FILTERS = st.builds(
    PairFilter,
    show=st.sampled_from(SHOWN),
    subsets=st.lists(st.sampled_from(list(SUBSET_CODES)), max_size=3).map(tuple),
    decisions=st.lists(st.sampled_from(DECISIONS), max_size=4).map(tuple),
    c=BOUNDS | st.just((0.05, 0.05)),
    z=BOUNDS,
    text=st.sampled_from(["", "", " ", "caption 3", "CAPTION", " key-1 ", "100%", "\\", "'", "nowhere"]),
    truth=st.sampled_from([None, True, False]),
    sort=st.sampled_from(SORTS),
    descending=st.booleans(),
)


@pytest.fixture(scope="module")
def previews(tmp_path_factory) -> dict[str, Preview]:
    """One preview for each of ``SLIDERS``, with decisions on half of the pairs."""
    explored = Explorer(scored_audit(tmp_path_factory.mktemp("decided") / "made"))
    explored.decide(np.arange(0, 413, 2), np.random.default_rng(0).integers(0, 4, 207).astype(np.int8))
    return {name: explored.preview(params) for name, params in SLIDERS.items()}


@pytest.fixture(scope="module")
def pairs(previews: dict[str, Preview]) -> dict[str, list[dict[str, Any]]]:
    """What a literal filter looks at, a dictionary a pair, for each preview."""
    return {name: pairs_of(preview) for name, preview in previews.items()}


def pairs_of(preview: Preview) -> list[dict[str, Any]]:
    explored = preview.pairs
    scored = explored.audit.pairs(where="consistency IS NOT NULL")
    found = scored.select(["key", "caption", "decision", "poisoned"]).to_pylist()
    for position, pair in enumerate(found):
        pair["position"] = position
        pair["c"], pair["z"] = explored.consistency[position].item(), preview.z.values[position].item()
        pair["subset"] = ["benign", "poisoned", "suspicious"][preview.coarse.subset[position]]
        flagged = bool(preview.flagged[position])
        pair["removed"] = pair["decision"] == "remove" or (flagged and pair["decision"] != "keep")
    return found


def is_shown(pair: dict[str, Any], view: PairFilter) -> bool:
    words = view.text.strip().lower()
    return (
        (view.show == "all" or pair["removed"] == (view.show == "removed"))
        and (not view.subsets or pair["subset"] in view.subsets)
        and (not view.decisions or pair["decision"] in view.decisions)
        and (view.c is None or np.float32(view.c[0]) <= pair["c"] <= np.float32(view.c[1]))
        and (view.z is None or np.float32(view.z[0]) <= pair["z"] <= np.float32(view.z[1]))
        and (view.truth is None or pair["poisoned"] is view.truth)
        and (words in pair["caption"].lower() or words in pair["key"].lower())
    )


def literal_positions(pairs: list[dict[str, Any]], view: PairFilter) -> list[int]:
    shown = [pair for pair in pairs if is_shown(pair, view)]
    if view.sort == "row":
        return [pair["position"] for pair in (reversed(shown) if view.descending else shown)]
    name, sign = {"z": "z", "usual": "z", "consistency": "c"}[view.sort], -1 if view.descending else 1
    with_value = [pair for pair in shown if not math.isnan(pair[name])]
    without = [pair for pair in shown if math.isnan(pair[name])]
    return [pair["position"] for pair in sorted(with_value, key=lambda pair: sign * pair[name]) + without]


@settings(max_examples=150)  # each takes no time, and rare cases matter
@given(name=st.sampled_from(list(SLIDERS)), view=FILTERS)
def test_a_view_is_a_literal_filter_and_sort(previews, pairs, name: str, view: PairFilter) -> None:
    assert view.positions(previews[name]).tolist() == literal_positions(pairs[name], view)


@given(name=st.sampled_from(list(SLIDERS)), view=FILTERS)
def test_few_and_many_are_in_the_same_order(previews, name: str, view: PairFilter) -> None:
    found = []
    for few in (0.0, 2.0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pair_filter, "FEW_SHARE", few)
            found.append(view.positions(previews[name]).tolist())
    assert found[0] == found[1]


@pytest.mark.parametrize("few", [0.0, 2.0])
@pytest.mark.parametrize("descending", [True, False])
def test_a_pair_without_z_comes_last(previews, monkeypatch, few: float, descending: bool) -> None:
    monkeypatch.setattr(pair_filter, "FEW_SHARE", few)
    preview = previews["one"]
    (member,) = preview.coarse.probe
    assert np.isnan(preview.z.values[member])
    positions = PairFilter(show="all", sort="z", descending=descending).positions(preview)
    assert len(positions) == 413
    assert positions[-1] == member


def test_a_range_is_closed(previews) -> None:
    preview = previews["usual"]
    value = preview.z.values[7].item()
    assert 7 in PairFilter(show="all", z=(value, value)).positions(preview)


def test_a_range_of_z_leaves_out_a_pair_without_z(previews) -> None:
    preview = previews["one"]
    assert len(PairFilter(show="all", z=(-1, 1)).positions(preview)) == 412


def test_removed_and_kept_are_all(previews) -> None:
    preview = previews["usual"]
    removed, kept = (PairFilter(show=show).mask(preview) for show in ("removed", "kept"))
    assert removed.any()
    np.testing.assert_array_equal(removed, ~kept)


def test_a_view_follows_decisions_made_after_the_preview(own: Audit) -> None:
    explored = Explorer(own)
    preview = explored.preview(SLIDERS["usual"])
    view = PairFilter(sort="row", descending=False)
    flagged = view.positions(preview)
    clean = np.flatnonzero(~preview.flagged)[:1]
    explored.decide(np.append(flagged[:1], clean), np.array([1, 2], np.int8))
    assert set(view.positions(preview).tolist()) == set(flagged[1:].tolist()) | set(clean.tolist())
    kept_by_hand = replace(view, show="kept", decisions=("keep",))
    assert kept_by_hand.positions(preview).tolist() == flagged[:1].tolist()


@pytest.mark.parametrize(
    "bad",
    [
        {"show": "some"},
        {"sort": "caption"},
        {"subsets": ("benign", "odd")},
        {"decisions": ("keep", "burn")},
    ],
)
def test_a_name_that_is_none_is_refused(bad) -> None:
    with pytest.raises(ParameterError):
        PairFilter(**bad)


def test_what_a_detector_flags_and_what_it_does_not(tmp_path) -> None:
    explored = Explorer(scored_audit(tmp_path / "made"))
    preview = explored.preview(SplitParams(q=20))
    assert not PairFilter("all", detector="dao").mask(preview).any()
    assert not PairFilter("all", detector="!dao").mask(preview).any()
    (one,) = explored.audit.detect("dao")
    flagged = PairFilter("all", detector="dao").mask(preview)
    assert flagged.sum() == one["flagged"] > 0
    np.testing.assert_array_equal(PairFilter("all", detector="!dao").mask(preview), ~flagged)
    explored.audit.detect("slof")
    assert PairFilter("all", detector="slof").mask(preview).any()  # a later one is seen, too
