"""What the server was started with, and which paths it may touch."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path

from cfbd_core.audit import DATABASE_NAME
from cfbd_core.errors import ParameterError

AUDITS = "audits"  # new audits go to this folder of the first root
EXPORTS = "exports"
JOBS = ".cfbd-jobs"
DEPTH = 3  # folders below a root that are searched for audits


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
        """The path that ``typed`` means, relative ones from the first root.

        Raises ParameterError where it leads outside the roots, by ``..`` or by a link.
        """
        text = typed.strip()
        if not text or "\0" in text:
            raise ParameterError("give a path")
        path = Path(os.path.realpath(self.home / Path(text).expanduser()))
        if not any(path.is_relative_to(root) for root in self.roots):
            raise ParameterError(
                f"{text}: lies outside the folders this server was started with "
                f"({', '.join(map(str, self.roots))}); start it with `cfbd app --root FOLDER` to allow another"
            )
        return path

    def source(self, typed: str) -> str:
        """A source of pairs that ``typed`` names – file, folder or glob – if all of it lies inside."""
        text = typed.strip()
        if not glob.has_magic(text) or (self.home / text).exists():
            path = self.inside(text)
            if not path.exists():
                raise ParameterError(f"{text}: no such file or folder in {self.home}")
            return str(path)
        pattern = str(self.home / Path(text).expanduser())
        matches = glob.glob(pattern, recursive=True)
        if not matches:
            raise ParameterError(f"{text}: no file matches this pattern in {self.home}")
        for match in matches:
            self.inside(match)
        return pattern

    def check_encoder(self, typed: str) -> None:
        """Raise ParameterError where an encoder's specification names a file outside the roots."""
        name, at, checkpoint = typed.partition("@")
        if at:
            self.inside(checkpoint)
        elif (self.home / name).expanduser().exists() or name.startswith(("/", "~", ".")):
            self.inside(name)

    def audits(self) -> list[Path]:
        """Audits in the roots, at most ``DEPTH`` folders down, by name."""
        found = {self.audit} if self.audit is not None else set()
        for root in self.roots:
            found |= set(_audits_below(root, DEPTH))
        return sorted(path for path in found if (path / DATABASE_NAME).is_file())

    def name(self, path: Path) -> str:
        """A path as a person would say it: from the root it lies in."""
        for root in self.roots:
            if path != root and path.is_relative_to(root):
                return str(path.relative_to(root))
        return str(path)


def _audits_below(folder: Path, depth: int) -> list[Path]:
    if (folder / DATABASE_NAME).is_file():
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
