"""From scores to verdicts: the coarse subsets D_b, D_p, D_s, the threshold γ_z, the fine verdict.

docs/METHOD.md §2–3. Arrays in, arrays out, one row a pair. A pair without a score (NaN
consistency) belongs to no subset and is never flagged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from cfbd_core.config import GammaZRule, SplitParams, SplitRule
from cfbd_core.errors import ParameterError
from cfbd_core.method.evidence import Evidence, evidence
from cfbd_core.method.mixture import Mixture, fit_mixture
from cfbd_core.method.posterior import posterior_above
from cfbd_core.method.scores import NORMAL_MAD

__all__ = [
    "CoarseSplit",
    "Evidence",
    "GammaZ",
    "Stages",
    "all_warnings",
    "both_stages",
    "choose_gamma_z",
    "coarse_split",
    "evidence",
    "fine_verdict",
]

UNSCORED, BENIGN, POISONED, SUSPICIOUS = -1, 0, 1, 2
MIN_NULL = 50  # benign pairs below which a median and a MAD say little
VALLEY_BINS = 256
VALLEY_SMOOTHING = 2.0  # bins

KeysOf = Callable[[np.ndarray], Sequence[str]]
Correlate = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class CoarseSplit:
    """The three subsets.

    ``subset`` int8 (N,): 0 benign, 1 poisoned, 2 suspicious, −1 without a score. ``probe`` (q,) the
    rows of D_p, largest c first; ``overlap`` the rows that were in both D_b and D_p (they count as
    D_p). ``cut`` is where D_b ends (rule "quantile"), else None.
    """

    subset: np.ndarray
    probe: np.ndarray
    overlap: np.ndarray
    cut: float | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class GammaZ:
    """The threshold γ_z, the rule that gave it, and in words how; +∞ flags nothing.

    ``null_cut`` is the cut of the null rule, to be drawn beside any other.
    """

    value: float
    rule: str
    detail: str
    null_cut: float


@dataclass(frozen=True)
class Stages:
    """What both stages find for N pairs: the coarse split, z (N,), γ_z, and the verdict bool (N,)."""

    coarse: CoarseSplit
    z: np.ndarray
    gamma_z: GammaZ
    flagged: np.ndarray


def both_stages(
    consistency: np.ndarray, mixture: Mixture, params: SplitParams, correlate: Correlate, keys_of: KeysOf
) -> Stages:
    """Run the coarse and the fine stage on c (N,), fitted by ``mixture``.

    ``correlate(probe)`` gives z (N,) for the D_p at the rows ``probe`` (q,); ``keys_of`` and errors as in
    :func:`coarse_split`.
    """
    coarse = coarse_split(
        consistency, mixture, gamma=params.gamma, q=params.q, rule=params.rule, keys_of=keys_of
    )
    z = correlate(coarse.probe)
    gamma_z = choose_gamma_z(z, coarse.subset, params.gamma_z_rule, value=params.gamma_z, kappa=params.kappa)
    return Stages(coarse, z, gamma_z, fine_verdict(z, coarse.subset, gamma_z.value, recheck=params.recheck))


def coarse_split(
    consistency: np.ndarray,
    mixture: Mixture,
    gamma: float,
    q: int,
    rule: SplitRule = "quantile",
    keys_of: KeysOf | None = None,
) -> CoarseSplit:
    """Split N pairs by consistency c (N,): D_b by γ, D_p the q largest, D_s the rest.

    "quantile": D_b = {c ≤ μ + Φ⁻¹(γ)·σ} of the component with the smallest mean; "posterior": the
    pairs whose posterior of that component exceeds γ. Where c ties at the q-th place, the smallest
    keys are taken; ``keys_of(rows)`` gives them and is asked for the tied rows only (without it,
    the smallest rows). Raises ParameterError: γ outside (0, 1), q below 1 or above the scored pairs.
    """
    if not 0.0 < gamma < 1.0:
        raise ParameterError(f"--gamma {gamma}: give a coverage between 0 and 1, e.g. 0.90")
    scored = np.isfinite(consistency)
    count = int(scored.sum())
    if q < 1:
        raise ParameterError(f"--q {q}: give at least 1 pair for D_p")
    if q > count:
        raise ParameterError(f"--q {q}: the audit has {count} scored pairs; give a smaller --q")
    cut = None
    if rule == "quantile":
        cut = benign_cut(mixture, gamma)
        benign = scored & (consistency <= cut)
    else:
        benign = scored & posterior_above(mixture, consistency, gamma)
    probe = _largest(consistency, scored, q, keys_of)
    subset = np.where(benign, BENIGN, SUSPICIOUS).astype(np.int8)
    subset[~scored] = UNSCORED
    overlap = np.sort(probe[benign[probe]])
    subset[probe] = POISONED
    return CoarseSplit(subset, probe, overlap, cut, _coarse_warnings(mixture, overlap, subset))


def benign_cut(mixture: Mixture, gamma: float) -> float:
    """Return where D_b ends by the rule "quantile": μ + Φ⁻¹(γ)·σ of the component with the smallest mean."""
    return mixture.means[0] + NormalDist().inv_cdf(gamma) * mixture.sigmas[0]


def choose_gamma_z(
    z: np.ndarray,
    subset: np.ndarray,
    rule: GammaZRule = "auto",
    value: float | None = None,
    kappa: float = 5.0,
) -> GammaZ:
    """Choose γ_z from z (N,) and the coarse subsets (N,).

    "null", which "auto" stands for: median + κ·1.4826·MAD of z over D_b, what benign captions look
    like; over all pairs outside D_p where D_b has under 50. "valley": the deepest valley of the
    smoothed histogram of z. "mixture": where two fitted components cross. Both cut through the
    benign bulk where there is little or no poison, so they hold only above the null cut and are +∞
    otherwise. "manual": ``value``. Raises ParameterError: "manual" without a value.
    """
    null_cut, detail = _null_cut(z, subset, kappa)
    if rule == "manual":
        if value is None:
            raise ParameterError("gamma_z: the rule 'manual' needs a value; give --gamma-z FLOAT")
        return GammaZ(float(value), "manual", "given by hand", null_cut)
    if rule in ("auto", "null"):
        return GammaZ(null_cut, "null", detail, null_cut)
    usable = z[np.isfinite(z) & (subset != UNSCORED)].astype(np.float64)
    cut = _valley(usable) if rule == "valley" else _crossing(usable)
    name = "the deepest valley" if rule == "valley" else "the crossing of two components"
    if cut is None:
        return GammaZ(np.inf, rule, f"z has no such point as {name}: nothing is flagged", null_cut)
    if not cut > null_cut:
        reason = f"{name}, at {cut:.4f}, is not above the null cut {null_cut:.4f}: nothing is flagged"
        return GammaZ(np.inf, rule, reason, null_cut)
    return GammaZ(cut, rule, f"{name}; above the null cut {null_cut:.4f}", null_cut)


def fine_verdict(z: np.ndarray, subset: np.ndarray, gamma_z: float, recheck: bool = True) -> np.ndarray:
    """Return which pairs are poisoned, bool (N,).

    With ``recheck`` the verdict of every scored pair is z > γ_z; as published it is D_p ∪ {D_s: z > γ_z}.
    A NaN z is no evidence: with q = 1 the one member of D_p is clean on recheck, poisoned as published.
    """
    above = z > gamma_z
    if recheck:
        flagged: np.ndarray = above & (subset != UNSCORED)
    else:
        flagged = (subset == POISONED) | (above & (subset == SUSPICIOUS))
    return flagged


def all_warnings(coarse: CoarseSplit, evidence: Evidence, flagged: np.ndarray) -> tuple[str, ...]:
    """Return what is odd about a split that flags bool (N,), a sentence each."""
    if evidence.level == "strong" and not flagged.any():
        return (*coarse.warnings, "the evidence is strong, yet no z is above γ_z; look at D_p and lower γ_z")
    return coarse.warnings


def _largest(consistency: np.ndarray, scored: np.ndarray, q: int, keys_of: KeysOf | None) -> np.ndarray:
    """Return rows (q,) of the largest scores, descending; of those that tie at the q-th place the smallest keys."""
    values = np.where(scored, consistency, -np.inf)
    last = np.partition(values, len(values) - q)[len(values) - q]
    above, tied = np.flatnonzero(values > last), np.flatnonzero(values == last)
    missing = q - len(above)
    if keys_of is not None and len(tied) > missing:
        by_key = sorted(zip(keys_of(tied), tied.tolist(), strict=True))
        tied = np.array([row for _, row in by_key], np.int64)
    above = above[np.argsort(-values[above], kind="stable")]
    return np.concatenate([above, tied[:missing]])


def _coarse_warnings(mixture: Mixture, overlap: np.ndarray, subset: np.ndarray) -> tuple[str, ...]:
    warnings = []
    if len(overlap):
        warnings.append(f"{len(overlap)} pairs are in both D_b and D_p and count as D_p; lower γ or q")
    if 0 in mixture.vanishing:
        warnings.append(
            f"the component with the smallest mean, which D_b comes from, has a weight of only "
            f"{mixture.weights[0]:.2g}; try a smaller K"
        )
    others = [i for i in mixture.vanishing if i > 0]
    if others:
        warnings.append(
            f"components of the mixture with next to no weight: {len(others)} of {len(mixture.weights)}; "
            "a smaller K would do"
        )
    if not mixture.converged:
        warnings.append("the mixture's fit did not settle; try a smaller K")
    if not (subset == BENIGN).any():
        warnings.append("D_b is empty; raise γ or lower K")
    return tuple(warnings)


def _null_cut(z: np.ndarray, subset: np.ndarray, kappa: float) -> tuple[float, str]:
    finite = np.isfinite(z)
    null, where = z[finite & (subset == BENIGN)], "D_b"
    if len(null) < MIN_NULL:
        where = f"all pairs outside D_p, since D_b has only {len(null)}"
        null = z[finite & (subset != POISONED) & (subset != UNSCORED)]
    if not len(null):
        return np.inf, "no pair outside D_p has a z: nothing is flagged"
    exact = null.astype(np.float64)
    median = float(np.median(exact))
    deviation = np.abs(exact - median)
    spread, name = NORMAL_MAD * float(np.median(deviation)), "1.4826·MAD"
    if spread == 0:
        # More than half the captions are one text: the mean deviation still sees the others.
        spread, name = float(np.sqrt(np.pi / 2) * deviation.mean()), "1.2533·mean deviation, the MAD being 0"
    if spread == 0:
        return np.inf, f"all z of {where} are equal: nothing is flagged"
    description = (
        f"median {median:.4f} + {kappa:g}·{spread:.4f} ({name}) of z over {where}, {len(null):,} pairs"
    )
    return median + kappa * spread, description


def _valley(z: np.ndarray) -> float | None:
    """Return the deepest valley: where the lower of the highest peaks on either side stands highest above it.

    Depth is taken on the square root of the smoothed counts, whose noise is the same everywhere.
    """
    if len(z) < 3 or z.min() == z.max():
        return None
    counts, edges = np.histogram(z, VALLEY_BINS)
    reach = int(4 * VALLEY_SMOOTHING)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / VALLEY_SMOOTHING) ** 2)
    height = np.sqrt(np.convolve(np.pad(counts, reach), kernel / kernel.sum(), mode="valid"))
    left, right = np.maximum.accumulate(height), np.maximum.accumulate(height[::-1])[::-1]
    depth = np.minimum(left, right) - height
    deepest = depth.max()
    if deepest <= 0:
        return None
    # An empty stretch is one valley: cut in its middle.
    floor = np.flatnonzero(depth >= deepest - 1e-9)
    run = floor[: np.flatnonzero(np.diff(np.append(floor, len(height) + 1)) > 1)[0] + 1]
    middle = run[len(run) // 2]
    return float((edges[middle] + edges[middle + 1]) / 2)


def _crossing(z: np.ndarray) -> float | None:
    """Return where the two components of a fit to z are equally dense, between their means."""
    try:
        fit = fit_mixture(z, 2)
    except ParameterError:
        return None
    between = np.linspace(fit.means[0], fit.means[1], 10_001)
    lower, upper = fit.components(between).T
    ahead = np.flatnonzero((upper > lower)[1:] & (upper <= lower)[:-1])
    return float(between[ahead[0] + 1]) if len(ahead) else None
