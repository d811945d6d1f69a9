"""Files that are damaged, or are no files, are told in one line; nothing is allocated for what a header claims."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cfbd_core.errors import AuditError, SourceError
from cfbd_core.machine.checked_files import load_arrays, map_array, read_object, report_damage

WAY_OUT = "make it again"


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


VECTORS = np.arange(12, dtype=np.float16).reshape(4, 3)
WHOLE = saved(VECTORS)
DAMAGED = {
    "empty": b"",
    "no array": b"no array at all",
    "cut": WHOLE[:-1],
    "half a header": WHOLE[:40],
    "other type": saved(VECTORS.astype(np.float64)),
    "other order of bytes": saved(VECTORS.astype(">f2")),
    "fewer rows": saved(VECTORS[:3]),
    "flat": saved(VECTORS.ravel()),
    "objects": saved(np.array([{"a": 1}] * 4, object)),
    "a number too many": WHOLE.replace(b"(4, 3)", b"(4, 3,1)"),
    "huge": WHOLE.replace(b"(4, 3)", b"(9" + b"9" * 12 + b", 3)"),
    "negative": WHOLE.replace(b"(4, 3)", b"(-4, 3)"),
    "unclosed": WHOLE.replace(b"}", b" "),
    "a call": WHOLE.replace(b"'<f2'", b"exit(1)"),
}


def told(error: pytest.ExceptionInfo[Exception], path: Path) -> None:
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert text.endswith(WAY_OUT)
    assert "\n" not in text


def test_an_array_is_mapped_as_it_is(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(WHOLE)
    found = map_array(path, "f2", (4, 3), WAY_OUT)
    assert np.array_equal(found, VECTORS)
    assert not found.flags.writeable
    assert map_array(path, np.float16, (None, 3), WAY_OUT).shape == (4, 3)


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_array_is_told_in_one_line(tmp_path, name):
    path = tmp_path / "a.npy"
    path.write_bytes(DAMAGED[name])
    with pytest.raises(SourceError) as refused:
        map_array(path, "f2", (4, 3), WAY_OUT, SourceError)
    told(refused, path)


def test_folders_pipes_devices_and_loops_are_no_files(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("folder", "pipe", "zero", "loop"):
        for read in (
            lambda path: map_array(path, "f2", (4, 3), WAY_OUT),
            lambda path: read_object(path, {}, WAY_OUT),
        ):
            with pytest.raises(AuditError) as refused:
                read(tmp_path / name)
            told(refused, tmp_path / name)


def test_what_is_missing_is_the_callers_to_judge(tmp_path):
    for read in (
        lambda path: map_array(path, "f2", (4, 3), WAY_OUT),
        lambda path: read_object(path, {}, WAY_OUT),
    ):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "missing")


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"a": "x"}', '{"a": NaN}', '{"a": 1', "[" * 10_000, "\0"]
)
def test_a_damaged_object_is_told_in_one_line(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(AuditError) as refused:
        read_object(path, {"a": int}, WAY_OUT)
    told(refused, path)
    path.write_text('{"a": 3, "b": []}')
    assert read_object(path, {"a": int}, WAY_OUT) == {"a": 3, "b": []}


def packed(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(f"{name}.npy", data)
    return path


def test_arrays_of_an_archive_are_what_was_wanted_or_it_is_damaged(tmp_path):
    path = packed(tmp_path / "a.npz", a=WHOLE, b=saved(np.arange(3)))
    assert set(load_arrays(path, 1000)) == {"a", "b"}
    assert np.array_equal(load_arrays(path, 1000, {"a": ("f2", (4, 3))})["a"], VECTORS)
    bombs = saved(np.zeros(10**7, np.uint8))
    others = {
        "missing": ("a.npz", {"c": ("f2", (4, 3))}),
        "other": ("a.npz", {"a": ("f4", (4, 3))}),
        "bomb": (packed(tmp_path / "bomb.npz", a=bombs).name, None),
        "objects": (packed(tmp_path / "objects.npz", a=DAMAGED["objects"]).name, None),
        "huge": (packed(tmp_path / "huge.npz", a=DAMAGED["huge"]).name, None),
    }
    for name, wanted in others.values():
        with pytest.raises(AuditError) as refused, report_damage(tmp_path / name, WAY_OUT):
            load_arrays(tmp_path / name, 1000, wanted)
        told(refused, tmp_path / name)
