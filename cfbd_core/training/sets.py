"""What is trained on: pairs of an audit, of an export, or arrays."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from cfbd_core.embedding.transforms import Transform, transformed
from cfbd_core.errors import ParameterError, TrainingError
from cfbd_core.machine.places import real
from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.pictures.digests import as_hashes
from cfbd_core.pictures.images import CHANGED, BadImage, decode_image
from cfbd_core.pictures.picture import ANEW, Picture, digest_at
from cfbd_core.pictures.place import PicturePlace, places_of
from cfbd_core.sources import SourceOptions, open_source
from cfbd_core.store.training import SetOrigin
from cfbd_core.training.config import Subset

if TYPE_CHECKING:
    import torch

    from cfbd_core.audit.audit import Audit

PICTURES_AT_A_TIME = 256  # pictures that one thread hashes at a time
HASHING = "pictures hashed"  # the stage in which pictures are read to tell a set from others
WHERE: dict[Subset, tuple[str | None, str]] = {  # a condition on audit_pairs, and what its pairs are called
    "all": (None, "pairs"),
    "kept": ("final = 'kept'", "kept pairs"),
    "coarse": ("subset = 'benign'", "pairs in D_b"),  # the paper's coarse-only rows
}


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Pairs by row: ``keys`` and ``captions`` (n,), and pictures by :meth:`picture`.

    ``about`` says where they come from, as plain JSON. ``arrays`` uint8 (n, S, S, 3) or ``places`` hold the
    pictures; ``hashes`` (n,) of their bytes are those that embedding kept, if any. ``protected`` are the files and
    folders they lie in, where no run may be.
    """

    keys: Sequence[str]
    captions: Sequence[str]
    about: SetOrigin
    arrays: np.ndarray | None = None
    places: Sequence[PicturePlace] = ()
    hashes: Sequence[bytes] = ()
    protected: Sequence[Path] = ()

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def not_compared(self) -> int:
        """Pairs of an audit of which it is not known what their pictures were when they were embedded."""
        return sum(not digest for digest in self.hashes)

    def fingerprint(self, progress: Progress = no_progress) -> str:
        """Changes with keys, captions and pictures, and not with the folder they lie in.

        Pictures in files are read for it, all of them: a copy has other times, and other pictures may have the same
        names and sizes. An audit's are known by what was embedded. ``progress`` counts the pictures read.
        """
        if self.arrays is not None:
            digest = hashlib.sha256(np.ascontiguousarray(self.arrays).data)
            digest.update(json.dumps([list(self.keys), list(self.captions)]).encode())
            return digest.hexdigest()
        digest = hashlib.sha256()
        hashes = _hashes(self.places, self.hashes or [b""] * len(self), progress)
        for key, caption, (file, offset, size), content in zip(
            self.keys, self.captions, self.places, hashes, strict=True
        ):
            name = file.rpartition("/")[2]
            digest.update(json.dumps([key, caption, name, offset, size, content.hex()]).encode())
        return digest.hexdigest()

    def picture(self, row: int) -> Image.Image:
        """Return the picture of a pair, RGB. Raises TrainingError where it cannot be read."""
        if self.arrays is not None:
            return Image.fromarray(self.arrays[row])
        with self._report_pair(row):
            return decode_image(self.encoded(row))

    def encoded(self, row: int) -> bytes:
        """The encoded picture of a pair; of an audit's, what was embedded and nothing else. Raises TrainingError."""
        with self._report_pair(row):
            return Picture(self.places[row], self.hashes[row] if self.hashes else b"").read()

    def check_pictures(self, progress: Progress = no_progress) -> None:
        """Read all pictures of an audit once, for a trainer that reads them by itself.

        Raises TrainingError for one that is another than was embedded, or cannot be read.
        """
        now = _hashes(self.places, [b""] * len(self), progress) if self.hashes else ()
        for row, (known, present) in enumerate(zip(self.hashes, now, strict=True)):
            if known and known != present:
                self.encoded(row)

    def tensor(self, row: int, transform: Transform) -> torch.Tensor:
        """Return the picture of a pair as an encoder's ``transform`` makes it. Raises as :meth:`picture` does."""
        picture = self.picture(row)
        with self._report_pair(row):
            return transformed(transform, picture)

    @contextmanager
    def _report_pair(self, row: int) -> Iterator[None]:
        """Say of which pair a picture is bad."""
        try:
            yield
        except BadImage as bad:
            if bad.reason == CHANGED:
                raise TrainingError(
                    f"{bad.detail}: the picture of pair {self.keys[row]} {CHANGED}; {ANEW}"
                ) from None
            raise TrainingError(
                f"pair {self.keys[row]}: its picture cannot be read ({bad}); "
                "audit the source with `cfbd run` and train on what it keeps, or take the pair out with `cfbd decide`"
            ) from None

    def picture_numbers(self) -> np.ndarray:
        """Return a number for each pair's picture, int64 (n,), from 0; pairs of one picture share it."""
        if self.arrays is not None:
            return np.arange(len(self))
        numbers: dict[PicturePlace, int] = {}
        return np.array([numbers.setdefault(place, len(numbers)) for place in self.places])

    @classmethod
    def from_audit(
        cls, audit: Audit, subset: Subset = "kept", keys: Sequence[str] | None = None
    ) -> TrainingSet:
        """Return the pairs of an audit: ``all``, those ``kept``, or D_b alone (``coarse``).

        ``keys`` are those of a run that goes on: whatever was decided since, it trains on these. Raises TrainingError:
        not split yet, no such pairs, some of ``keys`` gone, or pairs without pictures; SourceError where the source
        changed.
        """
        if subset not in WHERE:
            raise ParameterError(f"--subset {subset}: give one of {', '.join(WHERE)}")
        status = audit.state.steps()
        if not status["pairs"]:
            raise TrainingError(f"{audit.folder}: the audit has no pairs; `cfbd ingest` reads some")
        if keys is None and subset != "all" and status["split"] is None:
            raise TrainingError(
                f"--subset {subset}: {audit.folder} is not split yet; run `cfbd split` first, or give --subset all"
            )
        condition, what = WHERE[subset]
        table = audit.pairs(where=condition) if keys is None else _with_keys(audit, keys)
        if not table.num_rows:
            raise TrainingError(
                f"--subset {subset}: no {what} among the {status['pairs']:,} of {audit.folder}; "
                "look at the split, or give another --subset"
            )
        audit.check_source()
        about: SetOrigin = {"audit": str(audit.folder.resolve()), "data": None, "subset": subset}
        files = [Path(file) for file in (status["source"] or {"files": []})["files"]]
        hashes = as_hashes(audit.shards.image_hashes(table["row"].to_numpy()))
        return cls._from_table(
            table, about, _Home(files, Path(audit.state.source() or ""), audit.folder), hashes
        )

    @classmethod
    def from_data(cls, data: str | Path, options: SourceOptions | None = None) -> TrainingSet:
        """The pairs of an export (CSV, Parquet, WebDataset), or of any source. Raises SourceError, TrainingError."""
        source = open_source(data, options)
        batches = [batch.pairs for batch in source.batches()]
        table = pa.Table.from_batches(batches) if batches else None
        if table is None or not table.num_rows:
            raise TrainingError(f"{data}: holds no pairs; give an export with some")
        about: SetOrigin = {"audit": None, "data": str(Path(data).absolute()), "subset": None}
        return cls._from_table(table, about, _Home(source.files(), Path(data)))

    @classmethod
    def from_arrays(
        cls, images: np.ndarray, captions: Sequence[str], keys: Sequence[str] | None = None
    ) -> TrainingSet:
        """Pictures uint8 (n, S, S, 3) with their captions (n,)."""
        if (
            images.dtype != np.uint8
            or images.ndim != 4
            or images.shape[3] != 3
            or len(images) != len(captions)
        ):
            raise TrainingError(
                f"pictures {images.dtype} {images.shape} with {len(captions)} captions; give uint8 (n, S, S, 3) with n"
            )
        names = list(keys) if keys is not None else [str(row) for row in range(len(images))]
        about: SetOrigin = {"audit": None, "data": None, "subset": None}
        return cls(names, list(captions), about, arrays=images)

    @classmethod
    def _from_table(
        cls,
        table: pa.Table,
        about: SetOrigin,
        home: _Home,
        hashes: Sequence[bytes] = (),
    ) -> TrainingSet:
        places = places_of(table)
        keys, captions = table["key"].to_pylist(), table["caption"].to_pylist()
        without = next((key for key, place in zip(keys, places, strict=True) if not place.file), None)
        if without is not None:
            raise TrainingError(
                f"pair {without} has no picture, only a ready embedding; give a source with pictures"
            )
        protected = [*home.files, *_folders(places, home.source, home.audit)]
        return cls(keys, captions, about, places=places, hashes=hashes, protected=protected)


