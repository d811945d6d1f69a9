"""Records of a CSV file one at a time: a broken quote costs its line, not the rest of the file."""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from cfbd_core.errors import SourceError
from cfbd_core.sources import columns as usual
from cfbd_core.sources.base import BATCH_ROWS, Skip
from cfbd_core.sources.csv_lines import MAX_RECORD_CHARS, Lines, RecordTooLong

DAMAGE = (OSError, zlib.error, UnicodeError)
DELIMITERS = (",", "\t", ";", "|")
TOKENS = re.compile(r"[^\t]+\.\w+#\d+\t")  # Flickr8k.token.txt: no header, a number behind the picture's name
SPACE_AND_QUOTE = re.compile(r'\s+"')
LINE_ENDS = re.compile(r"[\r\n]+")
LINE_BREAK = "\ue000"  # stands for one while a line is parsed; no text uses it


@dataclass
class Block:
    """Up to ``BATCH_ROWS`` whole records: fields, first lines, numbers in the file; and the broken ones.

    ``parts`` separates rows that share a number: an older version read them as one.
    """

    rows: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    parts: dict[int, int] = field(default_factory=dict)  # row -> 2, 3, …
    skips: list[Skip] = field(default_factory=list)


class Records:
    """The records of one open text: ``header`` first, then :meth:`blocks`.

    ``count`` is the number of records after the header so far, broken ones included; blank lines are none.
    Give :meth:`watch` the place of the image column before the records are read.
    """

    def __init__(self, text: IO[str], path: Path, named: Sequence[str], name: str = "") -> None:
        self.count = 0
        self._path, self._file = path, name or path.name
        self._lines = Lines(text)
        self._image = 0
        self._is_picture: Callable[[str, str], bool | None] = lambda _cell, _own: None
        self._melted = 0  # the last line of a record that was taken apart
        self._part = 1  # rows of it so far
        # The limit belongs to the whole process; the caption's own limit is checked later, with a reason.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD_CHARS))
        try:
            first = self._lines.peek()
            if not first.strip():
                raise SourceError(f"{path} is empty or starts with a blank line; a header line is needed.")
            self.has_tokens = TOKENS.match(first) is not None
            self._form: dict[str, Any] = {"delimiter": _delimiter(first, path, named), "strict": True}
            if self.has_tokens:
                self._form = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
                self.header = ["image", "caption"]
            else:
                self.header = next(self._parsed(self._lines))
                self._lines.accept()
        except (csv.Error, RecordTooLong, EOFError, *DAMAGE) as error:
            raise SourceError(f"{path} line 1: the header cannot be read ({error}).") from None
        if self.header[1:] and all(name.startswith(" ") for name in self.header[1:]):
            self._form["skipinitialspace"] = True
            self.header = next(self._parsed([first]))
        self._reader = self._parsed(self._lines)

    def watch(self, image: int, is_picture: Callable[[str, str], bool | None]) -> None:
        """Judge rows by their image cell; ``is_picture`` says whether its picture is there, None if it can be none.

        It is given the cell and the image cell of the record that the line is in.
        """
        self._image, self._is_picture = image, is_picture

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
        except (csv.Error, RecordTooLong) as error:
            self._mend(block, line, error)
            return True
        except EOFError:
            detail = "the compressed file ends too early; what comes after this line is missing"
            block.skips.append(Skip(None, f"{self._file} line {line}", "truncated file", detail))
            return False
        except DAMAGE as error:
            raise SourceError(f"{self._path} line {line}: the file is damaged ({error}).") from None
        if len(self._lines.record) > 1 and self._takes_apart(block, line, fields):
            return True
        if ' "' in self._lines.record[0] and any(map(SPACE_AND_QUOTE.match, fields)):
            fields = self._without_spaces(fields)
        self._lines.accept()
        if fields:
            self._add(block, line, fields)
        return True

    def _add(self, block: Block, line: int, fields: list[str]) -> None:
        if len(fields) != len(self.header):
            self._skip(block, line, "ragged row", f"{len(fields)} fields, the header has {len(self.header)}")
            return
        number, part = self._number(line)
        if part > 1:
            block.parts[len(block.rows)] = part
        block.rows.append(fields)
        block.lines.append(line)
        block.numbers.append(number)

    def _skip(self, block: Block, line: int, reason: str, detail: str) -> None:
        self._number(line)
        block.skips.append(Skip(None, f"{self._file} line {line}", reason, detail))

    def _number(self, line: int) -> tuple[int, int]:
        """Number a record as older versions did, which read all lines of a quote that is not closed as one."""
        self._part = self._part + 1 if line <= self._melted else 1
        self.count += self._part == 1
        return self.count - 1, self._part

    def _mend(self, block: Block, line: int, error: Exception) -> None:
        """Read the line that is no record by itself, or skip it."""
        first = self._lines.reject()
        if isinstance(error, RecordTooLong):
            self._skip(block, line, *error.args)
            return
        if "new-line character" not in str(error):
            detail = f"{error}; a quote inside a quoted field is written twice"
            self._skip(block, line, "malformed quotes", detail)
            return
        body = first.rstrip("\r\n")
        try:
            fields = next(self._parsed([body.replace("\r", LINE_BREAK)]))
        except csv.Error:
            fields = []
        if LINE_BREAK not in body and len(fields) == len(self.header):
            self._add(block, line, [value.replace(LINE_BREAK, "\r") for value in fields])
        else:
            parts = [part for part in LINE_ENDS.split(body) if part]
            rows = len(parts) > 1 and None not in (self._picture(part, parts[0]) for part in parts)
            detail = (
                "lines that end in different ways; let all end alike"
                if rows
                else "a carriage return in a field without quotes; quote the field"
            )
            self._skip(block, line, "line break in a field", detail)
            block.skips += [block.skips[-1]] * (len(parts) - 1 if rows else 0)  # as many as there are rows
        self.count += (
            sum(1 for part in body.split("\r") if part) - 1
        )  # older versions took it for the end of a line

    def _takes_apart(self, block: Block, line: int, fields: list[str]) -> bool:
        """Skip a record of several lines, if it is none: a quote that is not closed has taken in the rows that follow.

        Its lines but the first are read again where all of them are rows that name a picture that is there. Else they
        are skipped: they may be rows, or a caption that speaks of pictures.
        """
        lines = [(line + at, text) for at, text in enumerate(self._lines.record) if text.strip()]
        own = fields[self._image] if self._image < len(fields) else ""
        pictures = [self._picture(text, own) for _, text in lines]
        if sum(picture is not None for picture in pictures) < 2:
            return False
        last = line + len(self._lines.record) - 1
        if all(pictures):
            self._lines.reject()
            lines = lines[:1]
        else:
            self._lines.accept()
        for number, _ in lines:
            self._skip(
                block, number, "malformed quotes", "a quote that is not closed takes in the lines below"
            )
            self._melted = max(
                self._melted, last
            )  # from the second line on, they share the first one's number
        return True

    def _picture(self, line: str, own: str) -> bool | None:
        """Say whether the picture that a line names as a row is there, or None where it names none.

        ``own`` is the image cell of the record that the line is in.
        """
        cells = line.rstrip("\r\n").split(self._form["delimiter"])
        if len(cells) < len(self.header):
            return None
        places = (
            self._image,
            self._image - len(self.header),
        )  # captions may hold the delimiter, on either side
        answers = [self._is_picture(cells[place].strip(' "'), own) for place in places]
        return True if True in answers else answers[0] if answers[0] is not None else answers[1]

    def _without_spaces(self, fields: list[str]) -> list[str]:
        """Read the record again with quotes that follow a space, where it has the same fields so."""
        try:
            again = next(self._parsed(self._lines.record, skipinitialspace=True))
        except (csv.Error, StopIteration):
            return fields
        return again if len(again) == len(self.header) else fields

    def _parsed(self, lines: Iterable[str], **more: bool) -> Iterator[list[str]]:
        return csv.reader(lines, **(self._form | more))


def _delimiter(first: str, path: Path, named: Sequence[str]) -> str:
    """Choose the delimiter that makes the most known column names of the first line."""
    if path.name.lower().endswith((".tsv", ".tab", ".tsv.gz")):
        return "\t"
    known = {*usual.IMAGE, *usual.CAPTION, *usual.CAPTIONS, *usual.KEY, *usual.URL, *map(str.lower, named)}

    def score(delimiter: str) -> tuple[int, int]:
        try:
            names = next(csv.reader([first.rstrip("\r\n")], delimiter=delimiter))
        except csv.Error:
            return 0, 0
        return sum(name.strip().lower() in known for name in names), len(names)

    return max(DELIMITERS, key=score)
