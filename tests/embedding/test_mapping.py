"""F on a world where the right answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from cfbd_core.embedding.mapping import (
    Lineage,
    Mapping,
    mean_targets,
    ridge_map,
    train_mapping,
)
from cfbd_core.embedding.mapping_network import FitParams
from cfbd_core.errors import EncoderError, ParameterError

WIDTH = 24
SHA = "ab" * 32


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def world(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, d) and their mean captions: topics, whose captions are no linear map of their images."""
    topics = np.random.default_rng(99).normal(size=(2, 40, WIDTH))
    rng = np.random.default_rng(seed)
    topic = rng.integers(40, size=n)
    image = topics[0, topic] + 0.5 * rng.normal(size=(n, WIDTH))
    return unit(image), unit(topics[1, topic] + 0.1 * rng.normal(size=(n, WIDTH)))


def train(image: np.ndarray, target: np.ndarray, **options) -> Mapping:
    lineage = Lineage("toy", SHA, options.pop("trained_on", "toy pairs"))
    others = {name: options.pop(name) for name in ("groups", "progress") if name in options}
    return train_mapping(image, target, lineage, FitParams(**({"epochs": 8} | options)), **others)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum(1).mean())


@pytest.fixture(scope="module")
def trained() -> Mapping:
    return train(*world(2000))


def test_beats_a_ridge_map_on_unseen_images(trained: Mapping) -> None:
    image, target = world(500, seed=1)
    linear = max(cosine(ridge_map(*world(2000), alpha)(image), target) for alpha in (0.1, 1, 10, 100))
    found = cosine(trained(image), target)
    assert found > linear + 0.02
    assert trained.info.held_out_cosine == pytest.approx(found, abs=0.05)


def test_predictions_are_unit_length_whatever_the_chunk(trained: Mapping) -> None:
    image, _ = world(5000, seed=2)
    predicted = trained(image)
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(predicted, axis=1), 1, atol=1e-5)
    order = np.random.default_rng(0).permutation(5000)
    np.testing.assert_array_equal(trained(image[order]), predicted[order])
    np.testing.assert_array_equal(trained(image[:3]), predicted[:3])
    np.testing.assert_array_equal(trained(np.zeros((2, WIDTH), np.float16)), 0)
    assert trained(np.empty((0, WIDTH), np.float32)).shape == (0, WIDTH)


def test_same_seed_same_mapping() -> None:
    image, target = world(300)
    found = []
    for state, seed in enumerate((0, 0, 1)):
        torch.manual_seed(state)  # torch's own generator has no say
        found.append(train(image, target, epochs=2, seed=seed)(image))
    first, again, other = found
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_views_of_an_image_are_held_out_together() -> None:
    # Targets are noise: only a network that saw another view of the image could predict them.
    rng = np.random.default_rng(0)
    image = np.repeat(unit(rng.normal(size=(200, WIDTH))), 4, axis=0)
    target = np.repeat(unit(rng.normal(size=(200, WIDTH))), 4, axis=0)
    views = np.repeat(np.arange(200), 4)
    parted = train(image, target, epochs=30).info.held_out_cosine
    together = train(image, target, epochs=30, groups=views).info.held_out_cosine
    assert parted > 0.3
    assert abs(together) < 0.1


def test_cross_fitting_never_judges_a_pair_by_what_it_taught() -> None:
    rng = np.random.default_rng(0)
    image, topic = world(400)
    target = unit(topic + 0.2 * rng.normal(size=topic.shape))  # what no other image tells
    ids = rng.permutation(400) + 10_000
    mapping = train(image, target, epochs=60, groups=ids, folds=3, trained_on="self")
    out_of_fold, in_sample = cosine(mapping(image, ids), target), cosine(mapping(image), target)
    assert out_of_fold == pytest.approx(mapping.info.held_out_cosine, abs=0.05)
    assert in_sample > out_of_fold + 0.1
    order = rng.permutation(400)
    np.testing.assert_array_equal(mapping(image[order], ids[order]), mapping(image, ids)[order])


