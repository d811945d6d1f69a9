"""How well a detection did against ground truth (docs/METHOD.md §4), the ``truth`` object of a report.

A figure that is not defined – one class only, nothing flagged – is None, never NaN. Pairs without a
consistency score are left out; a pair with one but without z (the one member of D_p at q = 1) ranks
last by z, for it is no evidence.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

CURVE_POINTS = 500


class RankMetrics(TypedDict):
    """How well a score ranks poisons above clean pairs: the areas under both curves, and operating points."""

    auroc: float | None
    auprc: float | None
    fpr_at_95_tpr: float | None
    tpr_at_0_1_fpr: float | None
    tpr_at_1_fpr: float | None


class DetectionMetrics(TypedDict):
    """A verdict and two scores against the truth, see :func:`detection_metrics`."""

    poisons: int
    tpr: float | None
    fpr: float | None
    precision: float | None
    auroc_consistency: float | None
    auprc_consistency: float | None
    fpr_at_95_tpr_consistency: float | None
    tpr_at_0_1_fpr_consistency: float | None
    tpr_at_1_fpr_consistency: float | None
    auroc_z: float | None
    auprc_z: float | None
    fpr_at_95_tpr: float | None
    tpr_at_0_1_fpr: float | None
    tpr_at_1_fpr: float | None
    poisons_in_benign: int | None
    poisons_kept: int
    benign_removed: int


def detection_metrics(
    truth: np.ndarray,
    flagged: np.ndarray,
    consistency: np.ndarray,
    z: np.ndarray,
    in_benign: np.ndarray | None = None,
) -> DetectionMetrics:
    """Compare a verdict with the truth; all arrays (N,), ``truth``, ``flagged`` and ``in_benign`` bool.

    ``in_benign`` is membership in D_b; without it ``poisons_in_benign`` is None. The operating points
    ``fpr_at_95_tpr``, ``tpr_at_0_1_fpr`` and ``tpr_at_1_fpr`` (FPR 0.1 % and 1 %) rank by z, those
    that end in ``_consistency`` by c.
    """
    scored = np.isfinite(consistency)
    truth, flagged = np.asarray(truth, bool)[scored], np.asarray(flagged, bool)[scored]
    poisons, cleans = int(truth.sum()), int((~truth).sum())
    caught, false_alarms = int((truth & flagged).sum()), int((~truth & flagged).sum())
    left = None if in_benign is None else int((truth & np.asarray(in_benign, bool)[scored]).sum())
    by_c = _ranking(truth, np.asarray(consistency)[scored])
    by_z = _ranking(truth, _ranked(z[scored]))
    return {
        "poisons": poisons,
        "tpr": share(caught, poisons),
        "fpr": share(false_alarms, cleans),
        "precision": share(caught, caught + false_alarms),
        "auroc_consistency": by_c["auroc"],
        "auprc_consistency": by_c["auprc"],
        "fpr_at_95_tpr_consistency": by_c["fpr_at_95_tpr"],
        "tpr_at_0_1_fpr_consistency": by_c["tpr_at_0_1_fpr"],
        "tpr_at_1_fpr_consistency": by_c["tpr_at_1_fpr"],
        "auroc_z": by_z["auroc"],
        "auprc_z": by_z["auprc"],
        "fpr_at_95_tpr": by_z["fpr_at_95_tpr"],
        "tpr_at_0_1_fpr": by_z["tpr_at_0_1_fpr"],
        "tpr_at_1_fpr": by_z["tpr_at_1_fpr"],
        "poisons_in_benign": left,
        "poisons_kept": poisons - caught,
        "benign_removed": false_alarms,
    }


def roc_curve(
    truth: np.ndarray, score: np.ndarray, points: int = CURVE_POINTS
) -> dict[str, list[float]] | None:
    """ROC curve as ``{"fpr", "tpr", "threshold"}``, at most ``points`` long; None with one class only.

    A point flags score ≥ threshold, but the first flags nothing and carries the largest score.
    """
    truth, score = _known(truth, score)
    if not _has_both(truth):
        return None
    caught, alarms, threshold = _operating_points(truth, score)
    fpr, tpr = alarms / alarms[-1], caught / caught[-1]
    keep = _thinned(fpr, tpr, points)
    return {"fpr": fpr[keep].tolist(), "tpr": tpr[keep].tolist(), "threshold": threshold[keep].tolist()}


def pr_curve(
    truth: np.ndarray, score: np.ndarray, points: int = CURVE_POINTS
) -> dict[str, list[float]] | None:
    """Precision–recall curve as ``{"recall", "precision", "threshold"}``, recall rising; None with one class.

    A point flags score ≥ threshold, but the first (recall 0, precision 1 by convention) flags nothing.
    """
    truth, score = _known(truth, score)
    if not _has_both(truth):
        return None
    caught, alarms, threshold = _operating_points(truth, score)
    recall, precision = caught / caught[-1], caught / np.maximum(caught + alarms, 1)
    precision[0] = 1.0
    keep = _thinned(recall, precision, points)
    return {
        "recall": recall[keep].tolist(),
        "precision": precision[keep].tolist(),
        "threshold": threshold[keep].tolist(),
    }


def areas_under(truth: np.ndarray, score: np.ndarray) -> tuple[float, float] | None:
    """AUROC and AUPRC (average precision) over the finite scores; None with one class only."""
    truth, score = _known(truth, score)
    if not _has_both(truth):
        return None
    caught, alarms, _ = _operating_points(truth, score)
    return _areas(caught, alarms)


def rank_metrics(truth: np.ndarray, score: np.ndarray) -> RankMetrics:
    """``auroc``, ``auprc`` and the operating points of a ``score`` (N,) against ``truth`` bool (N,).

    Pairs without a finite score are left out. All are None with one class only.
    """
    return _ranking(*_known(truth, score))


def _areas(caught: np.ndarray, alarms: np.ndarray) -> tuple[float, float]:
    tpr, precision = caught / caught[-1], caught / np.maximum(caught + alarms, 1)
    return float(np.trapezoid(tpr, alarms / alarms[-1])), float(np.diff(tpr) @ precision[1:])


def _ranking(truth: np.ndarray, score: np.ndarray) -> RankMetrics:
    if not _has_both(truth):
        return {
            "auroc": None,
            "auprc": None,
            "fpr_at_95_tpr": None,
            "tpr_at_0_1_fpr": None,
            "tpr_at_1_fpr": None,
        }
    caught, alarms, _ = _operating_points(truth, score)
    fpr, tpr = alarms / alarms[-1], caught / caught[-1]
    auroc, auprc = _areas(caught, alarms)
    return {
        "auroc": auroc,
        "auprc": auprc,
        "fpr_at_95_tpr": float(fpr[np.argmax(tpr >= 0.95)]),
        "tpr_at_0_1_fpr": float(tpr[fpr <= 0.001].max()),
        "tpr_at_1_fpr": float(tpr[fpr <= 0.01].max()),
    }


def _operating_points(truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poisons caught and false alarms at each different score, falling; first the point that flags nothing."""
    order = np.argsort(-score, kind="stable")
    score, truth = score[order], truth[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    caught = np.cumsum(truth)[last]
    threshold = score[np.append(0, last)].astype(np.float64)
    return np.append(0, caught), np.append(0, last + 1 - caught), threshold


def _known(truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(score)
    return np.asarray(truth, bool)[known], np.asarray(score)[known]


def _ranked(z: np.ndarray) -> np.ndarray:
    """Z with NaN below all others."""
    finite = np.isfinite(z)
    lowest = float(z[finite].min()) if finite.any() else 0.0
    return np.where(finite, z, lowest - 1)


def _has_both(truth: np.ndarray) -> bool:
    return bool(truth.any()) and not bool(truth.all())


def share(part: int, whole: int) -> float | None:
    """Part of the whole; None where there is no whole."""
    return part / whole if whole else None


def _thinned(x: np.ndarray, y: np.ndarray, points: int) -> np.ndarray:
    """Indices of at most ``points`` points, evenly spread along the curve, both ends among them."""
    if len(x) <= points:
        return np.arange(len(x))
    along = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    nearest = np.searchsorted(along, np.linspace(0, along[-1], points))
    nearest[0], nearest[-1] = 0, len(x) - 1
    return np.unique(np.minimum(nearest, len(x) - 1))
