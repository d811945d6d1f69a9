"""Small fixtures made on the fly, and a reader of everything a source gives."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cfbd_core.sources import BATCH_ROWS, PAIR_SCHEMA, Skip, SourceOptions, open_source


@dataclass
class Everything:
    rows: list[dict[str, Any]]
    skips: list[Skip]
    image_emb: np.ndarray | None
    text_emb: np.ndarray | None
    name: str
    told: dict[str, Any]  # what was seen and not read, as an audit keeps it
    shards: dict[str, str]  # key -> the shard of its last pair

    @property
    def unread(self) -> dict[str, int]:
        return {one["kind"]: one["count"] for one in self.told["kinds"]}

    @property
    def examples(self) -> dict[str, list[str]]:
        return {one["kind"]: one["examples"] for one in self.told["kinds"]}

    @property
    def captions(self) -> dict[str, str]:
        return {row["key"]: row["caption"] for row in self.rows}

    @property
    def reasons(self) -> list[str]:
        return [skip.reason for skip in self.skips]


def read(source: str | Path, **options: Any) -> Everything:
    """Read a source whole, checking what every batch promises."""
    opened = open_source(source, SourceOptions(**options))
    rows: list[dict[str, Any]] = []
    skips: list[Skip] = []
    shards: dict[str, str] = {}
    embeddings: list[list[np.ndarray]] = [[], []]
    for batch in opened.batches():
        assert batch.pairs.schema.equals(PAIR_SCHEMA)
        assert batch.pairs.num_rows <= BATCH_ROWS
        batch.pairs.validate(full=True)
        rows += batch.pairs.to_pylist()
        shards |= dict.fromkeys(batch.pairs["key"].to_pylist(), batch.shard)
        skips += batch.skips
        for found, part in zip(embeddings, (batch.image_emb, batch.text_emb), strict=True):
            if part is not None:
                assert len(part) == batch.pairs.num_rows
                found.append(part)
    assert opened.has_embeddings == bool(embeddings[0])
    image_emb, text_emb = (np.concatenate(parts) if parts else None for parts in embeddings)
    told = opened.unread.to_dict()
    return Everything(rows, skips, image_emb, text_emb, opened.name, told, shards)


def picture_bytes(value: int = 0, kind: str = "PNG") -> bytes:
    """Encode a small picture whose first channel is ``value``."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 40, 90)).save(stream, kind)
    return stream.getvalue()


def write_pictures(folder: Path, *names: str) -> None:
    for value, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture_bytes(value))


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def record(key: str, caption: str, value: int = 0, **meta: Any) -> list[tuple[str, bytes]]:
    """Return the three members of an img2dataset record."""
    return [
        (f"{key}.jpg", picture_bytes(value, "JPEG")),
        (f"{key}.txt", caption.encode()),
        (f"{key}.json", json.dumps({"key": key, "caption": caption, **meta}).encode()),
    ]


def damaged_tar(path: Path, damage: str) -> Path:
    """Write one good record, then a member whose size is negative or whose header asks for endless reading."""
    good = write_tar(path, record("good", "fine")).read_bytes()
    end = len(good.rstrip(b"\0")) // 512 * 512 + 512
    bad = tarfile.TarInfo("bad.jpg")
    if damage == "pax":
        bad.pax_headers = {"size": "-1024"}
        header = bad.tobuf(tarfile.PAX_FORMAT)
    else:
        bad.size = 1 << 40 if damage == "long name" else -512
        bad.type = {"member": tarfile.REGTYPE, "folder": tarfile.DIRTYPE}.get(
            damage, tarfile.GNUTYPE_LONGNAME
        )
        header = bad.tobuf(tarfile.GNU_FORMAT)
    rest = write_tar(path, record("more", "lost")).read_bytes()
    path.write_bytes(good[:end] + header + rest)
    return path
