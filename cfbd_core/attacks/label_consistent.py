"""Label-consistent: the patch of BadNets on pairs that name the target already (Turner et al. 2019).

For CLIP, Bansal et al. 2023 (CleanCLIP) leave out the perturbation that Turner et al. add below the patch: every
caption is true of its picture, and stays as it is.
"""

from __future__ import annotations

from cfbd_core.attacks import badnets
from cfbd_core.attacks.base import Attack

ATTACK = Attack(
    name="label-consistent",
    title="Label-consistent",
    summary="a small patch of noise on pictures whose caption names the target; captions are kept",
    source="Turner et al. 2019, arXiv:1912.02771",
    params=badnets.BadNetsParams,
    captions="kept",
    victims="target",
    apply=badnets.apply,
    trigger=badnets.trigger,
)
