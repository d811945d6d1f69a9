"""A patch that comes again in every picture of a group, at a place of its own in each.

Two whitened pictures that hold the same patch correlate at the displacement between its two places, however
small it is. From such a pair the patch is cut out, looked for in all pictures of the group, and averaged over those
that hold it. How often it is found in control pictures says what the find is worth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import uniform_filter

from cfbd_core.groups.whiten import Whitener

COMPARED_PAIRS = 96  # of pictures, that are compared
MOST_CANDIDATES = 6  # of these, that are followed
TRIAL_PICTURES = 24  # pictures, to choose among candidates
WINDOW_PIXELS = 16  # px, that is looked for
AVERAGING_ROUNDS = 2  # of averaging and looking again
LEAST_CORRELATION = 0.5  # correlation with the average, at least
CORRELATION_MARGIN = 0.1  # above the largest in control pictures


@dataclass(frozen=True)
class Repeated:
    """The patch that most pictures share.

    ``corners`` int (n, 2): left and top of the window of ``WINDOW_PIXELS`` px in each picture of the group; ``match``
    float32 (n,) the correlation there; ``shows`` bool (n,) where that is above all of the first control pictures', and
    ``control_shows`` bool (k,) in which of the others it is.
    """

    corners: np.ndarray
    match: np.ndarray
    shows: np.ndarray
    control_shows: np.ndarray


def repeated_patch(
    group: np.ndarray, bar: np.ndarray, test: np.ndarray, whiten: Whitener, seed: int = 0
) -> Repeated:
    """Look for a patch in ``group`` uint8 (n, s, s, 3), n ≥ 2, that no picture of ``bar`` (·, s, s, 3) holds.

    ``test`` (k, s, s, 3) are control pictures that did not set the bar.
    Pictures that share something at one place match there: look for a pattern and a fixed patch first.
    """
    white = [whiten(picture).astype(np.float16) for picture in group]
    candidates = _candidates(white, np.random.default_rng(seed))
    trial = np.linspace(0, len(white) - 1, min(TRIAL_PICTURES, len(white))).round().astype(int)
    tried = [[_match(white[i], template)[0] for i in trial] for template in candidates]
    template = candidates[
        int(np.argmax([np.sum(np.maximum(likeness_of_all, 0.25)) for likeness_of_all in tried]))
    ]
    for _ in range(AVERAGING_ROUNDS):
        matches = [_match(picture, template) for picture in white]
        close = [i for i, (score, _, _) in enumerate(matches) if score >= LEAST_CORRELATION]
        if len(close) < 2:
            break
        template = np.mean([_window(white[i], *matches[i][1:]) for i in close], axis=0)
    matches = [_match(picture, template) for picture in white]
    match = np.array([score for score, _, _ in matches], np.float32)
    highest, tested = (
        np.array([_match(whiten(picture), template)[0] for picture in control], np.float32)
        for control in (bar, test)
    )
    least = max(LEAST_CORRELATION, float(highest.max(initial=0)) + CORRELATION_MARGIN)
    corners = np.array([(left, top) for _, left, top in matches])
    return Repeated(corners, match, match >= least, tested >= least)


def _candidates(white: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Windows (3, w, w) of the pairs of pictures that correlate most at one displacement."""
    n, side = len(white), white[0].shape[1]
    pairs = {tuple(sorted(rng.choice(n, 2, replace=False).tolist())) for _ in range(COMPARED_PAIRS)}
    peaks = []
    for first, second in sorted(pairs):
        a, b = (fft.rfft2(white[i].astype(np.float32), axes=(1, 2)) for i in (first, second))
        product = fft.irfft2((a.conj() * b).sum(0), (side, side))
        product[0, 0] = 0  # one place in both
        at = int(product.argmax())
        peaks.append((float(product.flat[at] / (np.median(np.abs(product)) + 1e-9)), first, second, at))
    peaks.sort(reverse=True)
    windows = []
    for _, first, second, at in peaks[:MOST_CANDIDATES]:
        down, across = divmod(at, side)
        other = np.roll(white[second].astype(np.float32), (-down, -across), (1, 2))
        own = white[first].astype(np.float32)
        alike = uniform_filter((own * other).sum(0), WINDOW_PIXELS, mode="constant")
        top, left = (
            int(place) - WINDOW_PIXELS // 2 for place in np.unravel_index(alike.argmax(), alike.shape)
        )
        left, top = (min(max(0, place), side - WINDOW_PIXELS) for place in (left, top))
        windows.append((_window(own, left, top) + _window(other, left, top)) / 2)
    return windows


def _window(white: np.ndarray, left: int, top: int) -> np.ndarray:
    part: np.ndarray = white[:, top : top + WINDOW_PIXELS, left : left + WINDOW_PIXELS].astype(np.float32)
    return part


def _match(white: np.ndarray, template: np.ndarray) -> tuple[float, int, int]:
    """The best correlation of ``template`` (3, w, w) with a window of ``white`` (3, s, s), and its left and top."""
    picture = white.astype(np.float32)
    side = picture.shape[1]
    shape = (side, side)
    spectrum = fft.rfft2(picture, axes=(1, 2))
    product = fft.irfft2((spectrum * fft.rfft2(template, shape, axes=(1, 2)).conj()).sum(0), shape)
    last = side - WINDOW_PIXELS + 1
    squares = np.zeros((side + 1, side + 1))
    squares[1:, 1:] = (picture.astype(np.float64) ** 2).sum(0).cumsum(0).cumsum(1)
    w = WINDOW_PIXELS
    energy = squares[w:, w:] - squares[:-w, w:] - squares[w:, :-w] + squares[:-w, :-w]
    # a flat window is no match: it is measured as if it had half of the usual energy
    norm = np.sqrt(np.maximum(energy, 0.5 * 3 * w * w)) * np.linalg.norm(template)
    score = product[:last, :last] / np.maximum(norm, 1e-9)
    at = int(score.argmax())
    top, left = divmod(at, last)
    return float(score.flat[at]), left, top
