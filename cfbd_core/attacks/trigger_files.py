"""``trigger.npz``: the arrays of all triggers of one attack, so that they can be applied again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from cfbd_core.attacks.base import Trigger
from cfbd_core.errors import SourceError
from cfbd_core.files import written_beside

TRIGGERS_NAME = "trigger.npz"


def save_triggers(path: Path, triggers: Sequence[Trigger]) -> None:
    """Write the arrays as ``NUMBER/NAME``, beside ``path`` and renamed."""
    arrays = {f"{number}/{name}": array for number, one in enumerate(triggers) for name, array in one.items()}
    arrays["count"] = np.array(len(triggers))  # a trigger may have no arrays at all
    with written_beside(path) as beside, beside.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_triggers(path: Path) -> list[Trigger]:
    """Read all triggers, by number. Raises SourceError where the file is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            triggers: list[Trigger] = [{} for _ in range(int(arrays["count"]))]
            for entry in arrays.files:
                number, slash, name = entry.partition("/")
                if slash:
                    triggers[int(number)][name] = arrays[entry]
    except (OSError, ValueError, LookupError, EOFError, BadZipFile) as error:
        raise SourceError(f"{path}: cannot be read as triggers ({error}); make the copy again") from None
    return triggers
