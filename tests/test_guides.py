"""The guides in docs/, followed to the letter: what they add is found where they say."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
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


def entry_of_the_page() -> str:
    (entry,) = re.findall(
        r"`(Page\(.*?\))`", (ROOT / "docs" / "ADD_A_PAGE.md").read_text(encoding="utf-8"), re.DOTALL
    )
    return entry


def test_the_page_of_the_guide_is_an_entry_and_a_file():
    compile(blocks("PAGE")[0], "shortest.py", "exec")
    page = eval(entry_of_the_page(), {"Page": Page})
    assert page.head == "Shortest"


@pytest.mark.slow
def test_the_page_of_the_guide_is_in_the_navigation_and_walked_by_the_tests_of_pages(tmp_path):
    for name in ("app", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "app" / "views" / "shortest.py").write_text(blocks("PAGE")[0], encoding="utf-8")
    registry = tmp_path / "app" / "pages.py"
    before = registry.read_text(encoding="utf-8")
    assert before.endswith("    ),\n)\n")
    registry.write_text(before[: -len(")\n")] + f"    {entry_of_the_page()},\n)\n", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = ["-m", "pytest", "-p", "no:cacheprovider", "-q", "-rA", "--tb=short", "tests/app", "-k"]
    done = subprocess.run(
        [sys.executable, *command, "shortest or navigation"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    passed = set(re.findall(r"^PASSED tests/app/(\S+)", done.stdout, re.MULTILINE))
    assert passed >= {
        "test_pages.py::test_every_page_stands_in_the_navigation",
        "test_pages.py::test_every_page_is_drawn[shortest]",
        "test_pages.py::test_without_an_audit_there_is_a_way_to_one[shortest]",
        "test_pages.py::test_every_page_that_a_link_s_sliders_open_is_marked_as_a_preview[shortest]",
    }
    assert {one.partition("::")[0] for one in passed} >= {"test_bad_input.py", "test_read_only.py"}


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
