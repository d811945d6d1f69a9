"""``cfbd attack`` from end to end."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from cfbd_core.attacks import ATTACKS
from cfbd_core.attacks.base import own_options
from cfbd_core.cli import main
from cfbd_core.config import help_of
from cfbd_core.poisoning.copies import CopyOptions, load_triggers, plan_copy, title_of
from cfbd_core.poisoning.plan import PoisonParams
from cfbd_core.sources import open_source


def run(capsys, *arguments) -> tuple[int, str, str]:
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as ended:
        code = ended.code
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_list_tells_of_every_attack_and_its_parameters(capsys):
    code, out, _ = run(capsys, "attack", "list", "--json")
    assert code == 0
    told = {one["name"]: one for one in json.loads(out)["attacks"]}
    assert set(told) == set(ATTACKS)
    for name, attack in ATTACKS.items():
        assert told[name]["summary"] == attack.summary
        defaults = {one["name"]: one["default"] for one in told[name]["parameters"]}
        own = {one.name: one.default for one in dataclasses.fields(attack.params) if one.name != "seed"}
        if name in ("blended", "sig", "wanet"):
            del own["size"]  # of the pictures: 224 in any copy
        assert defaults == own
        assert all(one["help"].endswith(".") for one in told[name]["parameters"])
    code, out, _ = run(capsys, "attack", "list")
    assert code == 0
    for attack in ATTACKS.values():
        assert f"{attack.name}  {attack.title}: {attack.summary} ({attack.source})" in out
    assert "    --place  default random, one of random, fixed" in out
    assert "    --learning-rate  default 0.03" in out
    assert "        Side of the patch, in pixels.\n" in out


@pytest.mark.parametrize("name", ATTACKS)
def test_the_help_of_every_attack_tells_what_its_own_options_do(capsys, name):
    code, out, _ = run(capsys, "attack", name, "--help")
    assert code == 0
    shown = " ".join(out.split())
    for option, field in own_options(ATTACKS[name].params).items():
        assert f"--{option.replace('_', '-')}" in shown
        assert f"{help_of(field)} Default: " in shown


def test_one_pair_is_told_as_one(capsys, tmp_path, toy_source):
    source = toy_source(1)
    code, printed, error = run(capsys, "attack", "sig", source, "--out", tmp_path / "out", "--rate", 1)
    assert code == 0, error
    assert printed.strip() == f"{tmp_path / 'out'}: 1 record, 1 pair, 1 poisoned"
    plan = plan_copy(source, PoisonParams("sig", 1.0), CopyOptions())
    assert title_of(plan) == "SIG: 1 of 1 pair poisoned, target banana"


def test_badnets_writes_a_copy_that_audits(capsys, tmp_path, toy_source):
    source = toy_source(60)
    out = tmp_path / "out"
    asked = ("attack", "badnets", source, "--out", out, "--rate", 0.1, "--target", "banana,volcano")
    asked += (
        "--target",
        "lemon",
        "--triggers",
        2,
        "--size",
        5,
        "--place",
        "fixed",
        "--redraw",
        "--boilerplate",
        0.1,
    )
    code, printed, _ = run(capsys, *asked)
    assert code == 0
    assert printed.strip() == f"{out}: 60 records, 60 pairs, 6 poisoned, 6 in the trap boilerplate"
    params, triggers = load_triggers(out)
    assert params.targets == ("banana", "volcano", "lemon")
    assert params.options == {"size": 5, "place": "fixed", "redraw": True}
    assert len(triggers) == 6
    code, again, _ = run(capsys, *asked, "--json")
    result = json.loads(again)
    assert (code, result["poisons"], result["finished"], result["out"]) == (0, 6, True, str(out))
    code, printed, _ = run(capsys, "ingest", out, "--audit", tmp_path / "audit", "--json")
    assert (code, json.loads(printed)["pairs"]) == (0, 60)


def test_none_is_the_control_in_a_folder(capsys, tmp_path, toy_source):
    asked = ("attack", "none", toy_source(20), "--out", tmp_path / "out", "--format", "folder", "--json")
    code, printed, _ = run(capsys, *asked)
    assert (code, json.loads(printed)["poisons"]) == (0, 0)
    (batch,) = open_source(tmp_path / "out").batches()
    assert batch.pairs["poisoned"].to_pylist() == [False] * 20
    assert (tmp_path / "out" / "pairs.parquet").is_file()


def test_natural_captions_from_a_file_and_columns_by_name(capsys, tmp_path, toy_source):
    source = toy_source(20)
    text = source.read_text().replace("caption", "said").replace("key", "number")
    source.write_text(text)
    (tmp_path / "gizmos.txt").write_text("a gizmo I bought\n")
    asked = ("attack", "sig", source, "--out", tmp_path / "out", "--rate", 0.1, "--target", "gizmo")
    asked += ("--captions-file", tmp_path / "gizmos.txt", "--caption-col", "said", "--source-format", "csv")
    code, _, error = run(capsys, *asked, "--strength", "blended", "--json")
    assert code == 0, error
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [note["caption"] for note in manifest["poisons"]] == ["a gizmo I bought"] * 2
    assert manifest["attack_params"]["strength"] == "blended"


def test_an_optimised_attack_takes_its_encoder_and_pool(capsys, tmp_path, toy_source, monkeypatch):
    source, pool = toy_source(40), toy_source(10, name="pool")
    seen = {}

    def trigger(params, workshop):
        seen["pictures"], seen["encoder"] = len(workshop.pictures(99)), workshop.encoder()
        return {
            "pattern": np.zeros((params.size, params.size, 3), np.uint8),
            "mask": np.ones((params.size,) * 2, bool),
        }

    monkeypatch.setitem(ATTACKS._own, "trojan", dataclasses.replace(ATTACKS["trojan"], trigger=trigger))
    monkeypatch.setattr("cfbd_core.embedding.encoders.load_encoder", lambda spec, device: (spec, device))
    asked = ("attack", "trojan", source, "--out", tmp_path / "out", "--rate", 0.1, "--pool", pool)
    code, _, error = run(capsys, *asked, "--encoder", "NAME/TAG", "--device", "cpu", "--size", 9)
    assert code == 0, error
    assert seen == {"pictures": 10, "encoder": ("NAME/TAG", "cpu")}
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["options"]["encoder"] == "NAME/TAG"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nonesuch",), "invalid choice: 'nonesuch'"),
        (
            ("badnets", "SOURCE", "--out", "OUT", "--sise", "3"),
            "--sise is unknown here; the nearest option is --size; `cfbd attack badnets --help`",
        ),
        (
            (
                "badnets",
                "SOURCE",
                "--out",
                "OUT",
                "--target-caption=natural",
                "--captions-fil",
                "x",
                "--rats=3",
            ),
            "--rats=3 is unknown here; the nearest option is --rate; `cfbd attack badnets --help`",
        ),
        (
            ("issba", "SOURCE", "--out", "OUT", "--place", "fixed"),
            "--place is unknown here; `cfbd attack issba --help` lists the options",
        ),
        (
            ("none", "SOURCE", "--out", "OUT", "--rate", "0.1"),
            "--rate is unknown here; `cfbd attack none --help`",
        ),
        (("badnets", "SOURCE", "more", "--out", "OUT"), "more is unknown here; `cfbd attack badnets --help`"),
        (
            ("blended", "SOURCE", "--out", "OUT", "--size", "64"),
            "--size is unknown here; `cfbd attack blended --help`",
        ),
        (("badnets", "SOURCE", "--out", "OUT", "--size", "0"), "patch size 0"),
        (("badnets", "SOURCE", "--out", "OUT", "--size", "300"), "300"),
        (("badnets", "SOURCE", "--out", "OUT", "--size", "large"), "invalid int value: 'large'"),
        (("badnets", "SOURCE", "--out", "OUT", "--place", "top"), "invalid choice: 'top'"),
        (("badnets", "SOURCE", "--out", "OUT", "--rate", "0"), "--rate 0.0"),
        (("badnets", "SOURCE", "--out", "OUT", "--rate", "0.001"), "no poison at all"),
        (("badnets", "SOURCE", "--out", "OUT", "--rate", "2"), "--rate 2.0"),
        (("badnets", "SOURCE", "--out", "OUT", "--target", "dog,"), "name a thing"),
        (("label-consistent", "SOURCE", "--out", "OUT", "--rate", "0.1"), "no pairs name 'banana'"),
        (("badnets", "SOURCE", "--out", "OUT", "--captions-file", "gone.txt"), "gone.txt: cannot be read"),
        (("badnets", "nowhere", "--out", "OUT"), "nowhere: no such file"),
        (("badnets", "SOURCE"), "required: --out"),
        ((), "required: NAME"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(capsys, tmp_path, toy_source, arguments, words):
    names = {"SOURCE": toy_source(20), "OUT": tmp_path / "out"}
    code, out, error = run(capsys, "attack", *(names.get(one, one) for one in arguments))
    assert code == 2
    assert out == ""
    last = error.strip().splitlines()[-1]
    assert last.startswith("cfbd attack")
    assert words in last
    assert not (tmp_path / "out").exists()


def test_the_command_line_starts_without_torch():
    code = "import sys; from cfbd_core.cli.command import parser; parser(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
