"""What every cell of a detection benchmark starts from: a clean copy of the source, embedded once.

Pictures and captions of pairs that an attack leaves alone keep these embeddings in all cells; only what
an attack changes is encoded again.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from cfbd_core.attacks import resized
from cfbd_core.audit.audit import Audit
from cfbd_core.config import EmbedParams
from cfbd_core.embedding.encoders import Encoder
from cfbd_core.errors import AuditError
from cfbd_core.machine.places import DATABASE_NAME
from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.pictures.images import decode_image, read_image_bytes
from cfbd_core.pictures.place import COLUMNS, place_at, places_of
from cfbd_core.poisoning.copies import CopyOptions, attack_copy
from cfbd_core.poisoning.place import MANIFEST
from cfbd_core.poisoning.plan import CONTROL, PoisonParams
from cfbd_core.poisoning.source_pairs import SourcePairs
from cfbd_core.sources import SourceOptions
from cfbd_core.store.entries import EmbeddingEntry


@dataclass(frozen=True)
class Base:
    """N pairs and their embeddings, none of them known to be poisoned.

    ``record_of`` int64 (N,) numbers the pairs' pictures; ``image`` and ``text`` float16 (N, d) are the
    embeddings by the encoder ``encoder`` (its specification) with the hash ``sha256``. ``left_out`` counts the
    pairs whose truth says that they are poisoned: they would count as clean, and be false alarms when caught.
    """

    keys: list[str]
    captions: list[str]
    record_of: np.ndarray
    image: np.ndarray
    text: np.ndarray
    encoder: str
    sha256: str
    pictures: pa.Table
    left_out: int = 0

    def picture(self, pair: int) -> Image.Image:
        """Return the picture of a pair at the encoder's input size."""
        return resized(decode_image(read_image_bytes(place_at(self.pictures, pair))))

    def sharing(self, pairs: SourcePairs, several: bool) -> Base:
        """Number the pictures as the source does, whose records may share one; the copy holds one a record.

        ``several``: the keys are those of captions, ``RECORD#i``.
        """
        image_of = dict(zip((pairs.record_keys[i] for i in pairs.record_of), pairs.image_of, strict=True))
        own = self.record_of + pairs.image_of.max() + 1  # for a key that the copy had to change
        records = (key.rpartition("#")[0] if several else key for key in self.keys)
        shared = [image_of.get(record, alone) for record, alone in zip(records, own, strict=True)]
        return replace(self, record_of=np.array(shared, np.int64))


WHOLE = CopyOptions()


def make_base(
    source: str,
    folder: Path,
    *,
    encoder: Encoder,
    copy: CopyOptions = WHOLE,
    embed: EmbedParams | None = None,
    progress: Progress = no_progress,
) -> Base:
    """Copy, ingest and embed ``source`` under ``folder``, or go on where that was stopped.

    ``copy`` says which captions and which keys.
    Raises what the steps raise; AuditError where the folder holds something else.
    """
    copied_to, embedded_in = folder / "copy", folder / "audit"
    for part, name in ((copied_to, MANIFEST), (embedded_in, DATABASE_NAME)):
        if part.is_dir() and not (part / name).exists():
            shutil.rmtree(part)  # killed before it was said what it is to hold
    attack_copy(source, copied_to, PoisonParams(CONTROL), copy, progress)
    audit = Audit.open_or_create(embedded_in)
    audit.ingest(copied_to, SourceOptions(captions=copy.captions))
    return read_base(audit, audit.embed(encoder, embed, progress))


def read_base(audit: Audit, record: EmbeddingEntry | None = None) -> Base:
    """Read an audit that is ingested and embedded as a base, without pairs that are known to be poisoned.

    Raises AuditError before it is embedded.
    """
    record = record or audit.state.steps()["embedding"]
    if record is None:
        raise AuditError(f"{audit.folder}: not embedded; run `cfbd embed` first")
    every = audit.pairs(order_by="row")
    pairs = every.filter(pc.invert(every["poisoned"].fill_null(False)))
    rows = pairs["row"].to_numpy()
    pictures = pairs.select(list(COLUMNS))
    _, record_of = np.unique(
        [f"{place.file or None}\0{place.offset}" for place in places_of(pictures)], return_inverse=True
    )
    image, text = (
        np.concatenate(list(shards))[rows] for shards in (audit.shards.images(), audit.shards.texts())
    )
    return Base(
        keys=pairs["key"].to_pylist(),
        captions=pairs["caption"].to_pylist(),
        record_of=record_of.astype(np.int64),
        image=image,
        text=text,
        encoder=record["encoder"],
        sha256=record["sha256"],
        pictures=pictures,
        left_out=every.num_rows - pairs.num_rows,
    )