class _Home(NamedTuple):
    """Where pairs come from: the files of their source, the source itself, and the audit that they are of, if any."""

    files: Sequence[Path]
    source: Path
    audit: Path | None = None


def _hashes(places: Sequence[PicturePlace], known: Sequence[bytes], progress: Progress) -> Iterator[bytes]:
    """Hashes of the pictures' bytes; those that are not ``known`` are read, and are empty where that fails."""
    missing = list(
        dict.fromkeys(place for place, hash_known in zip(places, known, strict=True) if not hash_known)
    )
    parts = [missing[at : at + PICTURES_AT_A_TIME] for at in range(0, len(missing), PICTURES_AT_A_TIME)]
    hash_of: dict[PicturePlace, bytes] = {}
    workers = ThreadPoolExecutor(thread_name_prefix="hash")
    try:
        for part, hashes in zip(parts, workers.map(_read_hashes, parts), strict=True):
            hash_of.update(zip(part, hashes, strict=True))
            progress(HASHING, len(hash_of), len(missing))
    finally:
        workers.shutdown(cancel_futures=True)
    return (hash_known or hash_of[place] for place, hash_known in zip(places, known, strict=True))


def _read_hashes(places: Sequence[PicturePlace]) -> list[bytes]:
    return [digest_at(place) for place in places]


def _folders(places: Sequence[PicturePlace], source: Path, audit: Path | None) -> list[Path]:
    """Folders that a run must not lie in: the source, and those of pictures that are files of their own.

    A folder that holds a table beside its pictures, or the audit, may hold the run as well.
    """
    folders = {Path(name) for name in {os.path.dirname(place.file) for place in places if place.is_own_file}}
    holds = [] if source.is_dir() else [real(source)]
    if audit is not None:
        holds.append(real(audit))
    inside = folders | ({source} if source.is_dir() else set())
    return sorted(folder for folder in inside if not any(one.is_relative_to(real(folder)) for one in holds))


def _with_keys(audit: Audit, keys: Sequence[str]) -> pa.Table:
    """These pairs of an audit, in this order."""
    table = audit.pairs()
    rows = pc.index_in(pa.array(keys, pa.string()), table["key"].combine_chunks().cast(pa.string()))
    if rows.null_count:
        first = keys[rows.is_null().to_pylist().index(True)]
        raise TrainingError(
            f"{audit.folder}: {rows.null_count:,} of the {len(keys):,} pairs that the run trains on are gone from the "
            f"audit, the first is {first}; ingest them again, or begin another run in a new folder"
        )
    return table.take(rows)
