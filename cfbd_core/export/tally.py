"""What is counted while an export is written, and what its reader has to know of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from cfbd_core.export.columns import Format
from cfbd_core.wording import by_kind, counted, is_or_are

MOST_EXAMPLES = 3  # examples of what a warning counts


@dataclass
class Tally:
    """Counts of the pairs that were written.

    ``captions`` were looked at; pandas reads those ``missing`` and the ``numbers`` as something else
    (:mod:`cfbd_core.export.cells`). ``compared`` counts pictures of tables by what is known of them: read and the
    same as was embedded, unchanged files since, not compared, or not known. Of a WebDataset: ``formats`` are what its
    pictures were, ``renamed`` and ``reencoded`` what became of some, ``ending`` what all are called, ``late`` the
    columns that its first record lacks and a later one has.
    """

    pairs: int = 0
    without_picture: int = 0
    captions: int = 0
    missing: int = 0
    examples: list[str] = field(default_factory=list)
    numbers: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    renamed: Counter[str] = field(default_factory=Counter)
    reencoded: Counter[str] = field(default_factory=Counter)
    ending: str | None = None
    late: set[str] = field(default_factory=set)
    compared: Counter[str] = field(default_factory=Counter)

    def warnings(self, out_format: Format) -> list[str]:
        """Return what a reader may lose or misread, a sentence each: how many, why, and the way out."""
        lines = []
        if not self.pairs:
            lines.append("no pairs: the export is empty")
        if self.without_picture:
            lines.append(
                f"{_some(self.without_picture, 'pair')} without a picture, {_NO_PICTURE[out_format]}"
            )
        if self.compared["not known"]:
            lines.append(
                f"{_some(self.compared['not known'], 'picture')} exported as now there: what they were when they were "
                "audited is not known"
            )
        if self.compared["not compared"]:
            lines.append(
                f"{_some(self.compared['not compared'], 'picture')} not compared with what was embedded (--no-verify)"
            )
        if self.missing:
            lines.append(
                f"{_some(self.missing, 'caption')} missing values (nan) to pandas, and so to open_clip's CSV loader, "
                f"such as {', '.join(map(repr, self.examples))}; export with --pandas-safe, or as WebDataset, or read "
                "with keep_default_na=False"
            )
        if self.numbers:
            lines.append(
                f"{_some(self.numbers, 'caption')} numbers, of which pandas may write some otherwise ('007' as 7); "
                "export with --pandas-safe, or as WebDataset, or read with dtype=str"
            )
        if self.reencoded:
            lines.append(
                f"{_some(self.reencoded.total(), 'picture')} written as PNG ({by_kind(self.reencoded)}), the first "
                "frame as the encoder saw it: open_clip's loader leaves out all but png, jpg, jpeg and webp"
            )
        if self.renamed:
            lines.append(
                f"{_some(self.renamed.total(), 'picture')} called .{self.ending} as the first one is "
                f"({by_kind(self.renamed)}): Hugging Face datasets takes one ending a set, and readers know a picture "
                "by its bytes, which are unchanged"
            )
        if self.late:
            lines.append(
                f"{' and '.join(sorted(self.late))}: unknown in the first records and known in later ones, where "
                "Hugging Face datasets stops; for that, export as Parquet"
            )
        return lines


_NO_PICTURE: dict[Format, str] = {
    "csv": "which open_clip's CSV loader stops at",
    "parquet": "whose column image is empty",
    "webdataset": "in tars of their own (no_picture_*.tar), which open_clip is not given",
}


def _some(count: int, what: str) -> str:
    return f"{counted(count, what)} {is_or_are(count)}"
