"""What can be told of the Dockerfile without Docker: by a linter, and by what it names."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from cfbd_core.cli.command import parser

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """(instruction, its arguments) in order, comments dropped and continued lines joined."""
    lines = "\n".join(line for line in TEXT.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", lines)
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines()) if name]


def arguments_of(wanted: str) -> list[str]:
    return [rest for name, rest in instructions() if name == wanted]


def copied() -> list[str]:
    """Every path that comes from the build's context."""
    sources = (shlex.split(rest)[:-1] for rest in arguments_of("COPY") if not rest.startswith("--from="))
    return [source for several in sources for source in several]


def is_ignored(path: str) -> bool:
    """Whether .dockerignore leaves ``path`` out: the last pattern that fits it, or a folder above, wins."""
    ignored = False
    above = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        candidates = [*above, path.rsplit("/", 1)[-1], "/".join(path.split("/")[-2:])]
        if line and not line.startswith("#") and any(fnmatch.fnmatch(name, pattern) for name in candidates):
            ignored = not line.startswith("!")
    return ignored


def test_hadolint_finds_nothing_and_can_find_something(tmp_path):
    beside = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    hadolint = shutil.which("hadolint", path=beside)
    assert hadolint, "hadolint is not installed; `make check` installs it"
    doubtful = tmp_path / "Dockerfile"
    doubtful.write_text("FROM python:latest\n", encoding="utf-8")
    done = subprocess.run(
        [hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
    found = subprocess.run([hadolint, doubtful], capture_output=True, text=True, check=False)
    assert (found.returncode, "DL3007" in found.stdout) == (1, True)


def test_the_bases_are_pinned():
    bases = [base.split()[0] for base in arguments_of("FROM")]
    assert bases
    assert all(re.fullmatch(r"python:3\.11-slim-\w+", base) for base in bases)
    assert ":latest" not in TEXT


def test_packages_are_pinned_and_installed_before_the_code_is_copied():
    names = [f"{name} {rest}" for name, rest in instructions()]
    installed = names.index("RUN pip install -r requirements.txt")
    assert installed < names.index("COPY cfbd_core ./cfbd_core")
    packages = [
        line
        for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", package) for package in packages)
    assert sum(bool(re.match(r"torch(vision)?==", package)) for package in packages) == 2


def test_every_copied_path_is_there_and_not_ignored():
    assert {"cfbd_core", "app", "assets"} <= set(copied())
    assert not [path for path in copied() if not (ROOT / path).exists()]
    assert not [path for path in copied() if is_ignored(path)]


@pytest.mark.parametrize(
    "path",
    [
        ".git",
        ".venv",
        "audits",
        "runs",
        "tests",
        ".streamlit/secrets.toml",
        "app/.streamlit/secrets.toml",
        "cfbd_core/__pycache__",
    ],
)
def test_what_no_image_should_hold_is_ignored(path):
    assert is_ignored(path)


def test_it_does_not_run_as_root():
    assert arguments_of("USER")[-1] not in ("root", "0")
    last = [name for name, _ in instructions()]
    assert "RUN" not in last[last.index("USER") :]


def test_the_default_command_is_one_that_cfbd_understands():
    (entry,), (command,) = arguments_of("ENTRYPOINT"), arguments_of("CMD")
    assert json.loads(entry) == ["cfbd"]
    options = parser().parse_args(json.loads(command))
    assert options.command == "app"
    assert options.no_browser
    assert options.address == "0.0.0.0"
    assert str(options.port) == arguments_of("EXPOSE")[0]
    assert options.root == [Path("/audits"), Path("/data")]
    assert arguments_of("VOLUME") == ["/audits"]


def test_its_health_is_asked_of_the_apps_own_port():
    (check,) = arguments_of("HEALTHCHECK")
    command = json.loads(check.split(" CMD ")[1])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "HEALTHCHECK", "exec")
    assert f":{arguments_of('EXPOSE')[0]}/_stcore/health" in command[2]


def test_caches_lie_where_any_user_may_write():
    environment = " ".join(arguments_of("ENV"))
    folders = re.findall(r"(?:HF_HOME|NUMBA_CACHE_DIR|HOME)=(\S+)", environment)
    made = next(rest for rest in arguments_of("RUN") if "install -d -m 1777" in rest)
    assert len(folders) >= 3
    assert all(re.search(rf"{folder}(?=\s|$)", made) for folder in folders)
