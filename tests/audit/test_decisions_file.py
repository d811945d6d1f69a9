"""Decisions from a CSV: what cannot be one is refused with its line."""

import os
from pathlib import Path

import pytest

from cfbd_core.audit.decisions_file import read_decisions
from cfbd_core.errors import SourceError


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_keys_decisions_and_notes(tmp_path):
    table = read_decisions(write(tmp_path / "d.csv", "note,decision,key\nfine,Keep,a\n,remove,b\n,,c\n"))
    assert table.to_pydict() == {
        "key": ["a", "b", "c"],
        "decision": ["keep", "remove", ""],
        "note": ["fine", "", ""],
    }


@pytest.mark.parametrize("row", ["keep", "keep,", "keep,,more"])
def test_a_row_without_a_key_is_named(tmp_path, row):
    path = write(tmp_path / "d.csv", f"decision,key,note\nkeep,a,\n{row}\n")
    with pytest.raises(SourceError, match=r"d\.csv line 3: .*key"):
        read_decisions(path)


def test_a_row_without_a_decision_cell_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"line 2: .*decision"):
        read_decisions(write(tmp_path / "d.csv", "key,decision\na\n"))


def test_an_exported_caption_may_be_long(tmp_path):
    caption = "x" * (1 << 20)
    table = read_decisions(write(tmp_path / "d.csv", f"key,caption,decision\na,{caption},remove\n"))
    assert table["decision"].to_pylist() == ["remove"]


def test_an_unknown_decision_and_a_missing_column_are_refused(tmp_path):
    with pytest.raises(SourceError, match=r"line 2: decision 'burn'"):
        read_decisions(write(tmp_path / "d.csv", "key,decision\na,burn\n"))
    with pytest.raises(SourceError, match="no column 'decision'"):
        read_decisions(write(tmp_path / "e.csv", "key,verdict\na,burn\n"))


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/full", "/dev/urandom", "/dev/null"])
def test_a_device_is_refused_before_it_fills_the_memory(device):
    with pytest.raises(SourceError, match=device):
        read_decisions(Path(device))


def test_more_keys_than_the_audit_has_pairs_are_refused_as_they_are_read(tmp_path):
    path = write(tmp_path / "d.csv", "key,decision\na,keep\na,keep\nb,keep\nc,keep\n" + "\0" * 10)
    assert read_decisions(write(tmp_path / "e.csv", "key,decision\na,keep\na,Keep\n"), 1).num_rows == 1
    with pytest.raises(SourceError, match=r"line 4: names more keys than the 1 pairs"):
        read_decisions(path, 1)


def test_a_key_with_two_different_decisions_is_refused_with_its_line(tmp_path):
    path = write(tmp_path / "d.csv", "key,decision\na,remove\nb,keep\na,keep\n")
    with pytest.raises(
        SourceError, match=r"line 4: key 'a' is decided twice, remove and keep; keep one line"
    ):
        read_decisions(path)


def test_a_file_without_a_decision_and_a_pipe_are_refused(tmp_path):
    with pytest.raises(SourceError, match="holds no decisions"):
        read_decisions(write(tmp_path / "d.csv", "key,decision\n"))
    os.mkfifo(tmp_path / "pipe")  # nobody writes into it
    with pytest.raises(SourceError, match="is a pipe or a device"):
        read_decisions(tmp_path / "pipe")
