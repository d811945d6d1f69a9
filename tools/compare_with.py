"""Make the demo, its reports, exports and a short training with the code of commits and with this tree, and compare.

python tools/compare_with.py COMMIT… [--scenes 150] [--steps 3] [--seed 0] [--keep FOLDER]

All run the same command lines in a folder of the same name, with the packages of this Python. Files are compared byte
for byte, but for what a second run of the same code would write otherwise, too: times, how long a step took, process
ids, fingerprints of files with their times, and versions of this project. What was passed over is named. A line a
file; the exit code is 1 where one differs or is missing.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

ROOT = Path(__file__).resolve().parents[1]
TEXTS = {".json", ".jsonl", ".html", ".txt", ".csv", ".out", ".md"}
# Files whose bytes differ from run to run: DuckDB's pages, TensorBoard's clock. What they hold is compared by `pairs`,
# the reports and metrics.jsonl.
LEFT_OUT = re.compile(r"audit\.duckdb.*|.*\.lock|.*/runs/jobs/.*|.*tfevents.*|.*\.pid|.*/log\.txt")
COMMANDS: dict[str, str] = {
    "demo": "demo --audit demo --scenes {scenes} --rate 0.1 --seed {seed} --json",
    "split": "split --audit demo --q 20 --json",
    "report": "report --audit demo --json",
    "report in words": "report --audit demo --html report.html",
    "csv": "export --audit demo --out csv/kept.csv --json",
    "csv of all": "export --audit demo --out csv/all.csv --subset all --spreadsheet-safe --json",
    "csv of a filter": "export --audit demo --out csv/red.csv --where show=all&text=red --json",
    "parquet": "export --audit demo --out parquet/kept.parquet --json",
    "webdataset": "export --audit demo --out shards --format webdataset --subset removed --json",
    "log": "log --audit demo --out log.json --json",
    "attack": "attack badnets csv/kept.csv --rate 0.05 --seed {seed} --out copy --json",
    "train": "train --audit demo --out run --steps {steps} --batch-size 8 --workers 1 --seed {seed} --json",
}
TIME = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?: ?UTC|Z|[+-]\d\d:?\d\d)?)?|\d+ \w+ \d{4}, \d\d:\d\d"
)
CLOCKED = re.compile(r"(.*_)?(seconds|stepping|pairs_per_s|time|pid)")
# Of a source's files, with the times that they were written at; they stand in pages of HTML as well.
FINGERPRINT = re.compile(r'"(?:source_)?fingerprint": "([0-9a-f]{64})"')
VERSIONS = {"version", "cfbd_version", "made_by", "commit"}


class Line(NamedTuple):
    """What is said of one file: its name, in words, and whether it counts as equal."""

    name: str
    said: str
    is_equal: bool


def main() -> int:
    """Compare; print a line a file and how many differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commits", nargs="+", metavar="COMMIT")
    parser.add_argument("--scenes", type=int, default=150)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a new folder for what both made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cfbd-compare-") as made:
        folder = Path(made) if options.keep is None else options.keep
        folder.mkdir(exist_ok=True, parents=True)
        make(ROOT, folder, "present", options)
        differing = 0
        for commit in options.commits:
            with tree_of(commit, folder / "tree") as tree:
                make(tree, folder, commit, options)
            differing += told(commit, compare(folder / commit, folder / "present"))
    return 1 if differing else 0


@contextmanager
def tree_of(commit: str, folder: Path) -> Iterator[Path]:
    """A commit's files in ``folder``."""
    worktree = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*worktree, "add", "--quiet", "--detach", folder, commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*worktree, "remove", "--force", folder], check=True)


def told(commit: str, lines: list[Line]) -> int:
    """Print a line a file; how many differ."""
    for line in lines:
        print(f"{'same   ' if line.is_equal else 'DIFFERS'} {line.name}: {line.said}")
    differing = sum(not line.is_equal for line in lines)
    print(f"{len(lines)} files, {differing} differ from {commit}", flush=True)
    return differing


def make(tree: Path, folder: Path, name: str, options: argparse.Namespace) -> None:
    """Run every command with the code in ``tree``, in ``folder/work``, which then gets the name ``name``.

    What a command prints is a file there as well.

    The code goes by one name, ``folder/code``, so that no path tells two of them apart. A command that fails leaves
    what it said.
    """
    code, work = folder / "code", folder / "work"
    code.unlink(missing_ok=True)
    code.symlink_to(tree)
    work.mkdir()
    fixed = {
        "PYTHONPATH": str(code),
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    for step, command in COMMANDS.items():
        print(f"{name}: {step}", file=sys.stderr)
        asked = command.format(**vars(options)).split()
        for out in ("csv", "parquet"):
            (work / out).mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "cfbd_core", *asked],
            cwd=work,
            env=os.environ | fixed,
            capture_output=True,
            text=True,
            check=False,
        )
        failed = "" if done.returncode == 0 else f"\nexit {done.returncode}\n{done.stderr[-2000:]}"
        (work / f"said by {step}.out").write_text(done.stdout + failed, encoding="utf-8")
    work.rename(folder / name)


