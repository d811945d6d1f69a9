"""The wheel, installed outside of the checkout: all that the demo needs is in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment with the wheel alone; what it needs is borrowed from this one."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("app", "assets", "cfbd_core"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "screenshots")
        )
    for name in ("LICENSE", "README.md", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    venv.create(folder / "venv", with_pip=False)
    site = next((folder / "venv").glob("lib/python*/site-packages"))
    (wheel,) = folder.glob("*.whl")
    subprocess.run(
        [*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True, capture_output=True
    )
    borrowed = site / "borrowed"  # all that this environment has, but for the project itself
    borrowed.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "cfbd_auditor" not in path.name and "editable" not in path.name:
            (borrowed / path.name).symlink_to(path)
    (site / "borrowed.pth").write_text("borrowed\n")
    return folder


def python(installed: Path, *arguments: str) -> str:
    """Run that environment's Python, far from the checkout; what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(installed / "venv" / "bin" / "python"), *arguments]
    done = subprocess.run(
        command, cwd=installed, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_commands_lead_to_the_demos_verdict(installed):
    found = python(installed, "-c", "import cfbd_core, app; print(cfbd_core.__file__, app.__file__)")
    assert all(path.startswith(str(installed)) for path in found.split())
    demo = python(installed, "-m", "cfbd_core", "demo", "--scenes", "100", "--audit", "demo", "--json")
    report = json.loads(demo)
    assert report["pairs"] == 100
    assert report["embedding"]["encoder"] == "mini"
    listed = python(installed, "-m", "cfbd_core", "attack", "list", "--json")
    assert len(json.loads(listed)["attacks"]) == 9


def test_the_weights_captions_and_brand_are_in_it(installed):
    site = next((installed / "venv").glob("lib/python*/site-packages"))
    weights = ("encoders/mini", "models/scenes-64", "attacks/issba/issba.safetensors")
    for name in (*weights, "captions/banana.txt", "brand"):
        assert (site / "cfbd_core" / "_assets" / name).exists(), name
    assert (site / "app" / "style.css").is_file()
    assert (site / "cfbd_core" / "py.typed").is_file()
