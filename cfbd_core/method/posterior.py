"""Where the posterior of the lowest component exceeds γ, for millions of values at once.

Whether it does depends on the value alone, and changes at a few values only. So the line is cut into
boxes over which each log ratio h_j = log(w_j N_j) − log(w_0 N_0), a parabola, has known bounds: they
settle most boxes as a whole, the others are halved. Values in boxes that stay open – each some ulps
around a change – are evaluated one by one. The bounds keep a distance that rounding cannot bridge, so
the answer is that of the direct evaluation for every value, to the last bit.
"""

from __future__ import annotations

import numpy as np

from cfbd_core.method.mixture import Mixture

STARTING_BOXES = 64
HALVINGS = 30
MOST_OPEN_BOXES = 4096  # boxes; where so many stay open, γ is all but the posterior over a whole stretch
EPSILON = float(np.finfo(np.float64).eps)
SMALLEST = float(np.nextafter(0.0, 1.0))


def posterior_above(mixture: Mixture, x: np.ndarray, gamma: float) -> np.ndarray:
    """Return where the posterior of component 0 at x (n,) exceeds γ, bool (n,): ``posterior(x)[:, 0] > gamma``.

    False where x is not finite.
    """
    above = np.zeros(len(x), bool)
    low, high = (float(bound) for bound in _range(x))
    if not low <= high:
        return above
    sure, still_open = _boxes(mixture, low, high, gamma)
    for start, stop in sure.astype(x.dtype):
        above |= (x >= start) & (x <= stop)
    doubtful, infinity = np.zeros(len(x), bool), x.dtype.type(np.inf)
    for start, stop in still_open.astype(x.dtype):  # an ulp wider: the ends were rounded to the values' type
        doubtful |= (x >= np.nextafter(start, -infinity)) & (x <= np.nextafter(stop, infinity))
    rows = np.flatnonzero(doubtful)
    above[rows] = mixture.posterior(x[rows])[:, 0] > gamma
    return above


def _range(x: np.ndarray) -> tuple[float, float]:
    """Return the least and the largest finite value; NaN where there is none."""
    if not len(x):
        return np.nan, np.nan
    low, high = x.min(), x.max()
    if np.isfinite(low) and np.isfinite(high):
        return low, high
    return _range(x[np.isfinite(x)])


def _boxes(mixture: Mixture, low: float, high: float, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Intervals (m, 2) of [low, high] where the posterior is surely above γ, and those that are open."""
    edges = np.linspace(low, high, STARTING_BOXES + 1)
    boxes, sure = np.column_stack([edges[:-1], edges[1:]]), []
    for _ in range(HALVINGS):
        least, most = _bounds(mixture, boxes, gamma)
        sure.append(boxes[most < 0])
        boxes = boxes[~(most < 0) & ~(least > 0)]  # NaN settles nothing
        middle = boxes.mean(1)
        boxes = np.concatenate(
            [np.column_stack([boxes[:, 0], middle]), np.column_stack([middle, boxes[:, 1]])]
        )
        if not len(boxes) or len(boxes) > MOST_OPEN_BOXES:
            break
    return _joined(np.concatenate(sure)), _joined(boxes)


def _bounds(mixture: Mixture, boxes: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (m,) of Σ h_j's logarithm minus log((1 − γ) / γ) over each box, rounding allowed for.

    The posterior is above γ where that is below 0.
    """
    weights, means, sigmas = (np.array(v) for v in (mixture.weights, mixture.means, mixture.sigmas))
    with np.errstate(all="ignore"):
        # A parabola has its extremes at the ends and at its vertex, where that lies between them.
        curvature = sigmas[0] ** -2 - sigmas**-2
        vertex = means[0] - (means - means[0]) / sigmas**2 / curvature
        start, stop = boxes[:, :1], boxes[:, 1:]
        inside = np.clip(np.where(np.isfinite(vertex), vertex, start), start, stop)
        at = np.stack(np.broadcast_arrays(start, stop, inside))  # (3, m, K)
        logs, lowest = (
            np.log(weights[part]) - np.log(sigmas[part]) - 0.5 * ((at - means[part]) / sigmas[part]) ** 2
            for part in (slice(None), slice(1))
        )
        ratios = (logs - lowest)[:, :, 1:]
        size = np.abs(np.where(np.isneginf(logs), 0, logs)).max((0, 2)) + np.abs(lowest).max((0, 2))
        rounding = 16 * EPSILON * (len(weights) + size) / (1 - gamma) + 4 * SMALLEST / gamma
        odds = np.log1p(-gamma) - np.log(gamma)
        least, most = (
            np.logaddexp.reduce(bound, 1, initial=-np.inf) - odds for bound in (ratios.min(0), ratios.max(0))
        )
        return least - rounding, most + rounding


def _joined(boxes: np.ndarray) -> np.ndarray:
    """Boxes (m, 2) as few intervals: those that touch are one."""
    if not len(boxes):
        return boxes
    boxes = boxes[np.argsort(boxes[:, 0], kind="stable")]
    begins = np.append(True, boxes[1:, 0] > boxes[:-1, 1])
    ends = np.append(begins[1:], True)
    return np.column_stack([boxes[begins, 0], boxes[ends, 1]])
