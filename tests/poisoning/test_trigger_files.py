"""Triggers come back as they were kept."""

from __future__ import annotations

import numpy as np
import pytest

from cfbd_core.errors import SourceError
from cfbd_core.poisoning.trigger_files import read_triggers, save_triggers


def test_triggers_come_back_by_number_also_those_without_arrays(tmp_path):
    triggers = [{"a": np.arange(3)}, {}, {"a": np.zeros((2, 2), bool), "b": np.float32(4)}]
    save_triggers(tmp_path / "t.npz", triggers)
    read = read_triggers(tmp_path / "t.npz")
    assert [set(one) for one in read] == [{"a"}, set(), {"a", "b"}]
    for kept, found in zip(triggers, read, strict=True):
        for name, array in kept.items():
            assert np.array_equal(found[name], array)
            assert found[name].dtype == array.dtype
    save_triggers(tmp_path / "none.npz", [])
    assert read_triggers(tmp_path / "none.npz") == []
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["none.npz", "t.npz"]


def test_files_that_hold_no_triggers_are_told_in_one_line(tmp_path):
    save_triggers(tmp_path / "t.npz", [{"a": np.arange(300)}])
    whole = (tmp_path / "t.npz").read_bytes()
    np.savez(tmp_path / "other.npz", a=np.arange(3))
    np.savez(tmp_path / "fewer.npz", **{"count": np.array(1), "4/a": np.arange(3)})
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_text("no arrays")
    for name in ("missing", "other", "fewer", "cut", "text"):
        with pytest.raises(SourceError, match=f"{name}\\.npz: cannot be read as triggers") as refused:
            read_triggers(tmp_path / f"{name}.npz")
        assert "\n" not in str(refused.value)
