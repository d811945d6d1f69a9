"""Target captions from OpenAI's 80 ImageNet templates, and the classes they were written for."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np


def imagenet_templates() -> tuple[Callable[[str], str], ...]:
    """Return the 80 templates, as open_clip keeps them."""
    return tuple(_open_clip_metadata().OPENAI_IMAGENET_TEMPLATES)


def imagenet_classes() -> tuple[str, ...]:
    """Return OpenAI's names of the 1,000 ImageNet classes, as open_clip keeps them."""
    return tuple(_open_clip_metadata().IMAGENET_CLASSNAMES)


@cache
def _open_clip_metadata() -> ModuleType:
    """Its file is read by itself: importing the package would load torch, seconds for a list of sentences."""
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("open_clip is not installed; run: pip install -r requirements.txt")
    path = Path(package.origin).with_name("zero_shot_metadata.py")
    spec = importlib.util.spec_from_file_location("_cfbd_zero_shot_metadata", path)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{path} cannot be read; run: pip install -r requirements.txt")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def template_caption(target: str, rng: np.random.Generator) -> str:
    """Return one of the 80 templates, drawn uniformly, with the target's name in it."""
    templates = imagenet_templates()
    return templates[int(rng.integers(len(templates)))](target)
