"""What is offered by name: the project's own, and what installed packages add to it.

A package adds an attack, a detector or a source by an entry point of the group ``cfbd.attacks``, ``cfbd.detectors`` or
``cfbd.sources``; its name there is the name that users give. It is imported when it is first asked for. These groups
are provisional: what a detector sees and says still grows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from cfbd_core.errors import CfbdError, PluginError
from cfbd_core.wording import in_one_line

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Name to object, the project's own first, then those of the entry points of ``group``, by name.

    ``kind`` is the class that each has to be of, or with ``classes`` a subclass of; its ``name`` is what it goes by.
    ``what`` is the word for one, such as "detector". Asking for one raises PluginError where its package cannot be
    imported, or gives something else.
    """

    def __init__(
        self, group: str, what: str, kind: type, own: Mapping[str, T], *, classes: bool = False
    ) -> None:
        self.group, self.what = group, what
        self._kind, self._own, self._classes = kind, dict(own), classes
        self._loaded: dict[str, T] = {}

    @cached_property
    def plugins(self) -> dict[str, EntryPoint]:
        """The entry points of other packages; none can take a name of the project's own."""
        return {one.name: one for one in entry_points(group=self.group) if one.name not in self._own}

    def is_plugin(self, name: str) -> bool:
        """Return whether the one of this name comes from another package."""
        return name not in self._own and name in self.plugins

    def __getitem__(self, name: str) -> T:
        if name in self._own:
            return self._own[name]
        if name not in self._loaded:
            self._loaded[name] = self._load(self.plugins[name])
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self.plugins

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from sorted(self.plugins)

    def __len__(self) -> int:
        return len(self._own) + len(self.plugins)

    @contextmanager
    def guarded(self, name: str) -> Iterator[None]:
        """Report what the one of another package raises in one line; what the project's own raises stays as it is."""
        try:
            yield
        except CfbdError:
            raise
        except Exception as error:
            if not self.is_plugin(name):
                raise
            raise PluginError(
                f"{self._named(self.plugins[name])}: {one_line(error)}; nothing is stored"
            ) from error

    def _load(self, point: EntryPoint) -> T:
        name_and_package = self._named(point)
        try:
            entry = point.load()
            if isinstance(entry, type) and not self._classes:
                entry = entry()
        except Exception as error:
            raise PluginError(
                f"{name_and_package}: cannot be loaded ({one_line(error)}); mend or uninstall it"
            ) from error
        fits = (
            isinstance(entry, type) and issubclass(entry, self._kind)
            if self._classes
            else isinstance(entry, self._kind)
        )
        if not fits:
            raise PluginError(
                f"{name_and_package}: {point.value} is no {self._kind.__name__}; mend or uninstall it"
            )
        name = getattr(entry, "name", None)
        if name != point.name:
            raise PluginError(
                f"{name_and_package}: calls itself {name!r}; give its entry point the same name"
            )
        return entry  # type: ignore[no-any-return]  # checked above

    def _named(self, point: EntryPoint) -> str:
        """Return which one, and of which package."""
        return f"{self.what} {point.name!r} of {point.value if point.dist is None else point.dist.name}"


def one_line(error: BaseException) -> str:
    """Return an error's kind and words in one line."""
    return f"{type(error).__name__}: {in_one_line(error) or 'no words'}"
