"""Run both stages on a scored audit: mixture, coarse subsets, z, γ_z, verdicts, evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cfbd_core.config import SplitParams
from cfbd_core.errors import ParameterError
from cfbd_core.method.clusters import Clusters
from cfbd_core.method.collapsed import stages_of_distinct
from cfbd_core.method.evidence import evidence
from cfbd_core.method.mixture import fit_mixture
from cfbd_core.method.scores import JoinedRows, textual_correlation
from cfbd_core.method.split import all_warnings

if TYPE_CHECKING:
    from cfbd_core.store.entries import SplitSummary


@dataclass(frozen=True)
class SplitResult:
    """Per pair, by row: z (n,), subset codes int8 (n,), poisoned bool (n,); and a summary."""

    z: np.ndarray
    subset: np.ndarray
    poisoned: np.ndarray
    summary: SplitSummary


def split_pairs(
    captions: JoinedRows,
    consistency: np.ndarray,
    params: SplitParams,
    keys_of: Callable[[np.ndarray], list[str]],
    captions_of: Callable[[np.ndarray], list[str]],
    clusters: Clusters | None = None,
) -> SplitResult:
    """Split scored pairs by the embeddings of their ``captions`` (n, d), rows ascending, and c (n,).

    ``keys_of(rows)`` gives keys, asked only where values tie at the q-th place; ``captions_of(rows)`` captions,
    asked for those of D_p. With ``clusters`` of the pairs, one of each counts for statistics.
    Raises ParameterError: fewer pairs than q or K, or nothing to fit.
    """
    rows, texts = captions.rows, captions.shards
    counted = slice(None) if clusters is None else clusters.first
    pairs = len(rows[counted])
    if params.q > pairs:
        kind = "scored" if clusters is None else "distinct"
        raise ParameterError(
            f"--q {params.q}: the audit has {pairs} {kind} pairs; give --q {max(1, pairs // 10)}"
        )
    mixture = fit_mixture(consistency[counted], params.k, seed=params.seed)
    stages = stages_of_distinct(
        consistency,
        clusters,
        mixture,
        params,
        correlate=lambda probe: textual_correlation(texts, rows[probe])[rows],
        keys_of=lambda places: keys_of(rows[places]),
    )
    coarse, gamma_z, poisoned = stages.coarse, stages.gamma_z, stages.flagged
    evidence_of_pairs = evidence(
        texts, rows[coarse.probe], rows[counted], captions_of=captions_of, seed=params.seed
    )
    finite = gamma_z.value if np.isfinite(gamma_z.value) else None
    summary: SplitSummary = {
        "params": {
            "k": params.k,
            "gamma": params.gamma,
            "q": params.q,
            "gamma_z": finite,
            "gamma_z_rule": gamma_z.rule,
            "rule": params.rule,
            "recheck": params.recheck,
        },
        "settings": params.to_dict(),
        "settings_id": params.id,
        "duplicates": None if clusters is None else clusters.counts(),
        "mixture": mixture.to_dict(),
        "coarse_cut": coarse.cut,
        "gamma_z_detail": gamma_z.detail,
        "evidence": evidence_of_pairs.to_dict(),
        "warnings": list(all_warnings(coarse, evidence_of_pairs, poisoned)),
    }
    return SplitResult(
        z=stages.z,
        subset=coarse.subset,
        poisoned=poisoned,
        summary=summary,
    )
