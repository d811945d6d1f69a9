"""Natural captions of a target, as people write them under photos: ours, kept in ``captions/TARGET.txt``."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from cfbd_core.errors import ParameterError

_FOLDER = Path(__file__).with_name("captions")


def natural_targets() -> tuple[str, ...]:
    """Return the targets that have captions, in alphabetical order."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.txt")))


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
    return tuple((_FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines())
