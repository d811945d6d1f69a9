"""WebDataset shards: written so that the same records give the same bytes, read so that none loops."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from cfbd_core.machine.files import written_beside

Record = tuple[str, Mapping[str, bytes]]  # key; extension -> bytes

LOADED_ENDINGS = ("jpg", "jpeg", "png", "webp")  # of pictures that open_clip's loader takes from a tar
PATTERN_SIGNS = ("{", "}", ",", "::", "$", "\\")  # in a path of tars, which open_clip takes for a pattern
BLOCK = tarfile.BLOCKSIZE
PADDING_CHUNK_BYTES = 1 << 20  # bytes of padding that are looked through at a time
MAX_HEADER_BYTES = 1 << 20  # of a long name or of pax records; tarfile reads them into memory
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


def write_tar(path: Path, records: Iterable[Record]) -> int:
    """Write records as ``KEY.EXT`` members, beside ``path`` and renamed at the end; returns their number."""
    count = 0
    with written_beside(path) as beside, tarfile.open(beside, "w", format=tarfile.GNU_FORMAT) as tar:
        for key, parts in records:
            for ending, data in parts.items():
                member = tarfile.TarInfo(f"{key}.{ending}")  # time 0, owner 0: nothing of this machine
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            count += 1
    return count


def json_bytes(values: Mapping[str, Any]) -> bytes:
    """Encode a record's JSON part."""
    return json.dumps(values, ensure_ascii=False, allow_nan=False).encode()


class DamagedTar(tarfile.ReadError):
    """A tar whose sizes lead backwards or nowhere, on which Python before 3.11.14 reads for ever."""


def tar_members(file: IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Yield the members of an uncompressed tar and where each ends, from where ``file`` stands, holding none.

    Raises DamagedTar (a negative size, a place that does not grow, an endless name) and what ``tarfile``
    raises: its own errors, ValueError and EOFError. Where a later header is no header, it just ends.
    """
    place = -1
    with tarfile.open(fileobj=file, mode="r:", tarinfo=_Member) as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # the list would grow with the tar
            if member.size < 0 or member.offset_data <= place:
                raise DamagedTar(f"damaged tar: member {member.name!r} has {member.size} bytes")
            place = member.offset_data
            yield member, tar.offset


class _Member(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        member = super().frombuf(buf, encoding, errors)
        if member.size < 0 or (member.type in _HEADERS and member.size > MAX_HEADER_BYTES):
            raise DamagedTar(f"damaged tar: the header of {member.name!r} says {member.size} bytes")
        return member


def begins_tar(file: IO[bytes], start: int) -> bool:
    """Say whether a member's header stands at byte ``start``."""
    file.seek(start)
    try:
        tarfile.TarInfo.frombuf(file.read(BLOCK), tarfile.ENCODING, "surrogateescape")
    except (tarfile.TarError, ValueError):
        return False
    return True


def next_data(file: IO[bytes], start: int) -> int | None:
    """Return the first byte at ``start`` or later that is not zero, or None; holes of the file are not read."""
    number = file.fileno()
    position = os.lseek(number, 0, os.SEEK_CUR)
    try:
        while True:
            start = os.lseek(number, start, os.SEEK_DATA)
            data = os.pread(number, PADDING_CHUNK_BYTES, start)
            if rest := data.lstrip(b"\0"):
                return start + len(data) - len(rest)
            start += len(data)
    except OSError:  # nothing but a hole up to the end
        return None
    finally:
        os.lseek(number, position, os.SEEK_SET)  # where the buffer believes to be


def escaped_key(key: str) -> str:
    """Return a key as a file name's stem that every reader of tars takes whole. Different keys stay so.

    ``.`` would end it, ``/`` make a folder; what begins with two underlines is hidden to Hugging Face ``datasets``.
    """
    stem = re.sub(r"[%./\\\x00-\x1f\x7f]", lambda match: f"%{ord(match[0]):02X}", key)
    return f"%5F{stem[1:]}" if stem.startswith("__") else stem
