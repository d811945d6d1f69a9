"""Both stages on one pair of each cluster; what they say of it goes to its copies.

**Collapsing** keeps one pair of each cluster for statistics; nothing is deleted. Only pairs whose image *and* caption
repeat are one (``collapsible``): poisons share captions, and must not be collapsed for it.
What that means for the scores:

- *c* is a pair's own and stays.
- *The mixture* is fitted to one c per cluster: a picture posted a thousand times is no component of its own, and γ,
  the share of the lowest component that D_b covers, counts distinct pairs.
- *D_p* is q distinct pairs: one repeated pair cannot fill it. So its direction changes, and with it z of every pair,
  also of those that were collapsed: a pair and its copies get the same z, that of the pair which is kept (beside a
  member of D_p, which leaves itself out, a copy's own would be higher by (1 − z)/q or so).
- *γ_z* comes from z of distinct pairs.

Subset and verdict then go from each representative to its copies. So D_p may count more than q pairs: q distinct
ones, and their copies.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cfbd_core.config import SplitParams
from cfbd_core.method.clusters import Clusters
from cfbd_core.method.mixture import Mixture
from cfbd_core.method.split import Correlate, KeysOf, Stages, both_stages


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
    first, cluster_of = clusters.first, clusters.numbers
    stages = both_stages(
        consistency[first],
        mixture,
        params,
        correlate=lambda probe: correlate(first[probe])[first],
        keys_of=lambda places: keys_of(first[places]),
    )
    coarse = replace(
        stages.coarse,
        subset=stages.coarse.subset[cluster_of],
        probe=first[stages.coarse.probe],
        overlap=first[stages.coarse.overlap],
    )
    return Stages(coarse, stages.z[cluster_of], stages.gamma_z, stages.flagged[cluster_of])
