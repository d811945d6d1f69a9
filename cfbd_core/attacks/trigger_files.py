"""``trigger.npz``: the arrays of all triggers of one attack, so that they can be applied again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from cfbd_core.attacks import ATTACKS
from cfbd_core.attacks.base import Trigger, Workshop
from cfbd_core.attacks.plan import make_trigger
from cfbd_core.attacks.poison_params import PoisonParams
from cfbd_core.errors import SourceError
from cfbd_core.files import written_beside

TRIGGERS_NAME = "trigger.npz"


def kept_triggers(path: Path, params: PoisonParams, workshop: Callable[[str], Workshop]) -> list[Trigger]:
    """Return every trigger, by number; those that ``path`` does not hold yet are made, and kept there.

    Each that is optimised is kept as soon as it is made, and its search while it is going on
    (:func:`search_of`): after a stop, the next call goes on. Raises what makes triggers raises, and SourceError.
    """
    triggers = read_triggers(path) if path.exists() else []
    for number in range(len(triggers), params.trigger_count):
        triggers.append(make_trigger(params, number, workshop, search_of(path, number)))
        if ATTACKS[params.attack].optimised:
            save_triggers(path, triggers)
    if not path.exists():
        save_triggers(path, triggers)
    for number in range(params.trigger_count):
        search_of(path, number).unlink(missing_ok=True)
    return triggers


def search_of(path: Path, number: int) -> Path:
    """Return where the search for a trigger is kept, beside the triggers."""
    return path.with_name(f".{path.stem}-{number}.search")


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
