"""Copies as a part of a filter, against a literal count."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cfbd_core import SplitParams
from cfbd_core.audit.duplicates import Duplicates
from cfbd_core.errors import ParameterError
from cfbd_core.method.clusters import from_labels
from cfbd_core.method.near_copies import NEAR_CAPTION, near_clusters
from cfbd_core.method.scores import gather
from cfbd_core.workbench.copies import Copies
from cfbd_core.workbench.explorer import Explorer
from cfbd_core.workbench.near import near_copies
from cfbd_core.workbench.pair_filter import PairFilter
from cfbd_core.workbench.preview import Preview
from tests.explored import scored_audit


@pytest.fixture(scope="module")
def labels() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        kind: rng.integers(0, most, 413)
        for kind, most in (("exact", 900), ("captions", 500), ("images", 300))
    }


@pytest.fixture(scope="module")
def preview(tmp_path_factory, labels) -> Preview:
    explored = Explorer(scored_audit(tmp_path_factory.mktemp("copies") / "made"))
    vars(explored)["duplicates"] = Duplicates(*(from_labels(of) for of in labels.values()))
    return explored.preview(SplitParams(k=3, q=20, gamma_z=0.3, gamma_z_rule="manual"))


@pytest.mark.parametrize("kind", ["exact", "captions", "images"])
def test_pairs_that_repeat_are_those_whose_label_another_has(preview, labels, kind) -> None:
    counts = Counter(labels[kind].tolist())
    expected = [place for place, label in enumerate(labels[kind].tolist()) if counts[label] > 1]
    found = PairFilter(show="all", copies=Copies(kind), sort="row", descending=False).positions(preview)
    assert found.tolist() == expected
    removed = PairFilter(show="removed", copies=Copies(kind)).mask(preview)
    assert (removed == (np.isin(np.arange(413), expected) & preview.removed())).all()


def test_copies_of_one_pair(preview, labels) -> None:
    place = int(np.flatnonzero(from_labels(labels["images"]).repeated)[0])
    (key,) = preview.pairs.audit.columns.keys_of(preview.pairs.rows[[place]])
    found = np.flatnonzero(Copies("images", key).mask(preview))
    assert found.tolist() == np.flatnonzero(labels["images"] == labels["images"][place]).tolist()
    with pytest.raises(ParameterError, match="no pair has this key"):
        Copies("exact", "nobody").mask(preview)


def test_near_copies_are_of_the_flagged_alone(preview) -> None:
    flagged = np.flatnonzero(preview.flagged)
    clusters = near_clusters(gather(preview.pairs.texts, preview.pairs.rows[flagged]), NEAR_CAPTION)
    found = np.flatnonzero(Copies("near-captions").mask(preview))
    assert len(found)
    assert found.tolist() == flagged[clusters.repeated].tolist()
    alike = flagged[clusters.largest(1)[0]]
    keys = preview.pairs.audit.columns.keys_of(preview.pairs.rows[alike])
    assert np.flatnonzero(Copies("near-captions", keys[0]).mask(preview)).tolist() == alike.tolist()
    other = preview.pairs.audit.columns.keys_of(preview.pairs.rows[np.flatnonzero(~preview.flagged)[[0, -1]]])
    assert not any(Copies("near-captions", key).mask(preview).any() for key in other)


def test_of_too_many_flagged_those_with_the_highest_z_are_compared_and_that_is_told(
    preview, monkeypatch
) -> None:
    flagged = np.flatnonzero(preview.flagged)
    assert not preview.near.limit
    monkeypatch.setattr("cfbd_core.workbench.near.MOST_COMPARED_PAIRS", 7)
    near = near_copies(preview.pairs, flagged, preview.z.values)
    highest = sorted(flagged.tolist(), key=lambda at: (-preview.z.values[at], at))[:7]
    assert near.positions.tolist() == sorted(highest)
    assert len(near.captions.numbers) == len(near.images.numbers) == 7
    assert near.limit == f"Compared: the 7 of {len(flagged)} flagged with the highest z."


@pytest.mark.parametrize("text", ["", "all", ":key", "near"])
def test_what_is_no_kind_is_refused(text) -> None:
    with pytest.raises(ParameterError, match="give one of exact"):
        Copies.from_text(text)
