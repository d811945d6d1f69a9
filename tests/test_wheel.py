"""The wheel, installed outside of the checkout by pip and by uv: all that the demo needs is in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


BORROWED = "borrowed"  # all that this environment has, but for the project itself


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of a copy of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("app", "assets", "cfbd_core"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "screenshots")
        )
    for name in ("LICENSE", "README.md", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*pip(), "wheel", *options, str(source)], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module", params=["pip", "uv"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The folder of an environment in which pip or uv put the wheel; what it needs is borrowed from this one."""
    folder = tmp_path_factory.mktemp(f"by-{request.param}")
    venv.create(folder / "venv", with_pip=False)
    python = str(folder / "venv" / "bin" / "python")
    if request.param == "pip":
        command = [*pip(), "--python", python, "install", "--no-deps", str(wheel)]
    else:
        from uv import find_uv_bin

        command = [find_uv_bin(), "pip", "install", "--offline", "--no-deps", "--python", python, str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    site = site_of(folder)
    (site / BORROWED).mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "cfbd_auditor" not in path.name and "editable" not in path.name:
            (site / BORROWED / path.name).symlink_to(path)
    (site / "borrowed.pth").write_text(f"{BORROWED}\n")
    return folder


def pip() -> list[str]:
    return [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]


def site_of(installed: Path) -> Path:
    return next((installed / "venv").glob("lib/python*/site-packages"))


def told(installed: Path, command: str, *arguments: str) -> str:
    """Run a command of that environment, far from the checkout; what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(installed / "venv" / "bin" / command), *arguments],
        cwd=installed,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("installed", ["pip"], indirect=True)  # the same files lie in both
def test_two_commands_lead_to_the_demos_verdict(installed):
    demo = told(
        installed, "python", "-m", "cfbd_core", "demo", "--scenes", "100", "--audit", "demo", "--json"
    )
    report = json.loads(demo)
    assert report["pairs"] == 100
    assert report["embedding"]["encoder"] == "mini"


def test_the_command_is_there_and_finds_its_own_package(installed):
    found = told(installed, "python", "-c", "import cfbd_core, app; print(cfbd_core.__file__, app.__file__)")
    assert all(path.startswith(str(installed)) for path in found.split())
    for command in (["cfbd"], ["python", "-m", "cfbd_core"]):
        listed = told(installed, *command, "attack", "list", "--json")
        assert len(json.loads(listed)["attacks"]) == 9


def test_both_tools_install_every_file_of_the_wheel(installed, wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        assert len(names) > 100
        assert [
            name for name in names if (site_of(installed) / name).read_bytes() != archive.read(name)
        ] == []


def test_the_weights_captions_and_brand_are_in_it(installed):
    site = site_of(installed)
    weights = ("encoders/mini", "models/scenes-64", "attacks/issba/issba.safetensors")
    for name in (*weights, "captions/banana.txt", "brand"):
        assert (site / "cfbd_core" / "_assets" / name).exists(), name
    assert (site / "app" / "style.css").is_file()
    assert (site / "cfbd_core" / "py.typed").is_file()
