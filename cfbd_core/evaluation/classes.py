"""Pictures with their classes: from a source with labels, from a list of classes and a source, or from arrays."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cfbd_core.errors import ParameterError, SourceError
from cfbd_core.machine.files import read_lines
from cfbd_core.pictures.images import decode_image, read_image_bytes
from cfbd_core.poisoning.source_pairs import SourcePairs, read_pairs
from cfbd_core.sources import SourceOptions

NOT_CLASSES = (".csv", ".parquet", ".json", ".jsonl", ".tar")  # endings of sources


@dataclass(frozen=True)
class LabelledImages:
    """N pictures of known classes.

    ``classes`` are names as a caption would have them; ``labels`` int64 (N,) are places in it. ``picture(i)`` gives
    picture i, RGB, and may raise BadImage; it is called from several threads. ``skipped`` counts what the source
    held besides, by reason.

    Raises ParameterError for a list of classes that is empty or names one twice, SourceError for no pictures.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    picture: Callable[[int], Image.Image]
    skipped: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        check_classes(self.classes)
        if not len(self.labels):
            raise SourceError("no pictures to classify; give a source with labelled pictures")
        if self.labels.min() < 0 or self.labels.max() >= len(self.classes):
            raise ParameterError(
                f"label {self.labels.max()} of {len(self.classes)} classes: labels are places in the list"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def from_arrays(cls, pixels: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> LabelledImages:
        """Wrap pictures uint8 (N, H, W, 3) and their labels int64 (N,)."""
        return cls(
            tuple(classes), np.asarray(labels, np.int64), lambda i: Image.fromarray(np.asarray(pixels[i]))
        )

    @classmethod
    def from_source(
        cls, source: str | Path, options: SourceOptions | None = None, classes: Sequence[str] | None = None
    ) -> LabelledImages:
        """Read the pictures of a source, each once, and their labels.

        The label is the source's own; where it has none, captions that are class names serve. Classes are those
        that occur, sorted, or ``classes``, which then have to hold every label.

        Raises SourceError: nothing to read, no pictures, no labels, a label that is not among the classes.
        """
        pairs = read_pairs(source, options or SourceOptions())
        labels = _labels(source, pairs, classes is not None)
        spelled = {label.casefold(): label for label in reversed(labels) if label}  # as it is the first time
        known = sorted(spelled.values()) if classes is None else list(classes)
        place = {name.casefold(): number for number, name in enumerate(known)}
        foreign = sorted({label for label in labels if label and label.casefold() not in place})
        if foreign:
            close = difflib.get_close_matches(foreign[0], known, n=1)
            hint = f"; did you mean {close[0]!r}" if close else ""
            raise SourceError(
                f"{source}: {len(foreign)} of its labels are not in the list of classes, e.g. {foreign[0]!r}{hint}"
            )
        rows = [row for row, label in enumerate(labels) if label]
        skipped = dict(pairs.skipped)
        if len(rows) < len(labels):
            skipped["no label"] = len(labels) - len(rows)
        places = [pairs.place(row) for row in rows]
        numbers = np.array([place[labels[row].casefold()] for row in rows], np.int64)
        return cls(
            tuple(known),
            numbers,
            lambda i: decode_image(read_image_bytes(places[i])),
            tuple(skipped.items()),
        )


def labelled_images(
    classes: str, images: str | None = None, options: SourceOptions | None = None
) -> LabelledImages:
    """Return the labelled pictures of the source ``classes``, or of ``images`` with the classes of a text file.

    Raises ParameterError where the two are mixed up, and what reading raises.
    """
    path = Path(classes)
    if images is None:
        if path.suffix.lower() == ".txt":
            raise ParameterError(f"--classes {path}: is a list of classes; give --images SOURCE with it")
        return LabelledImages.from_source(classes, options)
    if path.is_dir() or path.suffix.lower() in NOT_CLASSES:
        raise ParameterError(f"--classes {path}: with --images it is a text file, one class a line")
    return LabelledImages.from_source(images, options, read_classes(path))


def read_classes(file: str | Path) -> tuple[str, ...]:
    """Read class names, one a line, blank lines left out. Raises ParameterError (also where one is named twice)."""
    try:
        lines = read_lines(Path(file))
    except (OSError, ValueError) as error:
        raise ParameterError(
            f"--classes {file}: cannot be read as a list of classes ({error}); give a UTF-8 text, one class a line"
        ) from None
    classes = tuple(name for name in (" ".join(line.split()) for line in lines) if name)
    check_classes(classes, f"--classes {file}: ")
    return classes


def check_classes(classes: Sequence[str], where: str = "") -> None:
    """Raise ParameterError for no class, or one that is named twice (in whatever case)."""
    if not classes:
        raise ParameterError(f"{where}the list of classes is empty; give one class a line")
    twice = [name for name, times in Counter(map(str.casefold, classes)).items() if times > 1]
    if twice:
        raise ParameterError(f"{where}class {twice[0]!r} is named twice; name each class once")


def class_place(classes: Sequence[str], name: str) -> int | None:
    """Return where a class stands in the list, whatever its case, or None."""
    wanted = name.casefold()
    return next((place for place, known in enumerate(classes) if known.casefold() == wanted), None)


def _labels(source: str | Path, pairs: SourcePairs, classes_given: bool) -> list[str]:
    """Return the label of every pair, "" where it has none."""
    labels = [" ".join((label or "").split()) for label in pairs.table["label"].to_pylist()]
    if any(labels):
        return labels
    captions = [" ".join(caption.split()) for caption in pairs.table["caption"].to_pylist()]
    if classes_given or 2 * len({caption.casefold() for caption in captions}) <= len(captions):
        return captions
    raise SourceError(
        f"{source}: has no labels, and its captions are not class names (hardly one repeats); "
        "name the column with --label-col, or give --classes FILE and --images SOURCE"
    )
