"""Cosines of half-precision rows against double precision."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.method import scores
from cfbd_core.method.cosines import half_cosines


def halves(n: int, d: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def direction_of(d: int, seed: int = 99) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=d).astype(np.float32)


def cosines(shards: list[np.ndarray], direction: np.ndarray) -> np.ndarray:
    out = np.full(sum(map(len, shards)), 7, np.float32)
    half_cosines(shards, direction, out)
    return out


def literal(row: np.ndarray, direction: np.ndarray) -> float:
    exact = [float(value) for value in row]
    length = sum(value * value for value in exact) ** 0.5
    return sum(value * float(weight) for value, weight in zip(exact, direction, strict=True)) / length


@given(n=st.integers(1, 40), d=st.integers(1, 70), seed=st.integers(0, 99), scale=st.floats(0.01, 900))
def test_cosines_are_those_of_double_precision(n: int, d: int, seed: int, scale: float) -> None:
    rows = (halves(n, d, seed) * np.float16(scale)).astype(np.float16)
    rows[rows == 0] = np.float16(scale)
    direction = direction_of(d, seed)
    expected = [literal(row, direction) for row in rows]
    bound = 1e-6 * float(np.linalg.norm(direction.astype(np.float64)))
    np.testing.assert_allclose(cosines([rows], direction), expected, atol=bound)


def test_every_half_precision_number_is_read_as_itself() -> None:
    numbers = np.arange(2**16, dtype=np.uint16).view(np.float16)
    rows = np.stack([numbers, np.ones_like(numbers)], axis=1)
    found = cosines([rows], np.array([1, 0], np.float32))
    exact = numbers.astype(np.float64)
    usable = np.isfinite(exact)
    expected = exact[usable] / np.sqrt(exact[usable] ** 2 + 1)
    np.testing.assert_allclose(found[usable], expected, rtol=3e-7, atol=0)
    assert np.isnan(found[~usable]).all()


@pytest.mark.parametrize(
    ("place", "value"), [(0, np.nan), (3, np.inf), (40, -np.inf), (69, np.nan), (slice(None), 0.0)]
)
def test_a_row_without_direction_has_no_cosine_and_its_neighbours_have(place, value) -> None:
    rows = halves(5, 70)
    whole = cosines([rows], direction_of(70))
    rows[2, place] = value
    found = cosines([rows], direction_of(70))
    assert np.isnan(found).tolist() == [False, False, True, False, False]
    np.testing.assert_array_equal(np.delete(found, 2), np.delete(whole, 2))


def test_negative_zeros_are_zeros() -> None:
    assert np.isnan(cosines([np.full((1, 9), -0.0, np.float16)], direction_of(9))).all()


def test_a_row_of_subnormals_has_a_direction() -> None:
    rows = np.full((1, 16), 2.0**-24, np.float16)
    found = cosines([rows], np.full(16, 0.25, np.float32))
    np.testing.assert_allclose(found, 1, rtol=1e-6)


def test_the_largest_numbers_do_not_overflow() -> None:
    rows = np.full((1, 1024), np.finfo(np.float16).max, np.float16)
    found = cosines([rows], np.full(1024, 1 / 32, np.float32))
    np.testing.assert_allclose(found, 1, rtol=1e-6)


def test_read_only_memory_maps(tmp_path) -> None:
    rows = halves(50, 33)
    np.save(tmp_path / "shard.npy", rows)
    mapped = np.load(tmp_path / "shard.npy", mmap_mode="r")
    assert not mapped.flags.writeable
    np.testing.assert_array_equal(cosines([mapped], direction_of(33)), cosines([rows], direction_of(33)))


@given(
    d=st.integers(1, 70),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    block=st.integers(1, 70),
    seed=st.integers(0, 99),
)
def test_a_row_has_the_same_value_wherever_it_stands(d: int, cuts: list[int], block: int, seed: int) -> None:
    rows, direction = halves(60, d, seed), direction_of(d)
    whole = cosines([rows], direction)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cfbd_core.method.cosines.BLOCK_ROWS", block)
        pieces = cosines(np.split(rows, sorted(cuts)), direction)
    np.testing.assert_array_equal(pieces, whole)
    order = np.random.default_rng(seed).permutation(60)
    np.testing.assert_array_equal(cosines([rows[order]], direction), whole[order])


def test_calls_from_several_threads_do_not_disturb_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfbd_core.method.cosines.BLOCK_ROWS", 50)
    rows = halves(600, 33)
    directions = [direction_of(33, seed) for seed in range(24)]
    expected = [cosines([rows], direction) for direction in directions]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda direction: cosines([rows], direction), directions))
    np.testing.assert_array_equal(found, expected)


def test_textual_correlation_is_the_same_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    text, probe = halves(300, 40), np.arange(0, 300, 17)
    text[[5, 34]] = 0
    plain = scores.textual_correlation([text[:100], text[100:]], probe)
    monkeypatch.setattr(scores, "LEAST_COMPILED_ROWS", 1)
    compiled = scores.textual_correlation([text[:100], text[100:]], probe)
    np.testing.assert_allclose(compiled, plain, atol=1e-6)
    np.testing.assert_array_equal(np.isnan(compiled).nonzero()[0], [5, 34])
