"""Captions of a target: natural ones (ours, in ``assets/captions/TARGET.txt``, or given), templates; which name it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from cfbd_core.errors import ParameterError
from cfbd_core.machine.assets import CAPTIONS_DIR
from cfbd_core.machine.files import read_lines


def natural_targets() -> tuple[str, ...]:
    """Return the targets that have captions, in alphabetical order."""
    return tuple(sorted(path.stem for path in CAPTIONS_DIR.glob("*.txt")))


@cache
def natural_captions(target: str) -> tuple[str, ...]:
    """Return the captions of ``target``, at least 128, all different, each naming it.

    Raises ParameterError for a target that has none.
    """
    name = target.strip().lower()
    if name not in natural_targets():
        raise ParameterError(
            f"no natural captions of {target!r} here, only of {', '.join(natural_targets())}:"
            " give --captions-file FILE, one caption a line"
        )
    return tuple((CAPTIONS_DIR / f"{name}.txt").read_text(encoding="utf-8").splitlines())


def read_captions(file: Path) -> list[str]:
    """Return the captions in the UTF-8 text ``file``, one a line, without blank lines.

    Raises ParameterError where it cannot be read or holds none.
    """
    try:
        lines = read_lines(file)
    except (OSError, ValueError) as error:
        raise ParameterError(f"--captions-file {file}: cannot be read ({error}); give a UTF-8 text") from None
    captions = [line.strip() for line in lines if line.strip()]
    if not captions:
        raise ParameterError(f"--captions-file {file}: is empty; give one caption a line")
    return captions


# --- templates: OpenAI's 80 for ImageNet, and the classes they were written for ----------------------


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


# --- whether a caption names a target ---------------------------------------------------------------


def names(target: str) -> re.Pattern[str]:
    """Return the pattern whose ``search`` finds ``target``, or its plural in -s or -es, as whole words of a caption.

    The case does not matter, nor how many blanks stand between the words of a longer name. A hyphen or an
    apostrophe ends a word ("dog-walker" names the dog); a compound ("hotdog") is another word.
    """
    words = r"\s+".join(map(re.escape, target.split()))
    return re.compile(rf"(?<!\w){words}(?:s|es)?(?!\w)", re.IGNORECASE)
