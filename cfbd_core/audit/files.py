"""Where an audit keeps what it knows: its folder, its database, its embedding shards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from cfbd_core.embedding.shards import EmbeddingFolder
from cfbd_core.errors import AuditError
from cfbd_core.store import Database, queries
from cfbd_core.store.meta import SOURCE, MetaName

T = TypeVar("T")


@dataclass(frozen=True)
class AuditFiles:
    """The audit in ``folder``. Every call opens the audit's database for itself."""

    folder: Path
    database: Database

    @cached_property
    def shards(self) -> EmbeddingFolder:
        """The embedding shards; a pair's row is its place in them."""
        return EmbeddingFolder(self.folder / "embeddings")

    def meta(self, name: MetaName[T]) -> T | None:
        """Return what the step ``name`` has noted of itself; None before it."""
        with self.database.reading() as connection:
            return queries.get_meta(connection, name)

    def needed(self, name: MetaName[T], command: str) -> T:
        """Return what :meth:`meta` does. Raises AuditError, which names the ``command`` to run, where that is None."""
        value = self.meta(name)
        if value is None:
            raise AuditError(f"{self.folder}: not ready for this step; run `{command}` first")
        return value

    def located(self, pairs: pa.Table) -> pa.Table:
        """Give images that lie in the audit's own folder their present path."""
        image = pairs["image"]
        inside = pc.binary_join_element_wise(str(self.folder.resolve()), image, "/")
        located = pc.if_else(pc.starts_with(image, "/"), image, inside)
        return pairs.set_column(pairs.schema.get_field_index("image"), "image", located)

    def source_places(self) -> list[Path]:
        """Return files, and for a folder of pairs folders too, that were ingested.

        Nothing may be written to or into them.
        """
        source = self.meta(SOURCE)
        if source is None:
            return []
        files = [Path(file) for file in source["files"]]
        folders = [Path(source["source"])] if Path(source["source"]).is_dir() else []
        if source["format"] == "folder":
            folders += {file.parent for file in files}
        return [*folders, *files]
