"""``trigger.npz``: the arrays of all triggers of one attack, so that they can be applied again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cfbd_core.attacks import ATTACKS
from cfbd_core.attacks.base import Trigger, Workshop, picture_size_of
from cfbd_core.errors import SourceError
from cfbd_core.machine.checked_files import load_arrays, report_damage
from cfbd_core.machine.files import written_beside
from cfbd_core.poisoning.plan import Poison, make_trigger, triggered
from cfbd_core.poisoning.poison_params import PoisonParams, settings

TRIGGERS_NAME = "trigger.npz"
MOST_BYTES = 2**32  # of arrays: a thousand triggers of half a megabyte, for eight targets
UNREADABLE = "cannot be read as triggers"
WAY_OUT = "delete it, and make the copy again"


def load_or_make_triggers(
    path: Path, params: PoisonParams, workshop: Callable[[str], Workshop]
) -> list[Trigger]:
    """Return every trigger, by number; those that ``path`` does not hold yet are made, and kept there.

    Each that is optimised is kept as soon as it is made, and its search while it is going on
    (:func:`search_of`): after a stop, the next call goes on. Raises what makes triggers raises, and SourceError.
    """
    triggers = _fitting_triggers(path, params) if path.exists() else []
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
    if not path.exists():
        raise SourceError(f"{path}: {UNREADABLE} (it is missing); make the copy again")
    with report_damage(path, WAY_OUT, SourceError, UNREADABLE):
        arrays = load_arrays(path, MOST_BYTES)
        triggers: list[Trigger] = [{} for _ in range(int(arrays.pop("count")))]
        for entry, array in arrays.items():
            number, _, name = entry.partition("/")
            triggers[int(number)][name] = array
    return triggers


def _fitting_triggers(path: Path, params: PoisonParams) -> list[Trigger]:
    """Read the triggers of an attack, and try each on a grey picture.

    Raises SourceError where they are missing or damaged, or not its own.
    """
    triggers = read_triggers(path)
    with report_damage(path, WAY_OUT, SourceError, UNREADABLE):
        if len(triggers) > params.trigger_count:
            raise ValueError(f"{len(triggers)} triggers, {params.trigger_count} belong there")
        for number in range(len(triggers)):
            side = picture_size_of(settings(params, number))
            grey = Image.new("RGB", (side, side), (127, 127, 127))
            triggered(grey, Poison(0, "", "", number), params, triggers)
    return triggers
