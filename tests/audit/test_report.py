from __future__ import annotations

import pytest

from cfbd_core.audit.report import text

RESULT = {
    "pairs": 1000,
    "benign": 600,
    "poisoned": 50,
    "suspicious": 350,
    "flagged": 40,
    "kept": 960,
    "skipped": 2,
    "params": {"k": 5, "gamma": 0.9, "q": 50, "gamma_z": None, "gamma_z_rule": "valley", "recheck": True},
    "evidence": {"level": "none", "cohesion": 0.04, "null_max": 0.05, "q": 50, "distinct": 50},
    "decided": dict.fromkeys(("removed_by_hand", "kept_by_hand", "overruled", "keep", "remove", "unsure"), 0),
    "truth": None,
    "embedding": {"encoder": "mini"},
    "mapping": {"name": "F of mini"},
    "skip_reasons": [
        {"pairs": 2, "stage": "ingest", "reason": "empty caption", "examples": [{"position": "a.csv line 3"}]}
    ],
    "unscored_reasons": [
        {"pairs": 3, "reason": "no usable embedding", "examples": [{"key": "7", "detail": "zeros"}]},
        {"pairs": 1, "reason": "embedded since the last scoring", "examples": [{"key": "9", "detail": None}]},
    ],
    "unread_kinds": [
        {"kind": "archive", "count": 3, "advice": "unpack it", "examples": ["a.zip", "b.zip", "c.zip"]}
    ],
    "notes": ["pictures are read from Images"],
    "warnings": ["D_b is empty; raise γ or lower K"],
}


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
    assert (
        "not scored 3, neither kept nor removed: no usable embedding (e.g. key '7', zeros); `cfbd embed`"
        in shown
    )
    assert "embedded since the last scoring (e.g. key '9'); `cfbd score`" in shown
    assert "not read: 3 × archive (e.g. a.zip, b.zip, c.zip) – unpack it" in shown
    assert "note: pictures are read from Images" in shown
    assert "warning: D_b is empty" in shown
    assert "γ_z = – (valley)" in shown
