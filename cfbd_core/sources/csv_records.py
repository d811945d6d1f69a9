"""Records of a CSV file one at a time: a broken quote costs its line, not the rest of the file."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from cfbd_core.errors import SourceError
from cfbd_core.sources import columns as usual
from cfbd_core.sources.base import BATCH_ROWS, Skip

MAX_RECORD_LINES = 256  # what follows an unclosed quote is read again that often
MAX_RECORD_CHARS = 1 << 22
DAMAGE = (OSError, zlib.error, UnicodeError)
DELIMITERS = (",", "\t", ";", "|")


@dataclass
class Block:
    """Up to ``BATCH_ROWS`` whole records: fields, first lines, numbers in the file; and the broken ones."""

    rows: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)


class Records:
    """The records of one open text: ``header`` first, then :meth:`blocks`.

    ``count`` is the number of records after the header so far, broken ones included; blank lines are none.
    """

    def __init__(self, text: IO[str], path: Path, named: Sequence[str]) -> None:
        self.path = path
        self.count = 0
        self._lines = _Lines(text)
        # The limit belongs to the whole process; the caption's own limit is checked later, with a reason.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD_CHARS))
        try:
            first = self._lines.peek()
            if not first.strip():
                raise SourceError(f"{path} is empty or starts with a blank line; a header line is needed.")
            self._reader = csv.reader(self._lines, delimiter=_delimiter(first, path, named), strict=True)
            self.header = next(self._reader)
        except (csv.Error, _RecordTooLong, EOFError, *DAMAGE) as error:
            raise SourceError(f"{path} line 1: the header cannot be read ({error}).") from None
        self._lines.accept()

    def blocks(self) -> Iterator[Block]:
        """Yield all records; raises SourceError where the rest of the file cannot be decoded."""
        block = Block()
        while self._take(block):
            if len(block.rows) == BATCH_ROWS or len(block.skips) == BATCH_ROWS:
                yield block
                block = Block()
        if block.rows or block.skips:
            yield block

    def _take(self, block: Block) -> bool:
        """Add the next record to the block; False at the end."""
        line = self._lines.number
        try:
            fields = next(self._reader)
        except StopIteration:
            return False
        except (csv.Error, _RecordTooLong) as error:
            self._lines.reject()
            detail = f"{error}; a quote inside a quoted field is written twice"
            block.skips.append(Skip(None, f"{self.path.name} line {line}", "malformed quotes", detail))
        except EOFError:
            detail = "the compressed file ends too early; what comes after this line is missing"
            block.skips.append(Skip(None, f"{self.path.name} line {line}", "truncated file", detail))
            return False
        except DAMAGE as error:
            raise SourceError(f"{self.path} line {line}: the file is damaged ({error}).") from None
        else:
            self._lines.accept()
            if not fields:
                return True
            if len(fields) == len(self.header):
                block.rows.append(fields)
                block.lines.append(line)
                block.numbers.append(self.count)
            else:
                detail = f"{len(fields)} fields, the header has {len(self.header)}"
                block.skips.append(Skip(None, f"{self.path.name} line {line}", "ragged row", detail))
        self.count += 1
        return True


class _RecordTooLong(Exception):
    def __str__(self) -> str:
        return f"no closing quote within {MAX_RECORD_LINES} lines"


class _Lines:
    """Physical lines, with those of the current record at hand in case it is none."""

    def __init__(self, text: IO[str]) -> None:
        self.number = 1  # of the current record's first line
        self._text = text
        self._again: deque[str] = deque()
        self._record: list[str] = []
        self._chars = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._text)
        self._record.append(line)
        self._chars += len(line)
        if len(self._record) > MAX_RECORD_LINES or self._chars > MAX_RECORD_CHARS:
            raise _RecordTooLong
        return line

    def peek(self) -> str:
        """Return the next line without taking it; '' at the end."""
        line = next(self._text, "")
        if line:
            self._again.append(line)
        return line

    def accept(self) -> None:
        """Go on behind the record."""
        self.number += len(self._record)
        self._record.clear()
        self._chars = 0

    def reject(self) -> None:
        """Go on behind the record's first line only."""
        self._again.extendleft(reversed(self._record[1:]))
        del self._record[1:]
        self.accept()


def open_text(path: Path) -> IO[str]:
    """Open a table as text: UTF-8 or, by its byte order mark, UTF-16; bytes that are neither stay marked."""
    try:
        with _open_bytes(path) as file:
            start = file.read(2)
    except EOFError:
        start = b""
    except (OSError, zlib.error) as error:
        raise SourceError(f"{path} cannot be read ({error}).") from None
    wide = start in (b"\xff\xfe", b"\xfe\xff")
    encoding, errors = ("utf-16", "strict") if wide else ("utf-8-sig", "surrogateescape")
    return io.TextIOWrapper(_open_bytes(path), encoding=encoding, errors=errors, newline="")


def _open_bytes(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix.lower() == ".gz" else open(path, "rb")


def _delimiter(first: str, path: Path, named: Sequence[str]) -> str:
    """Choose the delimiter that makes the most known column names of the first line."""
    if ".tsv" in path.suffixes or path.suffix == ".tab":
        return "\t"
    known = {
        *usual.IMAGE,
        *usual.CAPTION,
        *usual.CAPTIONS,
        *usual.KEY,
        *usual.URL,
        *(n.lower() for n in named),
    }

    def score(delimiter: str) -> tuple[int, int]:
        try:
            names = next(csv.reader([first.rstrip("\r\n")], delimiter=delimiter))
        except csv.Error:
            return 0, 0
        return sum(name.strip().lower() in known for name in names), len(names)

    return max(DELIMITERS, key=score)
