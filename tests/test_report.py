from __future__ import annotations

import pytest

from cfbd_core.report import text

RESULT = {
    "pairs": 1000, "benign": 600, "poisoned": 50, "suspicious": 350, "flagged": 40, "kept": 960, "skipped": 2,
    "params": {"k": 5, "gamma": 0.9, "q": 50, "gamma_z": None, "gamma_z_rule": "valley", "recheck": True},
    "evidence": {"level": "none", "cohesion": 0.04, "null_max": 0.05, "q": 50, "distinct": 50},
    "decided": dict.fromkeys(("removed_by_hand", "kept_by_hand", "overruled", "keep", "remove", "unsure"), 0),
    "truth": None, "embedding": {"encoder": "mini"}, "mapping": {"name": "F of mini"},
    "skip_reasons": [
        {"pairs": 2, "stage": "ingest", "reason": "empty caption", "examples": [{"position": "a.csv line 3"}]}
    ],
    "warnings": ["D_b is empty; raise γ or lower K"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, "No evidence of poisoning"),
        ({"level": "weak", "cohesion": 0.2}, "somewhat alike"),
        ({"level": "weak", "cohesion": 1.0, "distinct": 1}, "a few texts repeated"),
        ({"level": "strong", "cohesion": 0.6}, "Strong evidence"),
        ({"cohesion": None, "null_max": None, "q": 1, "distinct": 1}, "cohesion –"),
    ],
)
def test_the_evidence_is_said_in_words(change, says):
    shown = text(RESULT | {"evidence": RESULT["evidence"] | change})
    assert says in shown


def test_skips_warnings_and_an_infinite_threshold_are_shown():
    shown = text(RESULT)
    assert "skipped 2 at ingest: empty caption (e.g. a.csv line 3)" in shown
    assert "warning: D_b is empty" in shown
    assert "γ_z = – (valley)" in shown
