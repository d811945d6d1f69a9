"""WebDataset shards written so that the same records give the same bytes."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cfbd_core.files import written_beside

Record = tuple[str, Mapping[str, bytes]]  # key; extension -> bytes


def write_tar(path: Path, records: Iterable[Record]) -> int:
    """Write records as ``KEY.EXT`` members, beside ``path`` and renamed at the end; returns their number."""
    count = 0
    with written_beside(path) as beside, tarfile.open(beside, "w", format=tarfile.USTAR_FORMAT) as tar:
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
