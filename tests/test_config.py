from __future__ import annotations

import pytest

from cfbd_core.config import EmbedParams, SplitParams
from cfbd_core.errors import ParameterError


def test_the_id_changes_with_every_value():
    changed = [
        SplitParams(k=4),
        SplitParams(gamma=0.8),
        SplitParams(q=51),
        SplitParams(gamma_z=0.5, gamma_z_rule="manual"),
        SplitParams(gamma_z_rule="valley"),
        SplitParams(rule="posterior"),
        SplitParams(recheck=False),
        SplitParams(kappa=6.0),
        SplitParams(seed=1),
    ]
    ids = {params.id for params in changed} | {SplitParams().id}
    assert len(ids) == len(changed) + 1
    assert SplitParams().id == SplitParams().id


@pytest.mark.parametrize(
    "bad",
    [
        {"k": 0},
        {"k": 11},
        {"gamma": 0.0},
        {"gamma": 1.0},
        {"gamma": float("nan")},
        {"q": 0},
        {"rule": "best"},
        {"gamma_z_rule": "guess"},
        {"gamma_z_rule": "manual"},
        {"gamma_z": 0.5},
        {"gamma_z": float("inf"), "gamma_z_rule": "manual"},
        {"kappa": 0.0},
        {"kappa": float("inf")},
        {"q": 50.0},
        {"k": True},
        {"seed": "1"},
    ],
)
def test_a_bad_slider_is_refused_in_one_line(bad):
    with pytest.raises(ParameterError) as refused:
        SplitParams(**bad)
    assert "\n" not in str(refused.value)


def test_gamma_z_is_a_rule_or_a_number():
    assert SplitParams.with_gamma_z("valley").gamma_z_rule == "valley"
    manual = SplitParams.with_gamma_z("0.35", q=20)
    assert (manual.gamma_z, manual.gamma_z_rule, manual.q) == (0.35, "manual", 20)
    with pytest.raises(ParameterError, match="give a number or one of"):
        SplitParams.with_gamma_z("high")


def test_bad_embedding_settings_are_refused():
    for bad in ({"batch_size": 0}, {"shard_size": 0}, {"workers": 0}):
        with pytest.raises(ParameterError):
            EmbedParams(**bad)
