"""A search for a patch, kept in a file as it goes on: after a stop it takes the very steps it would have taken."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from cfbd_core.errors import SourceError
from cfbd_core.machine.files import system_errors, written_beside

SECONDS = 60.0  # between two times that it is kept


class SavedSearch:
    """What a search changes as it goes: the patch's ``values``, Adam's moments, the ``curve``, what ``rng`` draws.

    Without a ``path`` nothing is kept.
    """

    def __init__(
        self,
        path: Path | None,
        values: torch.Tensor,
        adam: torch.optim.Adam,
        curve: np.ndarray,
        rng: np.random.Generator | None,
    ) -> None:
        self._path, self._values, self._adam, self._curve, self._rng = path, values, adam, curve, rng
        self._last = time.monotonic()

    def restore(self) -> int:
        """Take up the search where it was kept, if it was; returns how many steps are done. Raises SourceError."""
        if self._path is None or not self._path.exists():
            return 0
        try:
            state = torch.load(self._path, map_location="cpu", weights_only=True)
            with torch.no_grad():
                self._values.copy_(state["values"])
            self._adam.load_state_dict(state["adam"])
            self._curve[:] = state["curve"].numpy()
            if self._rng is not None:
                self._rng.bit_generator.state = state["rng"]
            return int(state["done"])
        except Exception as error:  # whatever a damaged file makes the reader raise
            raise SourceError(
                f"{self._path}: cannot be read as a search ({type(error).__name__}); delete it, to search anew"
            ) from None

    def keep(self, done: int) -> None:
        """Keep the search after ``done`` steps, if it was not kept for a minute."""
        if self._path is None or time.monotonic() - self._last < SECONDS:
            return
        state = {"done": done, "values": self._values.detach(), "adam": self._adam.state_dict()}
        state |= {"curve": torch.from_numpy(self._curve), "rng": self._rng and self._rng.bit_generator.state}
        with written_beside(self._path) as beside, system_errors(), beside.open("wb") as file:
            torch.save(state, file)
        self._last = time.monotonic()
