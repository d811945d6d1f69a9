"""What is measured on a scenario: detectors, and what the paper's other tables and figures need.

Each analysis takes a scenario and returns plain JSON values; figures that are not defined are None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NotRequired, TypedDict

import numpy as np

from cfbd_core.bench.scenario import Scenario
from cfbd_core.config import SplitParams
from cfbd_core.detectors import DETECTORS, Cfbd
from cfbd_core.detectors import detect as judge
from cfbd_core.method.metrics import RankMetrics, areas_under, pr_curve, rank_metrics, roc_curve, share
from cfbd_core.method.mixture import fit_mixture
from cfbd_core.method.scores import centred, gather, textual_correlation, unit_rows
from cfbd_core.method.split import benign_cut, choose_gamma_z, coarse_split
from cfbd_core.store.entries import EvidenceEntry, MixtureEntry

# Kept with the results. Raise it when an analysis, a detector, a score or a plan comes out otherwise for the same
# parameters: cells measured before must not stand beside new ones.
RESULTS_VERSION = 1

FAULT_QS, FAULT_SHARES = (50, 400), (0.2, 0.4, 0.6, 0.8)  # Table 5
ABLATION_KS = tuple(range(1, 11))
ABLATION_GAMMAS = (0.75, 0.80, 0.85, 0.875, 0.90, 0.925, 0.95, 0.975, 0.99)  # Fig. 6a
ABLATION_QS = (50, 100, 200, 300, 400)  # Fig. 6b
HISTOGRAM_BINS = 60
MOST_PAIRWISE_CAPTIONS = 400  # captions a class, of which all pairs are compared
CURVE_POINTS = 300

Result = Mapping[str, object]
Histograms = dict[str, list[float]]  # ``edges`` of common bins, and the bars of each class


class DetectorResult(RankMetrics):
    """A detector's verdict on the pairs that it scored, and how well its score ranks.

    Of CFBD alone: the areas of c, the share of poisons in D_p, γ_z and the evidence.
    """

    pairs: int
    poisons: int
    flagged: int
    caught: int
    false_alarms: int
    tpr: float | None
    fpr: float | None
    auroc_consistency: NotRequired[float | None]
    auprc_consistency: NotRequired[float | None]
    probe_purity: NotRequired[float]
    gamma_z: NotRequired[float | None]
    evidence: NotRequired[EvidenceEntry]


class Distributions(TypedDict):
    """Histograms of Fig. 2, of poisoned and benign pairs."""

    a: Histograms
    b: Histograms
    c: Histograms


class StageCurves(TypedDict):
    """The curves of one stage; None with one class only."""

    pr: dict[str, list[float]] | None
    roc: dict[str, list[float]] | None


class Curves(TypedDict):
    """The curves of both stages (Fig. 5)."""

    coarse: StageCurves
    fine: StageCurves


class FineStage(TypedDict):
    """What the fine stage does with one q."""

    q: int
    tpr: float | None
    fpr: float | None
    auroc: float | None
    purity: float


class Ablation(TypedDict):
    """Poisons in D_b by K (row) and γ (column), and the fine stage by q (Fig. 6)."""

    k: Sequence[int]
    gamma: Sequence[float]
    in_benign: list[list[int]]
    q: list[FineStage]


class FittedMixture(TypedDict):
    """Counts of c by class, the mixture fitted to them, and where D_b ends (Figs. 4 and 7a)."""

    histogram: Histograms
    mixture: MixtureEntry
    cut: float


def analyse(name: str, scenario: Scenario) -> Result:
    """Run the analysis ``name``: one of ``ANALYSES``, or ``detector NAME``."""
    kind, _, detector = name.partition(" ")
    if kind == "detector":
        return detect(scenario, detector)
    return ANALYSES[name](scenario)


def detect(scenario: Scenario, name: str) -> DetectorResult:
    """One detector: its operating point, how well its score ranks, and what it says of itself."""
    detection = judge(name, scenario.pairs)
    truth, known = scenario.truth, np.isfinite(detection.score)
    poisons, clean = truth & known, ~truth & known
    caught, false_alarms = int((detection.flagged & poisons).sum()), int((detection.flagged & clean).sum())
    ranks = rank_metrics(truth, detection.score)
    result: DetectorResult = {
        "pairs": int(known.sum()),
        "poisons": int(poisons.sum()),
        "flagged": int(detection.flagged.sum()),
        "caught": caught,
        "false_alarms": false_alarms,
        "tpr": share(caught, int(poisons.sum())),
        "fpr": share(false_alarms, int(clean.sum())),
        "auroc": ranks["auroc"],
        "auprc": ranks["auprc"],
        "fpr_at_95_tpr": ranks["fpr_at_95_tpr"],
        "tpr_at_0_1_fpr": ranks["tpr_at_0_1_fpr"],
        "tpr_at_1_fpr": ranks["tpr_at_1_fpr"],
    }
    if isinstance(DETECTORS[name], Cfbd):
        probe = np.asarray(detection.info["probe"])
        areas = areas_under(truth, scenario.pairs.scores.consistency)
        result["auroc_consistency"], result["auprc_consistency"] = areas or (None, None)
        result["probe_purity"] = float(truth[probe].mean())
        result["gamma_z"] = detection.info["params"]["gamma_z"]
        result["evidence"] = detection.info["evidence"]
    return result


def faults(scenario: Scenario) -> dict[str, float | None]:
    """AUROC of z where D_p was built by hand, a share of it benign (Table 5); beside it that of centred z."""
    rng = np.random.default_rng([scenario.params.seed, 5])
    poisons, clean = np.flatnonzero(scenario.truth), np.flatnonzero(~scenario.truth)
    text = np.asarray(scenario.pairs.text)
    texts = {"": text, " centred": centred(text)}
    result: dict[str, float | None] = {}
    for q in FAULT_QS:
        for part in FAULT_SHARES:
            wrong = round(part * q)
            if q - wrong > len(poisons):
                result |= {f"{q} {part}{kind}": None for kind in texts}
                continue
            probe = np.concatenate(
                [rng.choice(poisons, q - wrong, replace=False), rng.choice(clean, wrong, replace=False)]
            )
            for kind, vectors in texts.items():
                areas = areas_under(scenario.truth, textual_correlation(vectors, probe))
                result[f"{q} {part}{kind}"] = areas[0] if areas else None
    return result


def distributions(scenario: Scenario) -> Distributions:
    """Return what tells poison from benign pairs (Fig. 2): histograms as shares of each class.

    (a) cosines between captions, (b) cosine of image and caption, (c) z with the captions of poisons.
    """
    rng = np.random.default_rng([scenario.params.seed, 2])
    truth, text = scenario.truth, np.asarray(scenario.pairs.text)
    image = unit_rows(np.asarray(scenario.pairs.image))
    similarity = np.einsum("ij,ij->i", image, unit_rows(text))
    poisons = np.flatnonzero(truth)
    z = textual_correlation(text, rng.choice(poisons, min(len(poisons), 50), replace=False))
    within = {
        "poisoned": _pairwise(text, poisons, rng),
        "benign": _pairwise(text, np.flatnonzero(~truth), rng),
    }
    return {
        "a": _histograms(within),
        "b": _histograms({"poisoned": similarity[truth], "benign": similarity[~truth]}),
        "c": _histograms({"poisoned": z[truth], "benign": z[~truth]}),
    }


def curves(scenario: Scenario) -> Curves:
    """Precision–recall and ROC of both stages: the coarse one ranks by c, the fine one by z (Fig. 5)."""
    z = DETECTORS["cfbd"].detect(scenario.pairs).score
    coarse = scenario.pairs.scores.consistency
    return {"coarse": _curves(scenario.truth, coarse), "fine": _curves(scenario.truth, z)}


def _curves(truth: np.ndarray, score: np.ndarray) -> StageCurves:
    return {"pr": pr_curve(truth, score, CURVE_POINTS), "roc": roc_curve(truth, score, CURVE_POINTS)}


def ablation(scenario: Scenario) -> Ablation:
    """Poisons that K and γ let into D_b (Fig. 6a); what q does to the fine stage (Fig. 6b), up to all pairs."""
    c, truth, params = scenario.pairs.scores.consistency, scenario.truth, SplitParams()
    mixtures = {k: fit_mixture(c, k, seed=params.seed) for k in ABLATION_KS}
    in_benign = [
        [int((c[truth] <= benign_cut(mixtures[k], gamma)).sum()) for gamma in ABLATION_GAMMAS]
        for k in ABLATION_KS
    ]
    by_q: list[FineStage] = []
    for q in (q for q in ABLATION_QS if q <= scenario.pairs.scored.sum()):
        coarse = coarse_split(c, mixtures[params.k], params.gamma, q)
        z = textual_correlation(np.asarray(scenario.pairs.text), coarse.probe)
        flagged = z > choose_gamma_z(z, coarse.subset, kappa=params.kappa).value
        areas = areas_under(truth, z)
        by_q.append(
            {
                "q": q,
                "tpr": share(int((flagged & truth).sum()), int(truth.sum())),
                "fpr": share(int((flagged & ~truth).sum()), int((~truth).sum())),
                "auroc": areas[0] if areas else None,
                "purity": float(truth[coarse.probe].mean()),
            }
        )
    return {"k": ABLATION_KS, "gamma": ABLATION_GAMMAS, "in_benign": in_benign, "q": by_q}


def mixture(scenario: Scenario) -> FittedMixture:
    """Return the histogram of c by class, and the mixture fitted to it (Figs. 4 and 7a)."""
    c, params = scenario.pairs.scores.consistency, SplitParams()
    fitted = fit_mixture(c, params.k, seed=params.seed)
    known = np.isfinite(c)
    histograms = _histograms(
        {"benign": c[~scenario.truth & known], "poisoned": c[scenario.truth & known]}, counts=True
    )
    return {"histogram": histograms, "mixture": fitted.to_dict(), "cut": benign_cut(fitted, params.gamma)}


ANALYSES: dict[str, Callable[[Scenario], Result]] = {
    analysis.__name__: analysis for analysis in (faults, distributions, curves, ablation, mixture)
}


def _pairwise(text: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    chosen = rng.choice(rows, min(len(rows), MOST_PAIRWISE_CAPTIONS), replace=False)
    vectors = unit_rows(gather(text, chosen))
    cosines: np.ndarray = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    return cosines


def _histograms(values: dict[str, np.ndarray], counts: bool = False) -> Histograms:
    """Histograms over common bins: counts, or each as shares of its own values."""
    every = np.concatenate(list(values.values()))
    every = every[np.isfinite(every)]
    low, high = (every.min(), every.max()) if len(every) else (0, 1)
    edges = np.linspace(low, high, HISTOGRAM_BINS + 1)
    histograms: Histograms = {"edges": edges.tolist()}
    for name, part in values.items():
        bars = np.histogram(part[np.isfinite(part)], edges)[0]
        histograms[name] = bars.tolist() if counts else (bars / max(1, bars.sum())).tolist()
    return histograms
