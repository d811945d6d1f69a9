"""What is measured on a scenario: detectors, and what the paper's other tables and figures need.

Each analysis takes a scenario and returns plain JSON values; figures that are not defined are None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cfbd_core.bench.scenario import Scenario
from cfbd_core.config import SplitParams
from cfbd_core.detectors import DETECTORS, Cfbd
from cfbd_core.detectors import detect as judge
from cfbd_core.method.metrics import areas_under, pr_curve, rank_metrics, roc_curve, share
from cfbd_core.method.mixture import fit_mixture
from cfbd_core.method.scores import centred, gather, textual_correlation, unit_rows
from cfbd_core.method.split import benign_cut, choose_gamma_z, coarse_split

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

Result = dict[str, Any]


def analyse(name: str, scenario: Scenario) -> Result:
    """Run the analysis ``name``: one of ``ANALYSES``, or ``detector NAME``."""
    kind, _, detector = name.partition(" ")
    if kind == "detector":
        return detect(scenario, detector)
    return ANALYSES[name](scenario)


def detect(scenario: Scenario, name: str) -> Result:
    """Return one detector: its operating point, how well its score ranks, and what it says of itself."""
    detection = judge(name, scenario.pairs)
    truth, known = scenario.truth, np.isfinite(detection.score)
    poisons, clean = truth & known, ~truth & known
    counts = {
        "pairs": int(known.sum()),
        "poisons": int(poisons.sum()),
        "flagged": int(detection.flagged.sum()),
        "caught": int((detection.flagged & poisons).sum()),
        "false_alarms": int((detection.flagged & clean).sum()),
    }
    result = {
        **counts,
        "tpr": share(counts["caught"], counts["poisons"]),
        "fpr": share(counts["false_alarms"], int(clean.sum())),
        **rank_metrics(truth, detection.score),
    }
    if isinstance(DETECTORS[name], Cfbd):
        probe = np.asarray(detection.info["probe"])
        areas = areas_under(truth, scenario.pairs.scores.consistency)
        result |= {
            "auroc_consistency": areas[0] if areas else None,
            "auprc_consistency": areas[1] if areas else None,
            "probe_purity": float(truth[probe].mean()),
            "gamma_z": detection.info["params"]["gamma_z"],
            "evidence": detection.info["evidence"],
        }
    return result


def faults(scenario: Scenario) -> Result:
    """AUROC of z where D_p was built by hand, a share of it benign (Table 5); beside it that of centred z."""
    rng = np.random.default_rng([scenario.params.seed, 5])
    poisons, clean = np.flatnonzero(scenario.truth), np.flatnonzero(~scenario.truth)
    text = np.asarray(scenario.pairs.text)
    texts = {"": text, " centred": centred(text)}
    result: Result = {}
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


def distributions(scenario: Scenario) -> Result:
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


def curves(scenario: Scenario) -> Result:
    """Precision–recall and ROC of both stages: the coarse one ranks by c, the fine one by z (Fig. 5)."""
    z = DETECTORS["cfbd"].detect(scenario.pairs).score
    scores = {"coarse": scenario.pairs.scores.consistency, "fine": z}
    return {
        stage: {
            "pr": pr_curve(scenario.truth, score, CURVE_POINTS),
            "roc": roc_curve(scenario.truth, score, CURVE_POINTS),
        }
        for stage, score in scores.items()
    }


def ablation(scenario: Scenario) -> Result:
    """Poisons that K and γ let into D_b (Fig. 6a); what q does to the fine stage (Fig. 6b), up to all pairs."""
    c, truth, params = scenario.pairs.scores.consistency, scenario.truth, SplitParams()
    mixtures = {k: fit_mixture(c, k, seed=params.seed) for k in ABLATION_KS}
    in_benign = [
        [int((c[truth] <= benign_cut(mixtures[k], gamma)).sum()) for gamma in ABLATION_GAMMAS]
        for k in ABLATION_KS
    ]
    by_q = []
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


def mixture(scenario: Scenario) -> Result:
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


def _histograms(values: dict[str, np.ndarray], counts: bool = False) -> Result:
    """Histograms over common bins: counts, or each as shares of its own values."""
    every = np.concatenate(list(values.values()))
    every = every[np.isfinite(every)]
    low, high = (every.min(), every.max()) if len(every) else (0, 1)
    edges = np.linspace(low, high, HISTOGRAM_BINS + 1)
    histograms: Result = {"edges": edges.tolist()}
    for name, part in values.items():
        bars = np.histogram(part[np.isfinite(part)], edges)[0]
        histograms[name] = bars.tolist() if counts else (bars / max(1, bars.sum())).tolist()
    return histograms
