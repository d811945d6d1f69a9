"""Work in threads by name, kept for a session: begun once, and not begun where nobody wants it any more."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Container, Hashable
from concurrent.futures import Executor, Future
from typing import Any


class Futures:
    """The ``most`` works that were asked for last. Safe to use from many threads: two runs of a page may overlap.

    A name says what its work depends on; an object is in it as a weak reference, as its id may be another's later.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._works: OrderedDict[Hashable, Future[Any]] = OrderedDict()

    def ask(self, name: Hashable, make: Callable[[], Any], workers: Executor) -> Future[Any]:
        """Return the work of this name, handed to ``workers`` where there is none yet."""
        with self._lock:
            work = self._works.get(name)
            if work is None:
                work = self._works[name] = workers.submit(make)
            self._works.move_to_end(name)
            while len(self._works) > self._most:
                self._works.popitem(last=False)[1].cancel()
            return work

    def get(self, name: Hashable) -> Future[Any] | None:
        """Return the work of this name; None where nobody has asked for it, or it was dropped."""
        return self._works.get(name)

    def forget(self, name: Hashable) -> None:
        """Let it be made again when it is asked for next."""
        with self._lock:
            self._works.pop(name, None)

    def drop_unbegun(self, wanted: Container[Hashable]) -> None:
        """Drop what no thread has begun and is not ``wanted``; what is at work or done stays."""
        with self._lock:
            for name in [name for name, work in self._works.items() if name not in wanted and work.cancel()]:
                del self._works[name]
