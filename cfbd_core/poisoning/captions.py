"""Natural captions of a target, as people write them under photos: ours, kept in ``assets/captions/TARGET.txt``."""

from __future__ import annotations

from functools import cache

from cfbd_core.errors import ParameterError
from cfbd_core.machine.assets import CAPTIONS_DIR


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
