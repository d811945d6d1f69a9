"""What is kept as JSON names every field of the class that it is made of, in its order."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest

from cfbd_core.config import SplitParams, SplitSettings
from cfbd_core.embedding.mapping import MappingInfo
from cfbd_core.jobs.process import JobRequest
from cfbd_core.method.evidence import Evidence, evidence
from cfbd_core.method.mixture import Mixture, fit_mixture
from cfbd_core.poisoning.poison_params import PoisonParams, PoisonSettings
from cfbd_core.sources import SourceOptions
from cfbd_core.store.entries import EvidenceEntry, MappingEntry, MixtureEntry, SourceOptionsEntry
from cfbd_core.store.log import Action, ActionEntry
from cfbd_core.store.training import TrainSettings
from cfbd_core.training.config import TrainParams

VECTORS = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
TYPES = {
    SplitParams: SplitSettings,
    TrainParams: TrainSettings,
    PoisonParams: PoisonSettings,
    SourceOptions: SourceOptionsEntry,
    Evidence: EvidenceEntry,
    Mixture: MixtureEntry,
    Action: ActionEntry,
}


def names(kind: type) -> list[str]:
    return [one.name for one in fields(kind)]


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_its_type_has_every_field_in_the_same_order(kind: type) -> None:
    added = ["vanishing"] if kind is Mixture else []
    assert [*TYPES[kind].__annotations__] == names(kind) + added


@pytest.mark.parametrize(
    "made",
    [
        SplitParams(q=7),
        TrainParams(epochs=2),
        PoisonParams(seed=3),
        SourceOptions(captions="all"),
        evidence(VECTORS, np.arange(5)),
        fit_mixture(VECTORS[:, 0], 2),
    ],
    ids=lambda made: type(made).__name__,
)
def test_what_is_kept_has_just_the_keys_of_its_type_and_is_json(made) -> None:
    kept = made.to_dict()
    assert [*kept] == [*TYPES[type(made)].__annotations__]
    assert json.loads(json.dumps(kept, allow_nan=False)) == kept


def test_a_mapping_is_kept_with_all_that_is_known_of_it() -> None:
    assert [*MappingEntry.__annotations__] == ["kind", "name", *names(MappingInfo)]


def test_what_a_job_was_asked_for_comes_back_as_it_was_kept() -> None:
    asked = {
        "kind": "run",
        "audit": "/audits/a",
        "arguments": ["run", "--audit", "/audits/a"],
        "made_audit": True,
        "started": "2026-01-02T03:04:05+00:00",
    }
    assert [*JobRequest.from_dict(asked).to_dict().items()] == [*asked.items()]
    assert not JobRequest.from_dict({name: asked[name] for name in asked if name != "made_audit"}).made_audit
    with pytest.raises(KeyError):
        JobRequest.from_dict({"kind": "run"})
