"""A cache: whoever asks for a value while it is made waits for that one, and for nothing else."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)
Value = TypeVar("Value")


class Cache(Generic[Name, Value]):
    """The ``most`` values that were asked for last, by name. Safe to use from many threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()  # held for a look, never while something is made
        self._works: OrderedDict[Name, Future[Value]] = OrderedDict()

    def get(self, name: Name, make: Callable[[], Value]) -> Value:
        """Return the value of this name, by ``make`` where there is none yet.

        What ``make`` raises is raised for all who wait for it, and tried again by whoever asks next.
        """
        with self._lock:
            earlier = self._works.get(name)
            work = self._works[name] = earlier or Future()
            self._works.move_to_end(name)
            while len(self._works) > self._most:
                self._works.popitem(last=False)
        if earlier is None:
            try:
                work.set_result(make())
            except BaseException as error:
                with self._lock:
                    if self._works.get(name) is work:
                        del self._works[name]
                work.set_exception(error)
        return work.result()


class once(Generic[Value]):  # noqa: N801  (it reads as functools.cached_property does)
    """A property that is made when it is first asked for, and kept.

    ``functools.cached_property`` of Python 3.11 has one lock for all objects of a class: while one audit's property is
    made, those who ask for another's wait, too. Later ones have none: two threads would both make it.
    """

    def __init__(self, make: Callable[[Any], Value]) -> None:
        self._make, self.__doc__ = make, make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type) -> Value:
        cache: Cache[str, Value] = vars(instance).setdefault(f"_cache_{self._name}", Cache(1))
        value = cache.get(self._name, lambda: self._make(instance))
        vars(instance)[self._name] = value  # from now on it is an attribute like any other
        return value
