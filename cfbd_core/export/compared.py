"""The pictures of an export are those that were embedded: what is read is compared, and files that are only named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from cfbd_core.embedding.shards import EmbeddingFolder
from cfbd_core.errors import SourceError
from cfbd_core.export.tally import Tally
from cfbd_core.machine.stamps import is_unchanged
from cfbd_core.machine.workers import usable_cores
from cfbd_core.pictures.digests import as_hashes
from cfbd_core.pictures.images import CHANGED, BadImage
from cfbd_core.pictures.picture import ANEW, MOVED, Picture
from cfbd_core.pictures.place import places_of

DIGEST = "image_digest"  # a column beside those of ``audit_pairs``
LEAVE_OUT = "leave the pair out with `cfbd decide` (remove)"


def with_digests(
    batches: Iterable[pa.RecordBatch],
    shards: EmbeddingFolder,
    tally: Tally,
    check_files: bool,
    are_read: bool = False,
) -> Iterator[pa.RecordBatch]:
    """Yield the batches with the hash of what was embedded of every picture, where any is known.

    With ``check_files`` pictures that are files of their own are compared here, as a table only names them: those
    whose stamp is another than when they were embedded are read. Others are counted as not compared, unless
    ``are_read``: whoever reads a picture compares it. Raises SourceError, which names the file.
    """
    for batch in batches:
        digests = shards.image_hashes(batch.column("row").to_numpy())
        tally.compared["not known"] += int((digests == b"").sum()) - batch.column("image").null_count
        if (digests == b"").all():
            yield batch
            continue
        hashes = as_hashes(digests)
        if check_files:
            _check_files(batch, hashes, shards, tally)
        elif not are_read:
            tally.compared["not compared"] += sum(digest != b"" for digest in hashes)
        yield batch.append_column(DIGEST, pa.array(hashes, pa.binary()))


def _check_files(batch: pa.RecordBatch, digests: list[bytes], shards: EmbeddingFolder, tally: Tally) -> None:
    stamps = shards.image_stamps(batch.column("row").to_numpy()).tolist()
    keys = batch.column("key").to_pylist()
    stamp_of_pair = {
        Picture(place, digest): (key, stamp)
        for key, place, digest, stamp in zip(keys, places_of(batch), digests, stamps, strict=True)
        if place.file and place.is_own_file and digest
    }
    others = [one for one, (_, stamp) in stamp_of_pair.items() if not is_unchanged(one.file, stamp)]
    tally.compared["unchanged"] += len(stamp_of_pair) - len(others)
    with ThreadPoolExecutor(usable_cores()) as pool:
        for picture, bad in zip(others, pool.map(_fault, others), strict=True):
            if bad is not None:
                raise unreadable(stamp_of_pair[picture][0], picture.file, bad)
    tally.compared["read"] += len(others)


def _fault(picture: Picture) -> BadImage | None:
    try:
        picture.read()
    except BadImage as bad:
        return bad
    return None


def unreadable(key: str, image: str, bad: BadImage) -> SourceError:
    """Return the error of a picture that is not there, cannot be read, or is another one than was embedded."""
    if bad.reason == CHANGED:
        return SourceError(f"key {key!r}: its picture in {image!r} {CHANGED}; {ANEW}")
    way = f"put it back, {MOVED}" if bad.reason == "missing file" else "put the picture back"
    return SourceError(
        f"key {key!r}: its picture in {image!r} cannot be read ({bad.reason}); {way}, or {LEAVE_OUT}"
    )
