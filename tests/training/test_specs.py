"""Which specifications start from random weights: as training itself takes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cfbd_core.embedding.torchvision_compat import import_torchvision
from cfbd_core.training.models import build_model
from cfbd_core.training.specs import is_from_scratch
from tests.training.tiny import tiny_folder


@pytest.mark.parametrize(
    ("spec", "is_scratch"),
    [
        ("mini", False),
        ("RN50", True),
        ("RN50/openai", False),
        ("hf-hub:o/m", False),
        ("mini@/x.pt", False),
        ("ViT-B-32@/x.pt", False),
        ("local-dir:/nowhere", False),
    ],
)
def test_names(spec, is_scratch):
    assert is_from_scratch(spec) is is_scratch


def test_folders_are_told_as_training_takes_them(tmp_path):
    import_torchvision()
    from open_clip.factory import _find_checkpoint_in_dir

    folder = Path(tiny_folder(tmp_path / "tiny"))
    (folder / "notes.pt").touch()  # open_clip looks for no such weights
    for spec in (str(folder), f"local-dir:{folder}"):
        assert is_from_scratch(spec)
        assert build_model(spec).from_scratch
    (tmp_path / "empty").mkdir()
    assert not is_from_scratch(str(tmp_path / "empty"))
    for name in ("a.pth", "b.bin", "c.safetensors"):
        (folder / name).touch()
        assert not is_from_scratch(f"local-dir:{folder}")
        assert _find_checkpoint_in_dir(folder) is not None
        (folder / name).unlink()
    (folder / "run.json").touch()
    assert not is_from_scratch(str(folder))