def test_a_little_poison_does_not_bend_a_self_trained_mapping() -> None:
    image, target = world(1500)
    poisoned = target.copy()
    poisoned[:15] = unit(np.random.default_rng(5).normal(size=(1, WIDTH)))
    mapping = train(image, poisoned, folds=3, trained_on="self")
    shortfall = 1 - (mapping(image, np.arange(1500)) * poisoned).sum(1)
    assert shortfall[:15].min() > np.quantile(shortfall[15:], 0.95)


def test_progress_counts_epochs_over_all_folds() -> None:
    told: list[tuple[str, int, int | None]] = []
    image, target = world(100)
    mapping = train(image, target, epochs=3, folds=2, progress=lambda *at: told.append(at[:3]))
    assert told == [("train F", i, 6) for i in range(1, 7)]
    assert mapping.info.folds == 2


def test_file_holds_exactly_what_was_trained(trained: Mapping, tmp_path: Path) -> None:
    path, again = tmp_path / "f.safetensors", tmp_path / "again.safetensors"
    trained.save(path)
    loaded = Mapping.load(path, SHA)
    image, _ = world(200, seed=3)
    np.testing.assert_array_equal(loaded(image), trained(image))
    assert loaded.info == trained.info
    loaded.save(again)
    assert again.read_bytes() == path.read_bytes()
    with safe_open(path, framework="np") as file:
        told = json.loads(file.metadata()["cfbd_mapping"])
    assert (told["encoder_id"], told["encoder_sha256"], told["trained_on"]) == ("toy", SHA, "toy pairs")


def test_another_encoder_is_refused(trained: Mapping, tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    trained.save(path)
    with pytest.raises(EncoderError, match=f"toy.*{SHA[:12]}.*{'cd' * 6}") as raised:
        Mapping.load(path, "cd" * 32)
    assert "\n" not in str(raised.value)
    with pytest.raises(EncoderError, match="width 24"):
        trained(np.ones((3, WIDTH + 1), np.float32))


def test_damaged_files_are_refused(trained: Mapping, tmp_path: Path) -> None:
    whole = tmp_path / "f.safetensors"
    trained.save(whole)
    data = whole.read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("not a mapping")
    save_file({"x": np.ones(3)}, tmp_path / "foreign")
    info = {"cfbd_mapping": json.dumps(vars(trained.info))}
    save_file({"0.0.weight": np.ones(3, np.float16)}, tmp_path / "other-shape", info)
    with safe_open(whole, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["0.1.bias"] = np.full_like(tensors["0.1.bias"], np.nan)
    save_file(tensors, tmp_path / "nan", info)
    with safe_open(whole, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    others: dict[str, dict[str, object]] = {
        "no-folds": {"folds": 0},
        "no-name": {"encoder_sha256": None},
        "huge": {"width": 2**40},
        "half-a-seed": {"seed": 0.5},
        "later": {"version": 2},
    }
    for name, other in others.items():
        save_file(tensors, tmp_path / name, {"cfbd_mapping": json.dumps(vars(trained.info) | other)})
    for name in ("cut", "empty", "text", "foreign", "other-shape", "nan", "missing", *others):
        with pytest.raises(EncoderError) as raised:
            Mapping.load(tmp_path / name, SHA)
        assert str(tmp_path / name) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_too_few_images_and_unlike_shapes_are_refused() -> None:
    image, target = world(50)
    with pytest.raises(ParameterError, match="10 images are too few"):
        train(image, target, groups=np.arange(50) % 10)
    with pytest.raises(ParameterError, match="one row a view"):
        train(image, target[:49])


def test_mean_targets_average_the_captions_of_an_image() -> None:
    text = unit(np.random.default_rng(0).normal(size=(6, WIDTH)))
    ids, targets = mean_targets(text.astype(np.float16), np.array([7, 3, 7, 9, 3, 7]))
    assert ids.tolist() == [3, 7, 9]
    expected = unit(np.stack([text[[1, 4]].mean(0), text[[0, 2, 5]].mean(0), text[3]]))
    np.testing.assert_allclose(targets, expected, atol=1e-3)
