"""Run both stages on a scored audit: mixture, coarse subsets, z, γ_z, verdicts, evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cfbd_core.config import SplitParams
from cfbd_core.errors import ParameterError
from cfbd_core.evidence import evidence
from cfbd_core.mixture import fit_mixture
from cfbd_core.scores import textual_correlation
from cfbd_core.split import all_warnings, both_stages


@dataclass(frozen=True)
class SplitResult:
    """Per pair, by row: z (n,), subset codes int8 (n,), poisoned bool (n,); and a summary."""

    z: np.ndarray
    subset: np.ndarray
    poisoned: np.ndarray
    summary: dict[str, Any]


def split_pairs(
    rows: np.ndarray,
    consistency: np.ndarray,
    texts: Sequence[np.ndarray],
    params: SplitParams,
    keys_of: Callable[[np.ndarray], list[str]],
    captions_of: Callable[[np.ndarray], list[str]],
) -> SplitResult:
    """Split scored pairs; ``rows`` (n,) are their rows in the shards ``texts``, ascending.

    ``keys_of(rows)`` gives keys, asked only where values tie at the q-th place; ``captions_of(rows)`` captions,
    asked for those of D_p.
    Raises ParameterError: fewer pairs than q or K, or nothing to fit.
    """
    if params.q > len(rows):
        raise ParameterError(
            f"--q {params.q}: the audit has {len(rows)} scored pairs; give --q {max(1, len(rows) // 10)}"
        )
    mixture = fit_mixture(consistency, params.k, seed=params.seed)
    stages = both_stages(
        consistency,
        mixture,
        params,
        correlate=lambda probe: textual_correlation(texts, rows[probe])[rows],
        keys_of=lambda places: keys_of(rows[places]),
    )
    coarse, gamma_z, poisoned = stages.coarse, stages.gamma_z, stages.flagged
    found = evidence(texts, rows[coarse.probe], rows, captions_of=captions_of, seed=params.seed)
    finite = gamma_z.value if np.isfinite(gamma_z.value) else None
    summary = {
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
        "mixture": mixture.to_dict(),
        "coarse_cut": coarse.cut,
        "gamma_z_detail": gamma_z.detail,
        "evidence": found.to_dict(),
        "warnings": list(all_warnings(coarse, found, poisoned)),
    }
    return SplitResult(
        z=stages.z,
        subset=coarse.subset,
        poisoned=poisoned,
        summary=summary,
    )
