"""WebDataset shards: written so that the same records give the same bytes, read so that none loops."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from cfbd_core.files import written_beside

Record = tuple[str, Mapping[str, bytes]]  # key; extension -> bytes

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


def tar_members(file: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """Yield the members of an uncompressed tar one by one, holding none.

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
            yield member


class _Member(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        member = super().frombuf(buf, encoding, errors)
        if member.size < 0 or (member.type in _HEADERS and member.size > MAX_HEADER_BYTES):
            raise DamagedTar(f"damaged tar: the header of {member.name!r} says {member.size} bytes")
        return member


def escaped_key(key: str) -> str:
    """Return a key as a file name's stem: ``.`` would end it, ``/`` make a folder. Different keys stay so."""
    return re.sub(r"[%./\\\x00-\x1f\x7f]", lambda found: f"%{ord(found[0]):02X}", key)
