"""Natural captions of a target that a user gives, in place of ours."""

from __future__ import annotations

from pathlib import Path

from cfbd_core.errors import ParameterError
from cfbd_core.machine.files import read_lines


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
