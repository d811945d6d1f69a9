"""What shows that nobody has written to a file since, without reading it: its size and its two times.

Size and time of modification prove nothing: ``rsync -t``, ``cp -p`` and unpacking set that time. The time at which the
file's entry was last changed is set by the system alone, at every write and rename. So a file whose whole stamp is the
same is the same; another stamp only says that the content has to be read and compared.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

Stamp = tuple[int, int, int]
NO_STAMP: Stamp = (0, 0, 0)


def stamp_of(path: str | os.PathLike[str]) -> Stamp:
    """Bytes, and nanoseconds of the last modification and of the last change; ``NO_STAMP`` where there is no file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return NO_STAMP
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_unchanged(path: str | os.PathLike[str], stamp: Sequence[int]) -> bool:
    """Return whether a file is there and has this ``stamp``; not where none is known."""
    return tuple(stamp) != NO_STAMP and stamp_of(path) == tuple(stamp)
