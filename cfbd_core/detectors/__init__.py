"""Detectors of poisoned pairs: one file a detector, one line in the registry."""

from cfbd_core.detectors.base import Detection, Detector, Pairs

DETECTORS: dict[str, Detector] = {}

__all__ = ["DETECTORS", "Detection", "Detector", "Pairs"]
