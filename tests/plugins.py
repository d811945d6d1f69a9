"""An installed package that adds an attack, a detector and a source by entry points."""

from __future__ import annotations

from pathlib import Path

MODULE = '''
import numpy as np
import pyarrow as pa

from cfbd_core.attacks import Attack
from cfbd_core.attacks.badnets import ATTACK as BADNETS
from cfbd_core.detectors import Detection, Detector
from cfbd_core.sources import PAIR_SCHEMA, Batch, Source
from dataclasses import replace

ATTACK = replace(BADNETS, name="corner", title="Corner patch", summary="a patch from another package")


class LongCaptions(Detector):
    """Long captions are suspicious."""

    name, title, source = "long_captions", "Long captions", "a test"

    def detect(self, pairs):
        score = np.array([len(caption) for caption in pairs.captions], np.float32)
        score[~pairs.scored] = np.nan
        return Detection(score, score > np.nanmedian(score), {"median": float(np.nanmedian(score))})


class Unexpected(Detector):
    """Captions far from what F expects of their pictures are suspicious."""

    name, title, source = "unexpected", "Unexpected captions", "a test"

    def detect(self, pairs):
        score = np.empty(len(pairs.keys), np.float32)
        for start in range(0, len(score), 50):
            block = slice(start, start + 50)
            score[block] = 1 - (pairs.expected[block] * pairs.text[block]).sum(1)
        score[~pairs.scored] = np.nan
        return Detection(score, score > np.nanquantile(score, 0.9), {"pictures": len(np.unique(pairs.image_ids))})


class Raises(LongCaptions):
    """It does."""

    name = "raises"

    def detect(self, pairs):
        raise ValueError("one line\\nand another")


class Short(LongCaptions):
    """One value too few."""

    name = "short"

    def detect(self, pairs):
        return Detection(np.zeros(len(pairs.keys) - 1, np.float32), np.zeros(len(pairs.keys), bool), {})


class Lines(Source):
    """A file PICTURE<tab>CAPTION a line."""

    name, looks_for = "lines", "*.lines"

    @classmethod
    def find(cls, place):
        return [place.path] if place.path.suffix == ".lines" else []

    def read(self):
        rows = []
        for path in self.paths:
            for number, line in enumerate(path.read_text().splitlines()):
                image, caption = line.split("\\t")
                rows.append({"key": str(number), "image": str(path.parent / image), "caption": caption})
        yield Batch(pa.RecordBatch.from_pylist(rows, schema=PAIR_SCHEMA))
'''
POINTS = """[cfbd.attacks]
corner = cfbd_test_plugin:ATTACK
[cfbd.detectors]
long_captions = cfbd_test_plugin:LongCaptions
unexpected = cfbd_test_plugin:Unexpected
raises = cfbd_test_plugin:Raises
short = cfbd_test_plugin:Short
absent = cfbd_test_plugin:Absent
other_name = cfbd_test_plugin:LongCaptions
no_detector = cfbd_test_plugin:ATTACK
[cfbd.sources]
lines = cfbd_test_plugin:Lines
"""


def install(folder: Path, points: str = POINTS) -> Path:
    """Lay the package out as pip would, in ``folder``, which then belongs on the path."""
    info = folder / "cfbd_test_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "cfbd_test_plugin.py").write_text(MODULE, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cfbd-test-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    return folder
