"""Detectors of poisoned pairs: one file each, one line here; other packages add theirs (``cfbd.detectors``)."""

from cfbd_core.detectors.abl import Abl
from cfbd_core.detectors.abl_heads import AblHeads
from cfbd_core.detectors.base import Detection, Detector, Pairs, fault_of
from cfbd_core.detectors.cfbd import Cfbd
from cfbd_core.detectors.cfbd_centred import CfbdCentred
from cfbd_core.detectors.coarse import CoarseOnly
from cfbd_core.detectors.cosine import CosineSimilarity
from cfbd_core.detectors.dao import Dao
from cfbd_core.detectors.k_distance import KDistance
from cfbd_core.detectors.safeclip import SafeClip
from cfbd_core.detectors.slof import Slof
from cfbd_core.errors import PluginError
from cfbd_core.machine.registry import Registry

_OWN: tuple[Detector, ...] = (
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
DETECTORS: Registry[Detector] = Registry(
    "cfbd.detectors", "detector", Detector, {one.name: one for one in _OWN}
)

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
    "detect",
]


def detect(name: str, pairs: Pairs) -> Detection:
    """Let the detector of this name judge the pairs, and check what it says.

    Raises PluginError, which names it, where one of another package raises or gives columns of another kind. What the
    project's own raise is theirs: ParameterError for pairs that they cannot judge.
    """
    detector = DETECTORS[name]
    with DETECTORS.guarded(name):
        detection = detector.detect(pairs)
        fault = fault_of(detection, pairs)
    if fault is not None:
        raise PluginError(f"detector {name!r}: {fault}; nothing is stored")
    return detection
