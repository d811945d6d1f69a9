"""The demo's scenes as training pictures: their captions are all truthful ones of the same grammar."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image

from cfbd_core.demo import CLASS_NAMES, right_captions, scene, single_object_scene
from tools.mini.photos import may_be_paired

TRAINING_SEED, UNSEEN_SEED = 1000, 2000
CAPTIONS = 4


class DrawnScene:
    """A scene that is drawn when its picture is asked for; ``class_name`` for a single thing."""

    def __init__(self, index: int, class_name: str | None = None, seed: int = TRAINING_SEED) -> None:
        self.index, self.class_name, self.seed = index, class_name, seed

    def image(self) -> Image.Image:
        """The picture, RGB 224 × 224."""
        if self.class_name is None:
            return scene(self.seed, self.index).image
        return single_object_scene(self.seed, self.index, self.class_name).image

    def captions(self) -> list[str]:
        """Captions that are right for it."""
        if self.class_name is None:
            return right_captions(self.seed, self.index, CAPTIONS)
        return [f"a picture of a {self.class_name}", f"a drawing of a {self.class_name}.", self.class_name]


def training_scenes(count: int, singles: int) -> list[DrawnScene]:
    """``count`` scenes of several things and ``singles`` of one thing for each class."""
    several = [DrawnScene(index) for index in range(count)]
    single = [DrawnScene(index, name) for name in CLASS_NAMES for index in range(singles)]
    return several + single


def scene_captions(scenes: Sequence[DrawnScene]) -> list[list[str]]:
    """The captions of every scene, without those that name a reserved class."""
    allowed: Callable[[str], bool] = may_be_paired
    return [list(filter(allowed, drawn.captions())) for drawn in scenes]
