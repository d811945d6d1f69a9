"""`tools/compare_with.py` passes over clocks and versions, and over nothing else."""

from __future__ import annotations

import importlib.util
import io
import json
import shlex
import sys
import tarfile
from pathlib import Path

import pytest
import torch

from cfbd_core.cli.command import parser

PLACE = Path(__file__).resolve().parents[1] / "tools" / "compare_with.py"


@pytest.fixture
def tool(monkeypatch):
    spec = importlib.util.spec_from_file_location("compare_with", PLACE)
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "compare_with", made)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def compared(tool, tmp_path):
    """Return a function that compares one file's two contents; a content None is no file."""

    def of(name: str, old: bytes | None, new: bytes | None):
        for folder, data in (("old", old), ("new", new)):
            (tmp_path / folder).mkdir(exist_ok=True)
            if data is not None:
                (tmp_path / folder / name).write_bytes(data)
        (line,) = tool.compare(tmp_path / "old", tmp_path / "new")
        assert line.name == name
        return line

    return of


def told(**values: object) -> bytes:
    return json.dumps(values).encode()


def packed(caption: bytes, mtime: int) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        member = tarfile.TarInfo("0.txt")
        member.size, member.mtime = len(caption), mtime
        tar.addfile(member, io.BytesIO(caption))
    return held.getvalue()


def saved(seconds: float, weight: float) -> bytes:
    held = io.BytesIO()
    torch.save({"position": {"seconds": seconds}, "model": {"w": torch.tensor([weight])}}, held)
    return held.getvalue()


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("a.csv", b"key,z\n0,0.5\n", b"key,z\n0,0.5\n", "12 bytes"),
        ("a.json", told(seconds=1.0, n=2), told(seconds=9.5, n=2), "`seconds`"),
        ("a.json", told(version="0.1.0", n=2), told(version="0.2.0", n=2), "versions"),
        ("a.webp", b"RIFF\4\0\0\0WEBP12345678", b"RIFF\4\0\0\0WEBP87654321", "stamps of files"),
        ("a.pt", saved(1.0, 0.5), saved(2.0, 0.5), "`seconds`"),
        ("said by demo.out", told(fingerprint="a" * 64), told(fingerprint="b" * 64), "fingerprints of files"),
        ("a.html", b"<p>2026-11-30 23:12 UTC</p>", b"<p>2026-12-01 00:15 UTC</p>", "times"),
        ("a.tar", packed(b"a dog", 1), packed(b"a dog", 2), "members' times"),
    ],
)
def test_clocks_and_versions_are_passed_over_and_named(compared, name, old, new, said):
    line = compared(name, old, new)
    assert line.is_equal
    assert said in line.said


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("a.csv", b"key,z\n0,0.5\n", b"key,z\n0,0.6\n"),
        ("a.json", told(n=2, pairs=3), told(pairs=3, n=2)),  # their order counts
        ("a.json", told(n=2), told(n=2, q=None)),
        ("a.html", b"<p>61 flagged</p>", b"<p>62 flagged</p>"),
        ("a.tar", packed(b"a dog", 1), packed(b"a cat", 1)),
        ("a.npy", b"\0\1", b"\0\2"),
        ("a.pt", saved(1.0, 0.5), saved(1.0, 0.25)),
        ("a.webp", b"RIFF\4\0\0\0WEBP12345678", b"RIFF\4\0\0\0WEBQ12345678"),
        ("a.html", b"a" * 64, b"b" * 64),  # no fingerprint that a command told of
        ("a.csv", b"", None),
        ("a.csv", None, b""),
    ],
)
def test_everything_else_counts(compared, name, old, new):
    assert not compared(name, old, new).is_equal


def test_its_commands_are_ones_that_cfbd_understands(tool):
    for command in tool.COMMANDS.values():
        parser().parse_args(shlex.split(command.format(scenes=1, steps=1, seed=0).replace("&", r"\&")))
