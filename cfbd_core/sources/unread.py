"""What a reader saw and did not read: counted by kind, a few examples named, and listed in every report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cfbd_core.sources.cells import printable

if TYPE_CHECKING:
    from cfbd_core.store.entries import UnreadEntry, UnreadKind

EXAMPLES = 3
MOST_NOTES = 10
LONGEST_EXAMPLE = 300

# Every kind there is, in the order of the report, and what a person can do about it.
ADVICE = {
    "further caption": "--captions all makes each caption a pair of its own",
    "further caption column": "--caption-col names the one to read",
    "further image column": "--image-col names the one to read",
    "further picture of a record": "give each picture a name and a text of its own",
    "further text of a record": "one text a picture is read",
    "other member of a record": "pictures, txt, caption, json and cls are read",
    "member without an ending": "members of a record are called KEY.jpg and KEY.txt",
    "link or device in a tar": "pack the tar again with --hard-dereference --dereference",
    "bytes after the end of a tar": "no member begins there",
    "table without pairs": "--caption-col and --image-col name its columns, if it has some",
    "file of another format": "audit it by itself, or name its format with --format",
    "table beside its shard": "it describes pairs that are read",
    "file that tells of a poisoned copy": "how `cfbd attack` or `cfbd demo` made the pairs",
    "picture in no record": "no row, text or record that was read belongs to it",
    "text file": "no picture that was read belongs to it",
    "json without a picture": "it describes a set, or a picture that is not there",
    "picture of a kind that is not read": "convert it to JPEG or PNG",
    "file of a format that is not read": "write it as CSV or Parquet",
    "archive": "unpack it",
    "other file": "",
    "hidden file": "its name begins with . or _",
    "hidden folder": "its name begins with .",
    "audit in the source": "an audit is no source",
    "folder that is linked twice": "it is read once",
    "link out of the data": "it leads above the source or into the system",
    "broken link": "what it leads to is not there",
    "pipe or device": "copy what it gives into a file",
    "folder that may not be read": "mend its permissions",
}


class Unread:
    """Counts by kind (those of ``ADVICE``), and sentences about how the source was read."""

    def __init__(self) -> None:
        self._notes: dict[str, None] = {}
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}
        self._read: dict[
            str, dict[str, str]
        ] = {}  # "caption" or "image" -> the columns it is read from -> a file
        self._left: set[tuple[str, str]] = set()

    def add(self, kind: str, example: str, count: int = 1) -> None:
        """Count ``count`` more of a kind; the first few examples are kept."""
        self._counts[kind] = self._counts.get(kind, 0) + count
        examples = self._examples.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(printable(example)[:LONGEST_EXAMPLE])

    def note(self, sentence: str) -> None:
        """Keep a sentence, once; not more than a person reads."""
        if len(self._notes) < MOST_NOTES:
            self._notes[printable(sentence)[:LONGEST_EXAMPLE]] = None

    def columns(self, role: str, chosen: str | None, others: Iterable[str], file: str) -> None:
        """Remember which column of a file is read as ``role``, and count those that could be it, each once."""
        if chosen is None:
            return
        self._read.setdefault(role, {}).setdefault(chosen, file)
        for name in others:
            self.field(role, name, f"{file}, which is read from {chosen!r}")

    def field(self, role: str, name: str, where: str) -> None:
        """Count a column or a JSON field that could be read as ``role`` ("caption", "image"), once."""
        if (role, name) not in self._left:
            self._left.add((role, name))
            self.add(f"further {role} column", f"{name!r} of {where}")

    def to_dict(self) -> UnreadEntry:
        """Return what an audit keeps: ``{"kinds": [{kind, count, advice, examples}], "notes": [sentence]}``."""
        kinds: list[UnreadKind] = [
            {"kind": kind, "count": self._counts[kind], "advice": advice, "examples": self._examples[kind]}
            for kind, advice in ADVICE.items()
            if kind in self._counts
        ]
        differing = [_differing(role, files) for role, files in self._read.items() if len(files) > 1]
        return {"kinds": kinds, "notes": [*self._notes, *differing]}


def _differing(role: str, files: dict[str, str]) -> str:
    shown = ", ".join(f"{column!r} in {file}" for column, file in list(files.items())[:EXAMPLES])
    return printable(
        f"the {role} is read from different columns: {shown}; --{role}-col names one for all files"
    )
