"""Detectors of poisoned pairs: one file a detector, one line in the registry."""

from cfbd_core.detectors.abl import Abl
from cfbd_core.detectors.abl_heads import AblHeads
from cfbd_core.detectors.base import Detection, Detector, Pairs
from cfbd_core.detectors.cfbd import Cfbd
from cfbd_core.detectors.cfbd_centred import CfbdCentred
from cfbd_core.detectors.coarse import CoarseOnly
from cfbd_core.detectors.cosine import CosineSimilarity
from cfbd_core.detectors.dao import Dao
from cfbd_core.detectors.k_distance import KDistance
from cfbd_core.detectors.safeclip import SafeClip
from cfbd_core.detectors.slof import Slof

DETECTORS: dict[str, Detector] = {
    detector.name: detector
    for detector in (
        Cfbd(),
        CfbdCentred(),
        CoarseOnly(),
        CosineSimilarity(),
        SafeClip(),
        KDistance(),
        Slof(),
        Dao(),
        Abl(),
        AblHeads(),
    )
}

__all__ = [
    "DETECTORS",
    "Abl",
    "AblHeads",
    "Cfbd",
    "CfbdCentred",
    "CoarseOnly",
    "CosineSimilarity",
    "Dao",
    "Detection",
    "Detector",
    "KDistance",
    "Pairs",
    "SafeClip",
    "Slof",
]
