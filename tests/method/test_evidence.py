"""Evidence: none on clean captions, strong on captions of one target."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cfbd_core.method.evidence import cohesion_of, evidence


def captions(n: int, seed: int = 0, d: int = 64, cone: float = 0.0) -> np.ndarray:
    """Random directions (n, d) fp16; ``cone`` pulls all towards one, as some encoders do."""
    rows = np.random.default_rng(seed).normal(size=(n, d))
    rows[:, 0] += cone * np.sqrt(d)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def with_target(text: np.ndarray, share: float, q: int = 50, cone: float = 0.0) -> np.ndarray:
    """The first ``share`` of the first q captions become captions about one thing."""
    text = text.astype(np.float32)
    poisons = round(share * q)
    noise = np.random.default_rng(5).normal(size=(poisons, text.shape[1])) / np.sqrt(text.shape[1])
    towards = cone * np.eye(text.shape[1])[0] + (np.eye(text.shape[1])[1] + 0.6 * noise) / np.hypot(1, 0.6)
    text[:poisons] = towards / np.linalg.norm(towards, axis=1, keepdims=True)
    return text.astype(np.float16)


def test_cohesion_is_the_mean_cosine_of_pairs() -> None:
    text = captions(12).astype(np.float64) * np.linspace(1, 3, 12)[:, None]
    unit = text / np.linalg.norm(text, axis=1, keepdims=True)
    cosines = [unit[i] @ unit[j] for i in range(12) for j in range(i)]
    assert cohesion_of(text) == pytest.approx(np.mean(cosines), abs=1e-6)
    assert cohesion_of(text[:1]) is None


@pytest.mark.parametrize("q", [2, 5, 20, 50, 400])
@pytest.mark.parametrize("cone", [0.0, 1.5])
def test_clean_captions_give_none(q: int, cone: float) -> None:
    found = evidence(captions(3000, cone=cone), np.arange(q))
    assert found.level == "none"
    assert found.draws == 200


@pytest.mark.parametrize("seed", range(5))
def test_repeated_captions_of_clean_data_give_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    text = captions(3000, seed)
    again = rng.permutation(3000)[:600]
    text[again] = text[rng.integers(0, 60, 600)]  # 20 % repeats, of 60 captions
    assert evidence(text, rng.permutation(3000)[:50], seed=seed).level == "none"


@pytest.mark.parametrize(("share", "levels"), [(0.1, {"none"}), (0.5, {"weak", "strong"}), (1.0, {"strong"})])
@pytest.mark.parametrize("cone", [0.0, 1.5])
def test_the_level_follows_the_share_of_poison_in_the_probe(
    share: float, levels: set[str], cone: float
) -> None:
    found = evidence(with_target(captions(3000, cone=cone), share, cone=cone), np.arange(50))
    assert found.level in levels


def test_a_small_probe_of_poison_is_seen() -> None:
    assert evidence(with_target(captions(3000), 1.0, q=5), np.arange(5)).level == "strong"


def test_one_caption_many_times_is_weak_at_most() -> None:
    text = captions(3000)
    text[:30] = text[0]
    found = evidence(text, np.arange(50))
    assert found.level == "weak"
    assert found.distinct == 21


@pytest.mark.parametrize("texts", [1, 3])
def test_boilerplate_with_running_numbers_is_weak_at_most(texts: int) -> None:
    text, rng = captions(3000), np.random.default_rng(1)
    kinds = with_target(captions(texts, 9), 1.0, q=texts)  # about one thing, as pages of one site are
    written = [f"something else {'abcdefghijklmnopqrstuvwxyz'[i % 26] * (i // 26 + 1)}" for i in range(3000)]
    for row in range(45):
        kind = row % texts
        text[row] = kinds[kind] + 0.01 * rng.normal(size=64).astype(np.float16)
        written[row] = f"Page {'xyz'[kind % 3] * (kind + 1)}, no. {rng.integers(10_000)}"

    def captions_of(rows: np.ndarray) -> list[str]:
        return [written[row] for row in rows]

    assert evidence(text, np.arange(50)).level == "strong"
    found = evidence(text, np.arange(50), captions_of=captions_of)
    assert found.level == "weak"
    assert found.distinct == texts + 5
    assert found.null_max_distinct > found.null_max


def test_captions_that_differ_in_words_count_each() -> None:
    text = with_target(captions(3000), 1.0)
    found = evidence(
        text, np.arange(50), captions_of=lambda rows: [f"banana {'b' * (1 + row)}" for row in rows]
    )
    assert (found.level, found.distinct) == ("strong", 50)
    assert found.null_max_distinct == found.null_max


def test_shards_rows_and_unreadable_captions() -> None:
    text = with_target(captions(3000), 1.0)
    text[2000:] = 0  # unreadable: not in rows
    rows = np.arange(2000)
    whole = evidence(text, np.arange(50), rows, seed=1)
    assert whole.level == "strong"
    assert evidence([text[:30], text[30:1999], text[1999:]], np.arange(50), rows, seed=1) == whole
    assert evidence(text, np.arange(50), rows, seed=2).null_max != whole.null_max


def test_one_caption_is_no_evidence() -> None:
    found = evidence(captions(100), np.array([3]))
    assert (found.level, found.cohesion, found.null_max, found.draws) == ("none", None, None, 0)
    json.dumps(found.to_dict(), allow_nan=False)


def test_random_sets_hold_no_caption_twice() -> None:
    found = evidence(captions(60), np.arange(60))  # every set is all there is
    assert found.null_mean == pytest.approx(found.cohesion)
    assert found.null_max == pytest.approx(found.cohesion)
