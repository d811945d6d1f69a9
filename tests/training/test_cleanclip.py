"""CleanCLIP's loss against the paper's formula, term by term."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.errors import ParameterError
from cfbd_core.training.defences.cleanclip import CleanClip, CleanClipOptions
from tests.training import literal


def loss_of(features, scale=10.0, **options):
    defence = CleanClip(CleanClipOptions(**options), 100, 0)
    return defence.loss(features, torch.tensor(scale), literal.step_of(range(len(features["image"]))))


@given(
    n=st.integers(1, 7),
    seed=st.integers(0, 10**6),
    scale=st.floats(0.5, 30),
    weights=st.tuples(st.floats(0.1, 3), st.floats(0, 3)),
)
def test_the_loss_is_the_papers(n, seed, scale, weights):
    features = literal.batch(n, seed, views=True)
    found = loss_of(features, scale, clip_weight=weights[0], in_modal_weight=weights[1])
    clip, in_modal = (
        literal.clip(features["image"], features["text"], scale),
        literal.in_modal(features, scale),
    )
    assert found.total.item() == pytest.approx(weights[0] * clip + weights[1] * in_modal, abs=1e-5)
    assert found.parts == pytest.approx({"clip": clip, "in_modal": in_modal}, abs=1e-5)


def test_both_losses_weigh_the_same_by_default():
    features = literal.batch(6, views=True)
    found = loss_of(features)
    assert found.total.item() == pytest.approx(found.parts["clip"] + found.parts["in_modal"])
    assert CleanClip.views is True


def test_the_view_is_to_be_found_among_views_and_not_the_other_way_round():
    """As in the authors' code: the InfoNCE of rows, whose value the transposed one does not share."""
    features = literal.batch(6, views=True)
    turned = {name: features[name.removesuffix("_view")] for name in ("image_view", "text_view")} | {
        name: features[f"{name}_view"] for name in ("image", "text")
    }
    assert loss_of(features).parts["in_modal"] != pytest.approx(
        float(loss_of(turned).parts["in_modal"]), abs=1e-3
    )


def test_all_four_embeddings_are_learned_from():
    features = literal.batch(6, views=True)
    loss_of(features).total.backward()
    assert all(float(values.grad.norm()) > 0.01 for values in features.values())


@pytest.mark.parametrize("weights", [(-1, 1), (1, -0.1), (0, 0)])
def test_weights_out_of_range_are_refused(weights):
    with pytest.raises(ParameterError, match="cleanclip: (clip|in_modal)_weight"):
        CleanClipOptions(*weights)
