"""What the server was started with, and which paths it may touch."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path

from cfbd_core.errors import ParameterError
from cfbd_core.export import what_is_lost
from cfbd_core.machine.places import DATABASE_NAME
from cfbd_core.sources.locate import glob_matches, patterns

AUDITS = "audits"  # new audits go to this folder of the first root
EXPORTS = "exports"
JOBS = ".cfbd-jobs"
LONGEST_NAME, LONGEST_PATH = 255, 4000  # bytes, what file systems take
MOST_FOLDERS_DEEP = 3  # folders below a root that are searched for audits


@dataclass(frozen=True)
class Settings:
    """``audit`` is the one to open first; nothing outside ``roots`` is read or written on a user's word."""

    audit: Path | None
    roots: tuple[Path, ...]

    @classmethod
    def from_environment(cls) -> Settings:
        """Read what ``cfbd app`` set; by itself (``streamlit run``) the working directory is the one root."""
        audit = os.environ.get("CFBD_APP_AUDIT") or None
        roots = [root for root in os.environ.get("CFBD_APP_ROOTS", "").split(os.pathsep) if root]
        places = [Path(os.path.realpath(root)) for root in roots or [os.getcwd()]]
        first = None if audit is None else Path(os.path.realpath(audit))
        if first is not None and not any(first.is_relative_to(root) for root in places):
            places.append(first)
        return cls(first, tuple(places))

    @property
    def home(self) -> Path:
        """Where new audits, exports and the jobs' records go."""
        return self.roots[0]

    def inside(self, typed: str) -> Path:
        """Return the path that ``typed`` means, relative ones from the first root.

        Raises ParameterError where it leads outside the roots, by ``..`` or by a link.
        """
        text = typed.strip()
        if not text or "\0" in text:
            raise ParameterError("give a path")
        path = Path(os.path.realpath(self.home / _from_home(text)))
        longest = max(len(os.fsencode(part)) for part in path.parts)
        if longest > LONGEST_NAME or len(os.fsencode(path)) > LONGEST_PATH:
            raise ParameterError(f"{text[:80]} …: this path is too long")
        if not any(path.is_relative_to(root) for root in self.roots):
            raise ParameterError(
                f"{text}: lies outside the folders this server was started with "
                f"({', '.join(map(str, self.roots))}); start it with `cfbd app --root FOLDER` to allow another"
            )
        return path

    def source(self, typed: str) -> str:
        """Return a source of pairs that ``typed`` names – file, folder, glob, several – if all of it lies inside."""
        text = typed.strip()
        path = self.inside(text)  # of a pattern as well: else files outside would be looked through
        if os.path.exists(path):
            return str(path)
        whole = "::".join(str(self.home / _from_home(part)) for part in text.split("::"))
        matches = [self._matches(pattern) for pattern in patterns(whole)]
        if not any(matches):
            what = "file matches this pattern" if glob.has_magic(text) else "such file or folder"
            raise ParameterError(f"{text}: no {what} in {self.home}")
        return whole

    def _matches(self, pattern: str) -> bool:
        """Return whether there is anything of this name or pattern; all of it lies inside, or ParameterError."""
        matches = glob_matches(pattern)
        for match in [pattern, *matches]:
            self.inside(match)
        return bool(matches) or os.path.exists(pattern)

    def target(self, typed: str, audit: Path) -> Path:
        """Return where to export ``audit`` to by the name ``typed``, if nothing is lost there.

        A new name, or that of an earlier export of this audit. Raises ParameterError for any other.
        """
        text, path = typed.strip(), self.inside(typed)
        for folder in (path, *path.parents):
            if os.path.isfile(folder / DATABASE_NAME):
                raise ParameterError(f"{text}: lies in the audit {self.name(folder)}; give another place")
        loss = what_is_lost(path, str(audit.resolve()))
        if loss:
            raise ParameterError(f"{text}: {loss}; give another name")
        return path

    def encoder(self, typed: str) -> str:
        """An encoder's specification (:mod:`cfbd_core.embedding.encoders`) with whole paths, if they lie inside."""
        name, at, checkpoint = typed.strip().partition("@")
        if not name.startswith("hf-hub:"):
            name = self._model(name.removeprefix("local-dir:"))
        return f"{name}@{self.inside(checkpoint)}" if at else name

    def _model(self, name: str) -> str:
        """Return a model's name as it is, a model's folder as a path that lies inside."""
        is_path = name.startswith(("/", "~", ".")) or ".." in Path(name).parts or os.path.exists(name)
        inside = self.inside(name)
        return str(inside) if is_path or os.path.exists(inside) else name

    def audits(self) -> list[Path]:
        """Audits in the roots, at most ``MOST_FOLDERS_DEEP`` folders down, by name."""
        folders = {self.audit} if self.audit is not None else set()
        for root in self.roots:
            folders |= set(_audits_below(root, MOST_FOLDERS_DEEP))
        return sorted(path for path in folders if os.path.isfile(path / DATABASE_NAME))

    def name(self, path: Path) -> str:
        """A path as a person would say it, and as :meth:`inside` reads it: from the first root if it lies there."""
        is_below = path != self.home and path.is_relative_to(self.home)
        return str(path.relative_to(self.home) if is_below else path)


def _from_home(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ParameterError(f"{text}: no such user") from error


def _audits_below(folder: Path, depth: int) -> list[Path]:
    # os.path, here and above: Path.is_file raises where a folder may not be entered.
    if os.path.isfile(folder / DATABASE_NAME):
        return [folder]
    if depth == 0:
        return []
    try:
        with os.scandir(folder) as entries:
            below = [
                Path(entry.path)
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            ]
    except OSError:
        return []
    return [audit for child in below for audit in _audits_below(child, depth - 1)]
