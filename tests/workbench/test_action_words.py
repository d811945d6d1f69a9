"""Actions and filters in words, whatever is in the log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cfbd_core import SplitParams
from cfbd_core.store.log import Action
from cfbd_core.workbench.action_words import action_words, filter_words, params_words
from cfbd_core.workbench.filter_query import to_query
from cfbd_core.workbench.pair_filter import PairFilter


def action(**values: Any) -> Action:
    usual: dict[str, Any] = dict.fromkeys(("target", "decision", "note", "filter", "params"))
    usual |= {"id": 3, "time": datetime(2026, 1, 1, tzinfo=UTC), "who": "ada", "kind": "decide", "pairs": 1}
    return Action(**(usual | values))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"decision": "keep"}, "keep, 1 pair"),
        ({"decision": "remove", "pairs": 100_000}, "remove, 100,000 pairs"),
        ({"decision": "", "pairs": 0}, "take back, 0 pairs"),
        ({"kind": "import", "pairs": 2}, "import: various, 2 pairs"),
        ({"kind": "undo", "target": 1, "pairs": 5}, "undo #1, 5 pairs changed"),
        ({"kind": "redo", "target": 1}, "redo #1, 1 pair changed"),
    ],
)
def test_an_action_in_words(values, told):
    assert action_words(action(**values)) == told


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        (None, ""),
        (to_query(PairFilter()), "removed"),
        (to_query(PairFilter(show="all")), "all pairs"),
        (
            to_query(PairFilter(show="kept", z=(0.5, 1.0), text=" a banana ", subsets=("benign",))),
            "kept; D_b; z 0.50 to 1.00; “a banana”",
        ),
        ({"file": "mine.csv"}, "from the file mine.csv"),
        ({"before_the_log": True}, "decided before there was a log"),
        ({"group": "a banana"}, "removed; group of a banana"),
        ({"z": "1_x"}, "z 1_x"),
        ({"z": [0.5, 1], "mine": 3}, "z [0.5, 1]; mine 3"),
        ({"ids": [1]}, "ids [1]"),
    ],
)
def test_a_filter_in_words(chosen, told):
    assert filter_words(chosen) == told


def test_settings_in_words():
    assert params_words(None) == ""
    assert params_words(SplitParams().to_dict()) == "K 5 · γ 0.9 · q 50 · γ_z auto"
    by_hand = SplitParams.with_gamma_z("0.4", k=2).to_dict()
    assert params_words(by_hand) == "K 2 · γ 0.9 · q 50 · γ_z 0.4"
    assert params_words({"k": 5}).startswith("K 5")
