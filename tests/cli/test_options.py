"""Numbers, places and names as they may be typed: taken as they are meant, or refused in one line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from cfbd_core.cli.command import main
from cfbd_core.cli.options import MOST_WHOLE, number, place, whole
from cfbd_core.cli.parser import command_line
from cfbd_core.cli.parsers import OneLineParser
from cfbd_core.errors import ParameterError

NO_NUMBER = ("abc", "", "0x10", "1.5.2")
HUGE = "9" * 23


def parsed(text: str, read: object) -> object:
    one = OneLineParser(prog="cfbd")
    one.add_argument("--n", type=read)
    return one.parse_args([f"--n={text}"]).n


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (whole(), "5", 5),
        (whole(), "-5", -5),
        (whole(1), "1", 1),
        (whole(0, 9), "9", 9),
        (whole(), " 7", 7),
        (number, "1e-3", 0.001),
        (number, "-2", -2.0),
        (place, "a b", Path("a b")),
        (place, ".", Path()),
    ],
)
def test_what_can_be_meant_is_taken(read, text, value):
    assert parsed(text, read) == value


@pytest.mark.parametrize(
    ("read", "text", "said"),
    [
        (whole(1), "0", "--n 0: give at least 1"),
        (whole(1), "-3", "--n -3: give at least 1"),
        (whole(1), HUGE, f"--n {HUGE}: give at most {MOST_WHOLE:,}"),
        (whole(), HUGE, f"--n {HUGE}: give at most {MOST_WHOLE:,}"),
        (whole(), f"-{HUGE}", f"--n -{HUGE}: give at least {-MOST_WHOLE}"),
        (whole(0, 5), "6", "--n 6: give at most 5"),
        (number, "nan", "--n nan: give a finite number"),
        (number, "-inf", "--n -inf: give a finite number"),
        (number, "1e999", "--n 1e999: give a finite number"),
        (place, "", "--n '': give a path"),
        (place, "--", "--n --: give a value"),
        (whole(), "--", "--n --: give a value"),
    ],
)
def test_what_nobody_can_mean_is_refused_by_name(read, text, said):
    with pytest.raises(ParameterError) as refused:
        parsed(text, read)
    assert str(refused.value) == said


@pytest.mark.parametrize("text", NO_NUMBER)
@pytest.mark.parametrize("read", [whole(), number])
def test_what_is_no_number_is_told_as_argparse_does(capsys, read, text):
    with pytest.raises(SystemExit) as ended:
        parsed(text, read)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("cfbd: argument --n: ")
    assert said.count("\n") == 1


def actions(one: argparse.ArgumentParser) -> list[argparse.Action]:
    """Every option of a command line, those of its commands, too."""
    found = []
    for action in one._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += [below for child in action.choices.values() for below in actions(child)]
        else:
            found.append(action)
    return found


def test_no_option_reads_numbers_or_places_in_a_way_of_its_own():
    plain = [
        action.option_strings
        for action in actions(command_line(whole=True))
        if action.type in (int, float, Path)
    ]
    assert plain == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("log", "--audit", "a", "--limit", HUGE), "cfbd log: --limit 999"),
        (("demo", "--audit", "a", "--seed", "-1"), "cfbd demo: --seed -1: give at least 0"),
        (("demo", "--audit", "a", "--rate", "nan"), "cfbd demo: --rate nan: give a finite number"),
        (("map", "--audit", "a", "--seed", str(2**32)), "cfbd map: --seed 4294967296: give at most"),
        (
            ("attack", "badnets", "a", "--out", "b", "--triggers", "1000000000"),
            "cfbd attack: --triggers 1000000000",
        ),
        (("attack", "badnets", "a", "--out", "b", "--seed", "-1"), "cfbd attack: --seed -1: give at least 0"),
        (("train", "--data", "a", "--out", "b", "--workers", "100000"), "cfbd train: --workers 100000"),
        (("train", "--data", "a", "--out", "b", "--lr", "inf"), "cfbd train: --lr inf: give a finite number"),
        (
            ("bench", "detection", "a", "--out", "b", "--seeds", "1000000000"),
            "cfbd bench: --seeds 1000000000",
        ),
        (("bench", "training", "--out", "b", "--jobs", "0"), "cfbd bench: --jobs 0: give at least 1"),
        (("report", "--audit", ""), "cfbd report: --audit '': give a path"),
        (("undo", "--audit", "a", "0"), "cfbd undo: ACTION 0: give at least 1"),
        (("decide", "--audit", "a", "--from", "b", "--note", "\udcff"), "cfbd: '\\udcff': not UTF-8"),
    ],
)
def test_each_command_says_so_in_one_line(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(said)
    assert shown.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "--audit", "n" * 300),
        ("ingest", "a.csv", "--audit", "n" * 300),
        ("embed", "--audit", "/".join(["d" * 200] * 25)),
        ("export", "--audit", "n" * 300, "--out", "x.csv"),
        ("train", "--data", "a.csv", "--out", "n" * 300),
        ("evaluate", "n" * 300, "--retrieval", "a.csv"),
        ("evaluate", "~nobody-of-this-name/x", "--retrieval", "a.csv"),
    ],
)
def test_names_that_the_system_refuses_are_told_in_one_line(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("image,caption\nx.png,a dog\n")
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
