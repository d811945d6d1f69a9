from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from cfbd_core.cli.command import main
from cfbd_core.cli.parser import command_line
from tests.toy import ToyEncoder


@pytest.fixture(autouse=True)
def toy_encoder(monkeypatch):
    monkeypatch.setattr("cfbd_core.audit.embed.load_encoder", lambda spec, device: ToyEncoder())


def run(capsys, *arguments) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_the_main_job_prints_one_json_object(capsys, tmp_path, toy_source):
    source = toy_source(200, tuple(range(0, 200, 25)))
    options = ("run", source, "--audit", tmp_path / "a", "--q", 6, "--k", 2, "--mapping", "self", "--json")
    code, out, _ = run(capsys, *options)
    assert code == 0
    result = json.loads(out)
    assert {
        "pairs",
        "benign",
        "poisoned",
        "suspicious",
        "flagged",
        "kept",
        "params",
        "mixture",
        "truth",
    } <= set(result)
    assert set(result["params"]) == {"k", "gamma", "q", "gamma_z", "gamma_z_rule", "rule", "recheck"}
    assert {"means", "sigmas", "weights"} <= set(result["mixture"])
    promised = {
        "poisons",
        "tpr",
        "fpr",
        "precision",
        "auroc_consistency",
        "auprc_consistency",
        "auroc_z",
        "auprc_z",
        "poisons_in_benign",
        "poisons_kept",
    }
    assert promised <= set(result["truth"])
    again = run(capsys, *options)
    assert json.loads(again[1]) == result
    code, out, _ = run(capsys, "report", "--audit", tmp_path / "a")
    assert code == 0
    assert "evidence of poisoning" in out


def test_the_four_steps_do_what_run_does(capsys, tmp_path, toy_source):
    source = toy_source(120, (3, 50, 90))
    whole = run(
        capsys, "run", source, "--audit", tmp_path / "a", "--q", 5, "--k", 1, "--mapping", "self", "--json"
    )
    for step in (
        ("ingest", source),
        ("embed",),
        ("score", "--mapping", "self"),
        ("split", "--q", 5, "--k", 1),
    ):
        code, out, _ = run(capsys, *step, "--audit", tmp_path / "b", "--json")
        assert code == 0
        last = json.loads(out)
    assert last == json.loads(whole[1])


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "nowhere.csv", "--audit", "new"),
        ("run", "nowhere.csv", "--audit", "new", "--gamma", "2"),
        ("report", "--audit", "nowhere"),
        ("ingest", "nowhere", "--audit", "new"),
        ("split", "--audit", "nowhere", "--gamma-z", "high"),
        ("export", "--audit", "nowhere", "--out", "x.csv"),
        ("decide", "--audit", "nowhere", "--from", "x.csv"),
        ("demo", "--audit", "new", "--rate", "7"),
        ("run", "pairs.csv", "--audit", "new", "--mapping", "nowhere.safetensors"),
        ("run", "pairs.csv", "--audit", "new", "--encoder", "RN51/openai"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    lines = [line for line in re.split(r"[\r\n]+", err) if line.startswith("cfbd ")]
    assert code == 2
    assert out == ""
    assert len(lines) == 1
    assert "Traceback" not in err
    assert not (tmp_path / "new").exists()


def test_a_bad_option_is_one_line_too(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", "pairs.csv", "--audit", "new", "--k", "many"])
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert err.count("\n") == 1
    assert "--k" in err


def test_a_hostile_name_does_not_steer_the_terminal(capsys, tmp_path):
    code, _, err = run(capsys, "report", "--audit", tmp_path / "a\x1b[2Jb\nc")
    assert code == 2
    assert "\x1b" not in err
    assert err.count("\n") == 1


def test_a_failed_first_ingest_leaves_no_folder(capsys, tmp_path):
    (tmp_path / "bad.csv").write_text("image,caption\nnowhere.png,a dog\n")
    assert run(capsys, "run", tmp_path / "bad.csv", "--audit", tmp_path / "new")[0] == 2
    assert not (tmp_path / "new").exists()


def test_run_takes_every_option_of_its_steps():
    commands = next(
        action
        for action in command_line(whole=True)._actions
        if hasattr(action, "choices") and action.choices
    ).choices
    of_run = {option for action in commands["run"]._actions for option in action.option_strings}
    for step in ("ingest", "embed", "score", "split"):
        assert {option for action in commands[step]._actions for option in action.option_strings} <= of_run


def test_the_help_of_all_imports_nothing_that_takes_time():
    heavy = "{'torch', 'duckdb', 'pyarrow', 'pandas', 'numpy', 'PIL'}"
    script = (
        f"import sys, cfbd_core.cli.command as c\nc.parser().format_help()\nprint({heavy} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_an_option_that_is_not_known_is_told_by_its_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["split", "--audit", "a", "--gama", "0.5"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "cfbd split: --gama is unknown here; the nearest option is --gamma; `cfbd split --help`" in said


def test_decisions_come_back_from_a_csv(capsys, tmp_path, toy_source):
    source = toy_source(100)
    run(capsys, "run", source, "--audit", tmp_path / "a", "--q", 5, "--k", 1, "--mapping", "self")
    (tmp_path / "mine.csv").write_text("key,decision,note\n0001,remove,odd\n0002,unsure,\n")
    code, out, _ = run(capsys, "decide", "--audit", tmp_path / "a", "--from", tmp_path / "mine.csv", "--json")
    assert (code, json.loads(out)) == (0, {"decisions": 2, "action": 1})
    report = json.loads(run(capsys, "report", "--audit", tmp_path / "a", "--json")[1])
    assert report["decided"]["removed_by_hand"] == 1
    (tmp_path / "bad.csv").write_text("key,decision\n0001,maybe\n")
    code, _, err = run(capsys, "decide", "--audit", tmp_path / "a", "--from", tmp_path / "bad.csv")
    assert code == 2
    assert "line 2" in err


def test_doctor_tells_versions_and_devices(capsys):
    code, out, _ = run(capsys, "doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert "torch" in found["versions"]
    assert any(device.startswith("cpu") for device in found["devices"])


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--q", "--q 50: the audit has 4 pairs; give --q 1"),
        ("--k", "--k 5: the audit has 4 pairs; give --k 4"),
    ],
)
def test_too_few_pairs_are_told_before_the_work_with_what_to_give(
    capsys, tmp_path, toy_source, monkeypatch, option, told
):
    monkeypatch.setattr("cfbd_core.audit.embed.load_encoder", lambda *_: pytest.fail("began"))
    others = {"--q": [], "--k": ["--q", "1"]}[option]
    code, _, err = run(capsys, "run", toy_source(4), "--audit", tmp_path / "a", *others)
    assert code == 2
    assert f"cfbd run: {told}\n" in err


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_reader_that_has_gone_is_no_error(as_json):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "cfbd_core", "attack", "list", *as_json]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_help_and_version_do_not_import_torch():
    script = "import sys, cfbd_core.cli.command as c\nc.parser().format_help()\nprint('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
