"""A pattern over the whole picture that every picture of a group carries, such as noise or stripes.

Photos have little in common at one frequency, with one phase: the mean of their Fourier coefficients shrinks as
1/√n. A pattern that is laid over all of them does not. So the means of a group and of control pictures are
compared frequency by frequency, in units of their standard error, and what stands out is turned back into a
picture. Very low frequencies are left out: photos of one topic share those (a bright middle, a green ground).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

LOWEST_WAVES = 4.0  # waves across the picture
LEAST_ENERGY = 9.0  # |difference|² in units of its variance, whose mean is 1 by chance: e⁻⁹ of them exceed it
PARTS_OF_SET = 8  # that a set is cut in, so that halves can be drawn from it again and again
NULL_DRAWS = 19
SINGLE_WAVE_SHARE = 0.5  # of a pattern's energy in one wave: then it is one


@dataclass(frozen=True)
class Pattern:
    """What the pictures of a group have in common over their whole area.

    ``pattern`` float32 (s, s, 3) is the estimate on 0..1, mean 0. ``agreement`` is the correlation of two estimates
    from disjoint halves of the group; ``null`` (draws,) that of random sets of control pictures. ``wave`` is (waves
    across, waves down, share of the energy) of the strongest sinusoid.
    """

    pattern: np.ndarray
    agreement: float
    null: np.ndarray
    wave: tuple[float, float, float]

    @property
    def is_wave(self) -> bool:
        """Whether one sinusoid is most of it."""
        return self.wave[2] >= SINGLE_WAVE_SHARE


def common_pattern(group: np.ndarray, control: np.ndarray, seed: int = 0) -> Pattern:
    """Estimate the pattern of ``group`` uint8 (n, s, s, 3) against ``control`` (m, s, s, 3), both at least 4 pictures.

    A set is read in parts, so memory does not grow with it.
    """
    side = group.shape[1]
    mine, others = _parts(group), _parts(control)
    whole = _estimate(_sum(mine), _sum(others), side)
    halves = [_estimate(_sum(mine[i::2]), _sum(others[i::2]), side) for i in (0, 1)]
    rng = np.random.default_rng(seed)
    null = []
    for _ in range(NULL_DRAWS):  # a random half of the control as the group, and each of that halved again
        order = rng.permutation(len(others))
        drawn = [[others[j] for j in order[i::4]] for i in range(4)]
        if all(drawn):
            null.append(
                correlation(
                    _estimate(_sum(drawn[0]), _sum(drawn[1]), side),
                    _estimate(_sum(drawn[2]), _sum(drawn[3]), side),
                )
            )
    pattern = fft.irfft2(whole, (side, side), axes=(0, 1)).astype(np.float32)
    return Pattern(pattern, correlation(*halves), np.array(null), strongest_wave(whole, side))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two arrays of one shape, real or complex, without taking out means; 0 where one is all 0."""
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.real(np.vdot(a, b)) / norms) if norms else 0.0


def strongest_wave(spectrum: np.ndarray, side: int) -> tuple[float, float, float]:
    """(Waves across, waves down, share of energy) of the largest coefficient of ``spectrum`` (s, s/2 + 1, 3).

    A sinusoid may fall between two frequencies: the share counts the neighbours, and the place is their centre.
    """
    energy = (np.abs(spectrum) ** 2).sum(2)
    total = float(energy.sum())
    if not total:
        return 0.0, 0.0, 0.0
    down, across = np.unravel_index(energy.argmax(), energy.shape)
    rows, columns = (np.arange(-1, 2) + down) % side, np.arange(across - 1, across + 2)
    near = np.zeros((3, 3))
    inside = (columns >= 0) & (columns < energy.shape[1])
    near[:, inside] = energy[np.ix_(rows, columns[inside])]
    signed = down - side if down > side // 2 else down
    y, x = float(signed + _beside(near.sum(1))), float(across + _beside(near.sum(0)))
    return x, y, float(near.sum()) / total


def _beside(energy: np.ndarray) -> float:
    """How far a wave is from the middle of three frequencies: sizes fall in proportion to the distance from it."""
    lower, here, upper = np.sqrt(energy)
    side, other = (1, upper) if upper > lower else (-1, lower)
    return float(side * other / (here + other))


_Sums = tuple[int, np.ndarray, np.ndarray]  # pictures; sum of their spectra, and of the squared sizes


def _parts(pictures: np.ndarray) -> list[_Sums]:
    sums = []
    for part in range(min(PARTS_OF_SET, len(pictures))):
        mine = pictures[part::PARTS_OF_SET]
        total = square = np.float32(0)
        for picture in mine:
            spectrum = fft.rfft2(picture.astype(np.float32) / 255, axes=(0, 1))
            total, square = total + spectrum, square + np.abs(spectrum) ** 2
        sums.append((len(mine), np.asarray(total), np.asarray(square)))
    return sums


def _sum(parts: list[_Sums]) -> _Sums:
    counts, totals, squares = zip(*parts, strict=True)
    return sum(counts), np.sum(totals, axis=0), np.sum(squares, axis=0)


def _estimate(group: _Sums, control: _Sums, side: int) -> np.ndarray:
    """Return the difference of the mean spectra, each coefficient shrunk by how little it stands out."""
    (n, total, square), (m, other_total, other_square) = group, control
    mean, other = total / n, other_total / m
    spread = (square - n * np.abs(mean) ** 2 + other_square - m * np.abs(other) ** 2) / max(1, n + m - 2)
    variance = np.maximum(spread, 1e-12) * (1 / n + 1 / m)
    difference = mean - other
    weight = np.maximum(0, 1 - LEAST_ENERGY * variance / np.maximum(np.abs(difference) ** 2, 1e-20))
    down, across = np.meshgrid(fft.fftfreq(side) * side, fft.rfftfreq(side) * side, indexing="ij")
    weight[np.hypot(down, across) < LOWEST_WAVES] = 0
    estimate: np.ndarray = difference * weight
    return estimate
