"""A stage leaves one file, named by a hash of its settings: called again, it is read instead of remade."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


def digest(*settings: Any) -> str:
    """Short hash of anything JSON can write (settings, file names, keys of earlier stages)."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Workshop:
    """Where the work is done: the folder of cached stages, the device, the seed, the thread count."""

    work: Path
    device: str = "cpu"
    seed: int = 0
    started: float = field(default_factory=time.time)

    def say(self, text: str) -> None:
        """One line of progress on stderr, with the minutes since the start."""
        print(f"[{(time.time() - self.started) / 60:5.1f} min] {text}", file=sys.stderr, flush=True)

    def cached(self, name: str, settings: Any, make: Callable[[Path], Any]) -> tuple[Any, str]:
        """The stage's output and its key; ``make`` gets a path where it may keep a checkpoint.

        The output is written beside its place and renamed, so a stopped run leaves no half file.
        """
        key = f"{name}-{digest(settings)}"
        path = self.work / f"{key}.pt"
        if path.is_file():
            self.say(f"{key}: read from the cache")
            return torch.load(path, weights_only=False), key
        self.say(f"{key}: begins")
        begun = time.time()
        checkpoint = self.work / f"{key}.checkpoint.pt"
        output = make(checkpoint)
        save(output, path)
        checkpoint.unlink(missing_ok=True)
        self.say(f"{key}: took {time.time() - begun:.0f} s")
        return output, key


def save(output: Any, path: Path) -> None:
    """Write with torch, beside the place and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(output, partial)
    partial.rename(path)


class Progress:
    """Prints every ``every`` seconds how far a loop is and how long it still takes."""

    def __init__(self, workshop: Workshop, name: str, total: int, done: int = 0, every: float = 20.0) -> None:
        self.workshop, self.name, self.total, self.every = workshop, name, total, every
        self.begun = self.last = time.time()
        self.first = done

    def __call__(self, done: int, note: str = "") -> None:
        """Report that ``done`` of the total are done."""
        now = time.time()
        if now - self.last < self.every and done < self.total:
            return
        self.last = now
        rate = (done - self.first) / max(now - self.begun, 1e-9)
        left = (self.total - done) / max(rate, 1e-9)
        self.workshop.say(f"{self.name}: {done}/{self.total}, {rate:.0f}/s, {left:.0f} s left {note}")


def compiled_or_not(function: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.compile`` with free sizes; where no compiler works, the function itself."""
    compiled = torch.compile(function, dynamic=True)

    def call(*arguments: Any) -> Any:
        nonlocal compiled
        try:
            return compiled(*arguments)
        except Exception as error:  # no compiler on this machine: the same arithmetic, slower
            if compiled is function:
                raise
            print(f"not compiled: {str(error)[:300]}", file=sys.stderr)
            compiled = function
            return function(*arguments)

    return call
