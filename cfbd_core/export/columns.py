"""What an export holds of a pair, and what can be asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, TypedDict

import pyarrow as pa

from cfbd_core.errors import ParameterError

Format = Literal["csv", "parquet", "webdataset"]
Subset = Literal["kept", "removed", "all"]
FORMATS: tuple[Format, ...] = ("csv", "parquet", "webdataset")
SUBSETS: tuple[Subset, ...] = ("kept", "removed", "all")
TYPED = {"consistency": pa.float32(), "z": pa.float32(), "poisoned": pa.bool_()}  # all others are text
COLUMNS = (
    "key",
    "image",
    "caption",
    "consistency",
    "z",
    "subset",
    "verdict",
    "decision",
    "note",
    "final",
    "label",
    "poisoned",
    "attack",
    "target",
    "origin_key",
    "origin_caption",
)
SCHEMA = pa.schema([(name, TYPED.get(name, pa.string())) for name in COLUMNS])


class StyleOptions(TypedDict, total=False):
    """The fields of :class:`Style`, as keywords of every function that exports."""

    spreadsheet_safe: bool
    pandas_safe: bool
    relative_paths: bool
    verify: bool


@dataclass(frozen=True)
class Style:
    """How a table's cells are written: as they are, unless asked for otherwise.

    ``spreadsheet_safe`` puts a quote before what a spreadsheet would run, ``pandas_safe`` a space before captions
    that pandas takes for something else (:mod:`cfbd_core.export.cells`); ``relative_paths`` names pictures from the
    table's folder. ``verify``: pictures that a table only names are compared with what was embedded, and the source
    with what was ingested; what is read is compared in any case.
    """

    spreadsheet_safe: bool = False
    pandas_safe: bool = False
    relative_paths: bool = False
    verify: bool = True

    def options(self) -> list[str]:
        """Return the options of ``cfbd export`` that ask for it."""
        names = [name for name, is_set in asdict(self).items() if is_set and name != "verify"]
        return [f"--{name.replace('_', '-')}" for name in names] + ([] if self.verify else ["--no-verify"])

    def check(self, out_format: Format) -> None:
        """Raise ParameterError for what ``out_format`` has no use for."""
        if out_format != "csv" and (self.spreadsheet_safe or self.pandas_safe):
            raise ParameterError(f"{self.options()[0]} is for CSV only; leave it out for {out_format}")
        if out_format == "webdataset" and self.relative_paths:
            raise ParameterError("--relative-paths: a WebDataset holds its pictures; leave it out")
