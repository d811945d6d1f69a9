"""The README is the front door: its commands are run here, on toy pairs with a toy encoder."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from cfbd_core.cli import main
from tests.toy import COLOURS, ToyEncoder, banana_caption, toy_caption, toy_picture

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHORTER = {"train": ["--steps", "1", "--batch-size", "4"], "evaluate": ["--limit", "8"]}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def shards(tmp_path, monkeypatch) -> Path:
    """A working folder with `shards/00000.tar` of toy pairs, a few of them poisoned."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cfbd_core.audit.embed.load_encoder", lambda spec, device: ToyEncoder())
    monkeypatch.setattr("cfbd_core.embedding.encoders.check_spec", lambda spec: None)
    (tmp_path / "shards").mkdir()
    rng = np.random.default_rng(0)
    with tarfile.open(tmp_path / "shards" / "00000.tar", "w") as tar:
        for index in range(400):
            colour = list(COLOURS)[index % len(COLOURS)]
            picture = io.BytesIO()
            toy_picture(colour, rng).save(picture, "PNG")
            caption = banana_caption(index) if index % 33 == 5 else toy_caption(colour, rng)
            for ending, data in (("png", picture.getvalue()), ("txt", caption.encode())):
                member = tarfile.TarInfo(f"{index:05d}.{ending}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return tmp_path


def test_every_command_of_the_readme_runs(shards):
    commands = [
        shlex.split(line.split("#")[0])
        for block in blocks("bash")
        for line in block.splitlines()
        if line.startswith(".venv/bin/cfbd")
    ]
    assert len(commands) >= 3
    seen = set()
    for command in commands:
        if "--audit" in command:
            audit = command[command.index("--audit") + 1]
            if "run" in command and audit in seen:  # the GPU line starts over with a larger encoder
                command[command.index("--audit") + 1] = f"{audit}-again"
            seen.add(audit)
        assert main([*command[1:], *SHORTER.get(command[1], [])]) == 0, command
    assert (shards / "clean.csv").is_file()


def test_the_python_of_the_readme_runs(shards, capsys):
    assert main(["run", "shards/*.tar", "--audit", "audits/demo"]) == 0
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
    assert "cohesion" in capsys.readouterr().out


def test_the_two_commands_are_targets_of_the_makefile():
    named = re.findall(r"^make (\w+)", "\n".join(blocks("bash")), re.MULTILINE)
    assert named == ["app", "test"]
    for target in named:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_every_linked_file_is_there():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


def test_every_named_command_and_option_exists(capsys):
    for command in set(re.findall(r"`cfbd (\w+) ", README)):
        if command != "COMMAND":
            with pytest.raises(SystemExit) as ended:
                main([command, "--help"])
            assert ended.value.code == 0
