"""A good checkpoint is never lost, whatever becomes of the next one."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from cfbd_core.errors import AuditError, TrainingError
from cfbd_core.machine.files import report_in_one_line
from cfbd_core.training import checkpoints as module
from cfbd_core.training.checkpoints import Checkpoints


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", "run")


def state(value: float) -> dict:
    return {"model": {"weight": torch.full((1000,), float(value))}}


def value_of(found) -> float:
    return float(found["model"]["weight"][0])


def test_the_newest_two_are_kept(kept):
    assert kept.newest() is None
    for step in (5, 10, 100_000_000):
        kept.save(step, state(step))
    assert [path.name for path in kept.paths()] == ["step_00000010.pt", "step_100000000.pt"]
    assert (kept.newest()["step"], value_of(kept.newest())) == (100_000_000, 100_000_000)
    assert len(list(kept.folder.iterdir())) == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "foreign"])
def test_a_broken_one_falls_back_to_the_one_before(kept, damage, caplog):
    kept.save(1, state(1))
    path = kept.save(2, state(2))
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[data.index(torch.full((1000,), 2.0).numpy().tobytes()) + 2003] ^= 1
    path.write_bytes(
        {"empty": b"", "cut": data[: len(data) // 2], "foreign": b"PK nonsense"}.get(damage, bytes(data))
    )
    assert value_of(kept.newest()) == 1
    assert "going back to the one before" in caplog.text
    kept.save(2, state(3))  # made again
    assert value_of(kept.newest()) == 3


def test_one_that_is_not_readable_takes_no_place(kept, monkeypatch):
    kept.save(1, state(1))
    kept.save(2, state(2))

    def half(value, file):
        file.write(b"PK half")

    monkeypatch.setattr(module.torch, "save", half)
    with pytest.raises(module._UNREADABLE):
        kept.save(3, state(3))
    assert [path.name for path in kept.folder.iterdir() if path.suffix == ".pt"] == [
        path.name for path in kept.paths()
    ]
    assert value_of(kept.newest()) == 2


@pytest.mark.parametrize("room", [0, 300, 2000, 4900])  # bytes; a checkpoint has some 5,000
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_in_one_line(kept, monkeypatch, number, room):
    kept.save(1, state(1))
    real = Path.open

    class Full:
        def __init__(self, file):
            self._file, self._room = file, room

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._file.close()

        def __getattr__(self, name):
            return getattr(self._file, name)

        def write(self, data):
            self._room -= memoryview(data).nbytes
            if self._room < 0:
                raise OSError(number, "No space left on device")
            return self._file.write(data)

    monkeypatch.setattr(
        Path, "open", lambda path, *how: Full(real(path, *how)) if ".part" in path.name else real(path, *how)
    )
    with (
        pytest.raises(AuditError, match="the disk is full .* finished work is kept"),
        report_in_one_line(kept.folder),
    ):
        kept.save(2, state(2))
    assert value_of(kept.newest()) == 1
    assert len(list(kept.folder.iterdir())) == 1


def test_weights_that_are_not_finite_are_not_kept(kept):
    kept.save(1, state(1))
    with pytest.raises(TrainingError, match="weight is not finite after step 2; give .* a new --out$"):
        kept.save(2, state(float("nan")))
    assert value_of(kept.newest()) == 1


def test_one_of_another_run_is_refused(kept):
    kept.save(1, state(1))
    with pytest.raises(TrainingError, match="is a checkpoint of another run or model"):
        Checkpoints(kept.folder, "other").newest()


def test_the_way_back_is_named(kept):
    assert kept.way_back() == "; there is no checkpoint yet"
    path = kept.save(1, state(1))
    assert kept.way_back() == f"; {path} is kept, and the same command goes on from it"
