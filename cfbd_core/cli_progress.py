"""Progress on stderr: pairs a second and time left (tqdm); silent where stderr is no terminal and short."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from tqdm import tqdm


class Bar:
    """A bar over pairs; without a total it counts."""

    def __init__(self, what: str, total: int | None = None) -> None:
        self._bar = tqdm(total=total, desc=what, unit=" pairs", mininterval=0.5, leave=True, delay=0.5)

    def update(self, pairs: int) -> None:
        """Count ``pairs`` more."""
        self._bar.update(pairs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


class TrainBar(Bar):
    """A bar over the epochs of F's training."""

    def __init__(self, what: str) -> None:
        self._bar = tqdm(desc=what, unit=" epochs", mininterval=0.5, leave=True, delay=0.5)

    def update(self, epoch: int, epochs: int = 0, cosine: float = 0.0) -> None:
        """Show the epoch and the held-out cosine."""
        self._bar.total = epochs
        self._bar.set_postfix(cosine=f"{cosine:.3f}", refresh=False)
        self._bar.update(epoch - self._bar.n)
