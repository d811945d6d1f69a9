"""A CSV file as physical lines: its encoding, how its lines end, and a bound for each."""

from __future__ import annotations

import gzip
import io
import zlib
from collections import deque
from pathlib import Path
from typing import IO, cast

from cfbd_core.errors import SourceError

MAX_RECORD_LINES = 256  # what follows an unclosed quote is read again that often
MAX_RECORD_CHARS = 1 << 22
HEAD_BYTES = 1 << 16  # where the encoding and the end of a line are looked for


class RecordTooLong(Exception):
    """A record of more lines or letters than any that is meant: (reason, detail) of its skip."""


class Lines:
    """Physical lines, with those of the current record at hand in case it is none."""

    def __init__(self, text: IO[str]) -> None:
        self.number = 1  # of the current record's first line
        self.record: list[str] = []
        self._text = text
        self._again: deque[str] = deque()
        self._chars = 0

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._text.readline(MAX_RECORD_CHARS)
        if not line:
            raise StopIteration
        self.record.append(line)
        self._chars += len(line)
        if self._chars >= MAX_RECORD_CHARS:
            self._pass_over_rest()
            raise RecordTooLong("record too long", f"more than {MAX_RECORD_CHARS:,} letters")
        if len(self.record) > MAX_RECORD_LINES:
            raise RecordTooLong("malformed quotes", f"no closing quote within {MAX_RECORD_LINES} lines")
        return line

    def peek(self) -> str:
        """Return the next line without taking it; '' at the end."""
        line = self._text.readline(MAX_RECORD_CHARS)
        if line:
            self._again.append(line)
        return line

    def accept(self) -> None:
        """Go on behind the record."""
        self.number += len(self.record)
        self.record.clear()
        self._chars = 0

    def reject(self) -> str:
        """Go on behind the record's first line only, and return it."""
        first = self.record[0]
        self._again.extendleft(reversed(self.record[1:]))
        del self.record[1:]
        self.accept()
        return first

    def _pass_over_rest(self) -> None:
        """Pass over the rest of a line that was cut, without holding it."""
        rest = self.record[-1]
        while len(rest) >= MAX_RECORD_CHARS and not rest.endswith(("\n", "\r")):
            rest = self._text.readline(MAX_RECORD_CHARS)
        self.record[-1] += "\n"  # whoever reads it again knows that


def open_text(path: Path) -> IO[str]:
    """Open a table as text: UTF-8 or, by its byte order mark, UTF-16; bytes that are neither stay marked.

    Lines end as the first one does: a carriage return alone ends none where the first ends with a line feed.
    """
    try:
        with _open_bytes(path) as file:
            start = file.read(HEAD_BYTES)
    except EOFError:
        start = b""
    except (OSError, zlib.error) as error:
        raise SourceError(f"{path} cannot be read ({error}).") from None
    wide = start[:2] in (b"\xff\xfe", b"\xfe\xff")
    encoding, errors = ("utf-16", "strict") if wide else ("utf-8-sig", "surrogateescape")
    newline = _newline(start.decode(encoding, "replace"))
    return io.TextIOWrapper(_open_bytes(path), encoding=encoding, errors=errors, newline=newline)


def _newline(start: str) -> str:
    first = start.find("\r")
    alone = 0 <= first < len(start) - 1 and start[first + 1] != "\n"
    return "\r" if alone and "\n" not in start[:first] else "\n"


def _open_bytes(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix.lower() == ".gz" else open(path, "rb")
