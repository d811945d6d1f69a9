"""RoCLIP against the paper's formula; its pool, matching and state."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.errors import ParameterError
from cfbd_core.training.defences.roclip import RoClip, RoClipOptions, nearest
from tests.training import literal

PAIRS = 200


class World:
    """Embeddings of all pairs, and an ``embed`` that notes what it was asked for."""

    def __init__(self, pairs: int = PAIRS, seed: int = 5) -> None:
        rng = np.random.default_rng(seed)
        self.image, self.text = (
            literal.unit(rng, pairs).detach().numpy().astype(np.float32) for _ in range(2)
        )
        self.asked: list[np.ndarray] = []

    def embed(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append(rows)
        return self.image[rows], self.text[rows]


def closest(query: torch.Tensor, pool: np.ndarray) -> np.ndarray:
    values = query.tolist()
    cosines = [sum(a * float(b) for a, b in zip(values, row, strict=True)) for row in pool]
    return pool[cosines.index(max(cosines))]


def loss_by_hand(features: dict[str, torch.Tensor], image_pool: np.ndarray, text_pool: np.ndarray) -> float:
    captions = torch.tensor(np.stack([closest(row, text_pool) for row in features["image"]]))
    images = torch.tensor(np.stack([closest(row, image_pool) for row in features["text"]]))
    by_image, by_text = (
        literal.clip(features["image"], captions, 10.0),
        literal.clip(images, features["text"], 10.0),
    )
    return (by_image + by_text) / 2


def train(defence: RoClip, epoch: int, steps: range) -> list[float]:
    """Losses of some steps of an epoch on batches of eight."""
    found = []
    for number in steps:
        step = literal.step_of(range(8), epoch, step=number)
        loss = defence.loss(literal.batch(8, seed=number), torch.tensor(10.0), step)
        defence.seen(step, loss)
        found.append(loss.total.item())
    return found


@given(seed=st.integers(0, 10**6), n=st.integers(1, 8))
def test_a_matching_epochs_loss_is_the_papers_with_the_nearest_of_the_pool(seed, n):
    world, defence = World(), RoClip(RoClipOptions(pool=0.05), PAIRS, seed)
    defence.begin_epoch(1, 10, world.embed)
    features = literal.batch(n, seed)
    found = defence.loss(features, torch.tensor(10.0), literal.step_of(range(n), 1))
    rows = world.asked[0]
    assert found.total.item() == pytest.approx(
        loss_by_hand(features, world.image[rows], world.text[rows]), abs=1e-5
    )


def test_other_epochs_are_clips_own():
    world, defence = World(), RoClip(RoClipOptions(), PAIRS, 0)
    defence.begin_epoch(0, 10, literal.no_embed)
    features = literal.batch(6)
    found = defence.loss(features, torch.tensor(10.0), literal.step_of(range(6), 0))
    assert found.total.item() == pytest.approx(
        literal.clip(features["image"], features["text"], 10.0), abs=1e-5
    )
    defence.begin_epoch(1, 10, world.embed)
    defence.begin_epoch(2, 10, literal.no_embed)
    again = defence.loss(features, torch.tensor(10.0), literal.step_of(range(6), 2))
    assert again.total.item() == found.total.item()


@pytest.mark.parametrize(("every", "matching"), [(1, [0, 1, 2, 3, 4, 5]), (2, [1, 3, 5]), (3, [2, 5])])
def test_the_last_epoch_of_every_so_many_matches(every, matching):
    found = []
    for epoch in range(6):
        world = World()
        RoClip(RoClipOptions(every=every), PAIRS, 0).begin_epoch(epoch, 6, world.embed)
        found += [epoch] * len(world.asked)
    assert found == matching


def test_the_pool_is_two_percent_of_the_pairs_drawn_anew():
    world, defence = World(), RoClip(RoClipOptions(), PAIRS, 0)
    defence.begin_epoch(1, 10, world.embed)
    defence.begin_epoch(3, 10, world.embed)
    first, second = world.asked
    assert [len(first), len(second)] == [4, 4]
    assert len(set(first.tolist())) == 4
    assert set(first.tolist()) != set(second.tolist())
    small = World(3)
    RoClip(RoClipOptions(), 3, 0).begin_epoch(1, 10, small.embed)
    assert len(small.asked[0]) == 1


def test_a_poisoned_picture_learns_from_its_neighbour_in_the_pool_instead_of_its_caption():
    world, defence = World(), RoClip(RoClipOptions(pool=0.5), PAIRS, 0)
    defence.begin_epoch(1, 10, world.embed)
    features = literal.batch(6)
    features["text"] = -features["image"].detach()[
        [0, 0, 0, 0, 0, 0]
    ]  # one target caption, far from picture 0
    defence.loss(features, torch.tensor(10.0), literal.step_of(range(6), 1)).total.backward()
    descent = -features["image"].grad[0]
    neighbour = torch.tensor(closest(features["image"][0], world.text[world.asked[0]]))
    assert float(descent @ neighbour.double()) > 0
    assert float(descent @ features["text"][0]) < 0


def test_nothing_flows_into_the_pool():
    world, defence = World(), RoClip(RoClipOptions(pool=0.1), PAIRS, 0)
    defence.begin_epoch(1, 10, world.embed)
    features = literal.batch(4)
    step = literal.step_of(range(4), 1)
    loss = defence.loss(features, torch.tensor(10.0), step)
    defence.seen(step, loss)
    loss.total.backward()
    assert all(not value.requires_grad for value in defence.state_dict().values())
    assert all(float(values.grad.norm()) > 0 for values in features.values())


def test_the_pool_forgets_its_oldest_and_is_matched_before_the_batch_enters_it():
    world, defence = World(), RoClip(RoClipOptions(pool=0.05), PAIRS, 0)  # ten places
    defence.begin_epoch(1, 10, world.embed)
    images, texts = (list(part[world.asked[0]]) for part in (world.image, world.text))
    for number in range(6):
        features = literal.batch(4, seed=number)
        step = literal.step_of(range(4), 1, step=number)
        loss = defence.loss(features, torch.tensor(10.0), step)
        assert loss.total.item() == pytest.approx(
            loss_by_hand(features, np.stack(images), np.stack(texts)), abs=1e-5
        )
        defence.seen(step, loss)
        images = images[4:] + list(features["image"].detach().numpy().astype(np.float32))
        texts = texts[4:] + list(features["text"].detach().numpy().astype(np.float32))


def test_a_batch_larger_than_the_pool_leaves_its_last_pairs():
    world, defence = World(), RoClip(RoClipOptions(), PAIRS, 0)  # four places
    defence.begin_epoch(1, 10, world.embed)
    train(defence, 1, range(1))
    last = literal.batch(8, seed=0)["text"].detach().float()[-4:]
    torch.testing.assert_close(defence.state_dict()["text"], last)


def test_a_loss_asked_for_twice_in_a_step_is_the_same_and_enters_the_pool_once():
    """The loop asks once for every part of an accumulated batch."""
    once, twice = (RoClip(RoClipOptions(pool=0.05), PAIRS, 0) for _ in range(2))
    for defence in (once, twice):
        defence.begin_epoch(1, 10, World().embed)
    step, features = literal.step_of(range(4), 1), literal.batch(4)
    first = twice.loss(features, torch.tensor(10.0), step)
    assert first.total.item() == once.loss(features, torch.tensor(10.0), step).total.item()
    assert first.total.item() == twice.loss(features, torch.tensor(10.0), step).total.item()
    for defence in (once, twice):
        defence.seen(step, first)
    assert train(once, 1, range(1, 4)) == train(twice, 1, range(1, 4))


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_state_taken_in_mid_epoch_goes_on_the_same(epoch):
    unbroken, killed, resumed = (RoClip(RoClipOptions(pool=0.05), PAIRS, 0) for _ in range(3))
    for defence in (unbroken, killed):
        defence.begin_epoch(epoch, 10, World().embed)
    expected = train(unbroken, epoch, range(6))
    train(killed, epoch, range(3))
    state = killed.state_dict()
    train(killed, epoch, range(3, 5))  # what is kept is not changed by what comes after
    resumed.load_state_dict(state)
    assert train(resumed, epoch, range(3, 6)) == expected[3:]
    assert len(set(expected)) == 6


def test_nearest_takes_rows_of_the_pool():
    pool = torch.eye(4)[[2, 0, 3]]
    queries = torch.tensor([[0.8, 0.0, 0.6, 0.0], [0.0, 0.1, 0.0, 0.9], [0.1, 0.0, 0.9, 0.0]])
    torch.testing.assert_close(nearest(queries, pool), torch.eye(4)[[0, 3, 2]])


@pytest.mark.parametrize(
    ("options", "match"), [({"every": 0}, "every 0"), ({"pool": 0}, "pool 0"), ({"pool": 2}, "pool 2")]
)
def test_options_out_of_range_are_refused(options, match):
    with pytest.raises(ParameterError, match=match):
        RoClipOptions(**options)
