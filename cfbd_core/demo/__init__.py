"""The built-in demo: captioned scenes composed of OpenMoji pictograms, with poison planted on request."""

from cfbd_core.demo.layout import SceneSpec
from cfbd_core.demo.scenes import (
    ATTRIBUTION,
    LICENSE,
    Scene,
    draw_scenes,
    right_captions,
    scene,
    single_object_scene,
)
from cfbd_core.demo.shards import DemoParams, write_demo
from cfbd_core.demo.vocabulary import CLASS_NAMES

__all__ = [
    "ATTRIBUTION",
    "CLASS_NAMES",
    "LICENSE",
    "DemoParams",
    "Scene",
    "SceneSpec",
    "draw_scenes",
    "right_captions",
    "scene",
    "single_object_scene",
    "write_demo",
]
