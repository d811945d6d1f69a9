"""Exact and near duplicates of captions and images, as a finding of their own.

**Collapsing** keeps one pair of each cluster for statistics; nothing is deleted. Only pairs whose image *and* caption
repeat are one (:func:`collapsible`): poisons share captions, and must not be collapsed for it.
What that means for the scores:

- *c* is a pair's own and stays.
- *The mixture* is fitted to one c per cluster: a picture posted a thousand times is no component of its own, and γ,
  the share of the lowest component that D_b covers, counts distinct pairs.
- *D_p* is q distinct pairs: one repeated pair cannot fill it. So its direction changes, and with it z of every pair,
  also of those that were collapsed: a pair and its copies get the same z, that of the pair which is kept (beside a
  member of D_p, which leaves itself out, a copy's own would be higher by (1 − z)/q or so).
- *γ_z* comes from z of distinct pairs.

Subset and verdict then go from each representative to its copies (:mod:`cfbd_core.duplicates.collapsed`). So D_p may
count more than q pairs: q distinct ones, and their copies.
"""

from cfbd_core.duplicates.clusters import Clusters, alone, both, of_labels
from cfbd_core.duplicates.collapsed import stages_of_distinct
from cfbd_core.duplicates.copies import Copies, NearCopies, near_copies
from cfbd_core.duplicates.exact import Duplicates, collapsible, exact_duplicates, same_captions, same_images
from cfbd_core.duplicates.near import near_clusters

__all__ = [
    "Clusters",
    "Copies",
    "Duplicates",
    "NearCopies",
    "alone",
    "both",
    "collapsible",
    "exact_duplicates",
    "near_clusters",
    "near_copies",
    "of_labels",
    "same_captions",
    "same_images",
    "stages_of_distinct",
]
