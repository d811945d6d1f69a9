"""CA against a literal version, and class embeddings that are means of the 80 templates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.evaluation.zero_shot import class_embeddings, class_prompts, normalised_means, zero_shot
from cfbd_core.poisoning.captions import imagenet_templates


def literal(scores, labels, classes):
    right, among, of_class = 0, 0, {name: [] for name in classes}
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        order = sorted(range(len(classes)), key=lambda place: (-row[place], place))
        right += order[0] == label
        among += label in order[:5]
        of_class[classes[label]].append(order[0] == label)
    means = {name: sum(found) / len(found) if found else None for name, found in of_class.items()}
    return right / len(labels), among / len(labels) if len(classes) > 5 else None, means


@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 9), st.booleans())
def test_accuracy_is_the_literal_one(seed, n, c, coarse):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, c)).round(0 if coarse else 8).astype(np.float32)  # coarse: with ties
    labels, classes = rng.integers(c, size=n), [f"class {i}" for i in range(c)]
    found = zero_shot(scores, labels, classes)
    ca, top5, of_class = literal(scores, labels, classes)
    assert (found["ca"], found["top5"]) == (ca, top5)
    assert {name: one["ca"] for name, one in found["per_class"].items()} == of_class
    assert sum(one["images"] for one in found["per_class"].values()) == found["images"] == n
    assert found["ca_interval"][0] <= ca <= found["ca_interval"][1]


def test_a_class_is_the_normalised_mean_of_its_80_templates(encoder):
    encoder.model.eval()
    assert class_prompts(["dog"])[0] == imagenet_templates()[0]("dog")
    found = class_embeddings(encoder, ["red", "sky blue"])
    for row, name in zip(found, ["red", "sky blue"], strict=True):
        mean = sum(encoder.encode_texts([template(name)])[0] for template in imagenet_templates()) / 80
        assert row == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


def test_a_mean_of_zero_is_no_nan():
    assert (normalised_means(np.array([[[1.0, 0], [-1, 0]]])) == 0).all()
