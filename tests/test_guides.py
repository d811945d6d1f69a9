"""The guides in docs/, followed to the letter: what they add is found where they say."""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.pages import Page
from cfbd_core.attacks import ATTACKS, Attack
from cfbd_core.detectors import DETECTORS, Detector, detect
from cfbd_core.detectors.base import fault_of
from cfbd_core.sources import FORMATS, open_source
from tests.detectors.worlds import poisoned_world

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ("ATTACK", "DETECTOR", "SOURCE", "PAGE", "MIGRATION")


def blocks(guide: str, kind: str = "python") -> list[str]:
    """The code of a guide, block by block, without the indent of its list."""
    text = next((ROOT / "docs").glob(f"ADD_A*_{guide}.md")).read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{kind}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return ["\n".join(line[len(indent) :] for line in code.splitlines()) + "\n" for indent, code in found]


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a function that makes a guide's first block a module."""
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def make(guide: str):
        name = f"guide_{guide.lower()}"
        (tmp_path / f"{name}.py").write_text(blocks(guide)[0], encoding="utf-8")
        made.append(name)
        return importlib.import_module(name)

    yield make
    for name in made:
        sys.modules.pop(name, None)


def test_the_attack_of_the_guide_paints_its_square(module, monkeypatch):
    attack: Attack = module("ATTACK").ATTACK
    monkeypatch.setitem(ATTACKS._own, attack.name, attack)
    params = attack.params(side=8)
    picture = Image.new("RGB", (32, 32), (10, 20, 30))
    found = attack.apply(picture, np.random.default_rng(0), params, ATTACKS["corner"].trigger(params, None))
    assert (np.asarray(found)[:8, :8] == 255).all()
    assert (np.asarray(found)[8:] == np.asarray(picture)[8:]).all()


def test_the_detector_of_the_guide_keeps_the_contract(module, monkeypatch):
    detector: Detector = module("DETECTOR").LongCaptions()
    monkeypatch.setitem(DETECTORS._own, detector.name, detector)
    pairs, _ = poisoned_world()
    pairs = replace(pairs, captions=["a" * (1 + number) for number in range(len(pairs.keys))])
    found = detect("long_captions", pairs)
    assert fault_of(found, pairs) is None
    assert 0 < found.flagged.sum() <= 0.011 * len(found.flagged)


def test_the_source_of_the_guide_reads_and_counts(module, monkeypatch, tmp_path, picture_file):
    source = module("SOURCE").LinesSource
    monkeypatch.setitem(FORMATS._own, source.name, source)
    (tmp_path / "pairs.lines").write_text(f"{picture_file.name}\ta red wall\nno tab here\n", encoding="utf-8")
    batches = list(open_source(tmp_path / "pairs.lines").batches())
    assert [pair["caption"] for batch in batches for pair in batch.pairs.to_pylist()] == ["a red wall"]
    assert [skip.reason for batch in batches for skip in batch.skips] == ["no caption"]


def test_the_page_of_the_guide_is_an_entry_and_a_file():
    compile(blocks("PAGE")[0], "shortest.py", "exec")
    (entry,) = re.findall(
        r"`(Page\(.*?\))`", (ROOT / "docs" / "ADD_A_PAGE.md").read_text(encoding="utf-8"), re.DOTALL
    )
    page = eval(entry, {"Page": Page})
    assert page.head == "Shortest"


@pytest.mark.parametrize("guide", GUIDES)
def test_files_that_a_guide_names_are_there(guide):
    text = next((ROOT / "docs").glob(f"ADD_A*_{guide}.md")).read_text(encoding="utf-8")
    new = {"corner.py", "long_captions.py", "lines.py", "shortest.py", "test_lines.py"}
    named = set(re.findall(r"`((?:cfbd_core|app|tests)/[\w/]+\.py)`", text))
    assert named
    assert [name for name in named if Path(name).name not in new and not (ROOT / name).is_file()] == []


def test_docstrings_cite_sections_that_exist():
    sections = set(
        re.findall(r"^## (\d+)\.", (ROOT / "docs" / "METHOD.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    cited = {
        number
        for package in ("cfbd_core", "app")
        for path in (ROOT / package).rglob("*.py")
        for numbers in re.findall(r"METHOD(?:\.md)? §([\d–]+)", path.read_text(encoding="utf-8"))
        for number in numbers.split("–")
    }
    assert cited
    assert cited <= sections
