"""Both stages on one pair of each cluster; what they say of it goes to its copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cfbd_core.config import SplitParams
from cfbd_core.duplicates.clusters import Clusters
from cfbd_core.mixture import Mixture
from cfbd_core.split import Correlate, KeysOf, Stages, both_stages


def stages_of_distinct(
    consistency: np.ndarray,
    clusters: Clusters | None,
    mixture: Mixture,
    params: SplitParams,
    correlate: Correlate,
    keys_of: KeysOf,
) -> Stages:
    """Run :func:`both_stages` on c (N,) as if only the first pair of each cluster were there; None collapses nothing.

    ``mixture`` is fitted to c of these; ``correlate`` and ``keys_of`` take and give places among all N. Subset, z and
    verdict of a pair are those of the first of its cluster; D_p and the overlap name first ones only. Raises
    ParameterError as :func:`both_stages` does, for a q above the clusters too.
    """
    if clusters is None:
        return both_stages(consistency, mixture, params, correlate, keys_of)
    first, of = clusters.first, clusters.of
    stages = both_stages(
        consistency[first],
        mixture,
        params,
        correlate=lambda probe: correlate(first[probe])[first],
        keys_of=lambda places: keys_of(first[places]),
    )
    coarse = replace(
        stages.coarse,
        subset=stages.coarse.subset[of],
        probe=first[stages.coarse.probe],
        overlap=first[stages.coarse.overlap],
    )
    return Stages(coarse, stages.z[of], stages.gamma_z, stages.flagged[of])