def compare(old: Path, new: Path) -> list[Line]:
    """A line for each file that one of the two folders holds."""
    return [compared(old, new, name) for name in sorted({*files(old), *files(new)})]


def files(folder: Path) -> Iterator[str]:
    """The names of all files below ``folder`` that are compared."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not LEFT_OUT.fullmatch(name) and not LEFT_OUT.fullmatch(path.name):
            yield name


def compared(old: Path, new: Path, name: str) -> Line:
    """What is said of one file."""
    if not (old / name).is_file():
        return Line(name, "only the present tree makes it", False)
    if not (new / name).is_file():
        return Line(name, "only the commit makes it", False)
    before, after = (old / name).read_bytes(), (new / name).read_bytes()
    if before == after:
        return Line(name, f"{len(after):,} bytes", True)
    plain, told = zip(*(normalised(folder, name) for folder in (old, new)), strict=True)
    if plain[0] == plain[1]:
        return Line(name, f"{len(after):,} bytes, but for {', '.join(sorted(told[0] | told[1]))}", True)
    return Line(name, difference(*plain), False)


def normalised(folder: Path, name: str) -> tuple[bytes, set[str]]:
    """A file's bytes without what changes from run to run, and what that was."""
    data, ending, told = (folder / name).read_bytes(), Path(name).suffix, set[str]()
    if ending == ".tar":
        return _members(data)
    if ending == ".webp":  # a thumbnail ends in a hash of its file's times, which no reader of pictures reads
        return data[: int.from_bytes(data[4:8], "little") + 8], {"stamps of files"}
    if ending == ".pt":
        return json.dumps(_of_value(torch.load(io.BytesIO(data), weights_only=True), told)).encode(), told
    if ending not in TEXTS:
        return data, told
    text = data.decode("utf-8", "replace")
    for fingerprint in fingerprints(folder):
        if fingerprint in text:
            told.add("fingerprints of files with their times")
            text = text.replace(fingerprint, "FINGERPRINT")
    lines = [_without_clock(line, told) for line in ([text] if ending == ".json" else text.splitlines())]
    return "\n".join(lines).encode(), told


@cache
def fingerprints(folder: Path) -> frozenset[str]:
    """The fingerprints of sources that the commands told of."""
    said = (path.read_text(encoding="utf-8") for path in folder.glob("said by *.out"))
    return frozenset(found for text in said for found in FINGERPRINT.findall(text))


def difference(before: bytes, after: bytes) -> str:
    """Where two files differ first, in a few words."""
    if b"\0" in before[:4096]:
        return f"{len(before):,} and {len(after):,} bytes"
    parts = [
        re.sub(r"(?<=[,>}])", "\n", data.decode("utf-8", "replace")).splitlines() for data in (before, after)
    ]
    changes = [
        line[:160]
        for line in difflib.unified_diff(*parts, n=0, lineterm="")
        if not line.startswith(("---", "+++", "@@"))
    ]
    return f"{len(changes)} pieces differ, first: {' | '.join(changes[:4])}"


def _without_clock(text: str, told: set[str]) -> str:
    """A line, or a JSON file, without times and versions; ``told`` gets what was taken out."""
    with suppress(ValueError):  # no JSON
        text = json.dumps(_of_value(json.loads(text), told), ensure_ascii=False)
    return _of_words(text, told)


def _of_value(value: Any, told: set[str]) -> Any:
    if isinstance(value, torch.Tensor):
        raw = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return [str(value.dtype), list(value.shape), hashlib.sha256(raw).hexdigest()]
    if isinstance(value, list | tuple):
        return [_of_value(one, told) for one in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for name, one in value.items():
        if CLOCKED.fullmatch(str(name)):
            told.add(f"`{name}`")
        elif name in VERSIONS and isinstance(one, str):
            told.add("versions")
        else:
            found[name] = _of_value(one, told)
    return found


def _of_words(text: str, told: set[str]) -> str:
    found, times = TIME.subn("TIME", text)
    if times:
        told.add("times")
    return found


def _members(data: bytes) -> tuple[bytes, set[str]]:
    """Names and bytes of a tar's members, without their times and owners."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        parts = [one.name.encode() + b"\0" + tar.extractfile(one).read() for one in tar if one.isfile()]  # type: ignore[union-attr]
    return b"\0".join(parts), {"members' times"}


if __name__ == "__main__":
    sys.exit(main())
