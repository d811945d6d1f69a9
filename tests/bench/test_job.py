"""``cfbd bench detection`` from a source to tables and figures, its bad input, and where it is stopped."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
from PIL import Image

from cfbd_core import Audit
from cfbd_core.attacks import ATTACKS
from cfbd_core.bench import base, detection, job
from cfbd_core.bench.base import make_base
from cfbd_core.bench.material import Material
from cfbd_core.bench.options import BenchOptions
from cfbd_core.bench.place import RESULTS_NAME
from cfbd_core.bench.scenario import Poisoner
from cfbd_core.cli import main
from cfbd_core.errors import ParameterError
from cfbd_core.poisoning.copies import attack_copy
from cfbd_core.poisoning.plan import PoisonParams, make_plan
from cfbd_core.store.bench import BenchResults
from tests.toy import ToyEncoder

TABLE_4 = ("--attacks", "badnets", "--only", "table4", "--seeds", "1")
CELLS = 2 * 2  # rates and detectors of TABLE_4


@pytest.fixture(autouse=True)
def encoders(monkeypatch: pytest.MonkeyPatch) -> list[ToyEncoder]:
    """A toy encoder, rates that make poison of few pairs, and no browser for PNGs; returns what was loaded."""
    loaded: list[ToyEncoder] = []

    def load(*_: str) -> ToyEncoder:
        loaded.append(ToyEncoder())
        return loaded[-1]

    monkeypatch.setattr(job, "load_encoder", load)
    monkeypatch.setattr(detection, "TABLE_4_RATES", (0.1, 0.05))
    monkeypatch.setattr("plotly.graph_objects.Figure.write_image", lambda *_, **__: None)
    return loaded


@pytest.fixture
def refused(capsys) -> Callable[[int], str]:
    """Return a function that takes an exit code, asks that it is 2, and returns the one line that was told."""

    def line(code: int) -> str:
        lines = capsys.readouterr().err.strip().splitlines()
        assert code == 2, lines
        assert len(lines) == 1, lines
        return lines[0]

    return line


def bench(source: Path | str, out: Path, *more: str) -> int:
    mapping = () if "--mapping" in more else ("--mapping", "self")
    return main(["bench", "detection", str(source), "--out", str(out), *mapping, *more, "--json"])


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_benchmark_makes_tables_and_figures_and_does_nothing_twice(toy_source, tmp_path, capsys) -> None:
    source, out = toy_source(120), tmp_path / "out"
    assert bench(source, out, "--attacks", "badnets", "--only", "table4", "--seeds", "2") == 0
    first = json.loads(capsys.readouterr().out)
    assert first["cells"] == 2 * 2 * 2
    assert first["seconds"]["table4"] > 0
    assert (first["pairs"], first["left_out_poisoned"], first["skipped"]) == (120, 0, [])
    assert "| BadNets | 10.0% |" in first["markdown"]
    assert "left out" not in first["markdown"]
    assert (out / job.TABLES_NAME).read_text(encoding="utf-8").strip() == first["markdown"]
    stamp = (out / RESULTS_NAME).stat().st_mtime_ns
    assert bench(source, out, "--attacks", "badnets", "--only", "table4", "--seeds", "2") == 0
    assert json.loads(capsys.readouterr().out) == first
    assert (out / RESULTS_NAME).stat().st_mtime_ns == stamp


def test_known_poisons_are_left_out_and_that_is_told(toy_source, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert bench(toy_source(140, poisoned=tuple(range(0, 40, 2))), out, *TABLE_4) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["pairs"], found["left_out_poisoned"]) == (120, 20)
    assert "20 pairs that are known to be poisoned were left out" in found["markdown"].splitlines()[0]
    cells = [cell.result for cell in results(out)]
    assert {cell["pairs"] for cell in cells} == {120}
    assert {cell["poisons"] for cell in cells} == {12, 6}


def test_rows_that_share_a_picture_are_poisoned_as_cfbd_attack_does(toy_source, tmp_path, capsys) -> None:
    """A picture that one of its rows calls a banana is no victim under its other rows."""
    source = toy_source(60)
    with source.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with source.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            for copy in range(2):
                named = "a banana" if copy and int(row["key"]) % 3 == 0 else row["caption"]
                writer.writerow(row | {"key": f"{row['key']}-{copy}", "caption": named})
    params = PoisonParams("badnets", 0.2)
    manifest = attack_copy(source, tmp_path / "copy", params, processes=1)
    assert bench(source, tmp_path / "out", "--only", "table4", "--attacks", "badnets", "--seeds", "1") == 0
    capsys.readouterr()
    options = BenchOptions(mapping="self")
    pairs = Material.read(str(source), options).pairs
    read = make_base(str(source), tmp_path / "out" / "base", encoder=ToyEncoder())
    base = read.sharing(pairs, several=False)
    assert len(np.unique(base.record_of)) == 60
    assert (base.record_of[0::2] == base.record_of[1::2]).all()
    plan = make_plan(base.captions, base.record_of, params)
    assert [base.keys[poison.pair] for poison in plan.poisons] == [
        poison["origin_key"] for poison in manifest["poisons"]
    ]


def test_captions_given_for_other_targets_are_no_resumption(toy_source, tmp_path, capsys) -> None:
    given = tmp_path / "captions.txt"
    given.write_text("a banana\na ripe banana\na cheeseburger\n", encoding="utf-8")
    asked = ("--only", "natural", "--attacks", "badnets", "--seeds", "1", "--captions-file", str(given))
    source = toy_source(120)
    assert bench(source, tmp_path / "out", *asked) == 0
    capsys.readouterr()
    assert bench(source, tmp_path / "out", *asked, "--target", "banana,cheeseburger") == 2
    assert "captions file targets" in capsys.readouterr().err


def results(out: Path) -> list[detection.Cell]:
    return BenchResults(out / RESULTS_NAME, held_about(out)).cells()


def held_about(out: Path) -> dict[str, object]:
    with duckdb.connect(str(out / RESULTS_NAME), read_only=True) as connection:
        found: dict[str, object] = json.loads(connection.execute("SELECT value FROM about").fetchall()[0][0])
    return found


# --- bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--attacks", "badnet"], "attack 'badnet' is unknown"),
        (["--only", "table9"], "--only 'table9'"),
        (["--seeds", "0"], "--seeds 0"),
        (["--target", "banana,Banana"], "given twice"),
        (["--origin", " "], "no origin"),
        (["--attacks", "mmpoison", "--only", "table3"], "no scenario of mmpoison"),
        (["--captions-file", "nowhere.txt"], "--captions-file nowhere.txt: cannot be read"),
        (["--pool", "nowhere"], "nowhere: no such file"),
        (["--mapping", "nowhere"], "--mapping nowhere: no such file"),
        (["--attacks", "label-consistent", "--only", "table4"], "no pairs name 'basketball'"),
    ],
)
def test_bad_input_is_one_line_before_any_work(toy_source, tmp_path, refused, more, told) -> None:
    assert told in refused(bench(toy_source(60), tmp_path / "out", *more))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("pairs", "more", "told"),
    [
        (None, [], "no such file or folder"),
        ("key,image,caption\n", [], "no pair that can be copied"),
        ("key,image,caption\n1,0.png,red\n", [], "1 pairs that are not known to be poisoned are too few"),
        ("key,image,caption\na,0.png,red\n", ["--keys", "odd"], "key 'a' is not a number"),
    ],
)
def test_a_source_that_is_none_is_one_line_and_makes_nothing(tmp_path, refused, pairs, more, told) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "0.png")
    if pairs is not None:
        (tmp_path / "pairs.csv").write_text(pairs, encoding="utf-8")
    assert told in refused(bench(tmp_path / "pairs.csv", tmp_path / "deep" / "out", *more))
    assert not (tmp_path / "deep").exists()


def test_nothing_is_written_into_a_source_an_audit_or_over_a_file(toy_source, tmp_path, refused) -> None:
    source, pool = toy_source(60), toy_source(60, name="pool").parent
    Audit.create(tmp_path / "audit")
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    before = tree(tmp_path)
    for out, told in (
        (source.parent / "out", "inside the source"),
        (pool / "out", "inside the source"),
        (tmp_path / "audit", "in the audit"),
        (tmp_path / "audit" / "out", "in the audit"),
        (tmp_path / "file", "is a file"),
    ):
        assert told in refused(bench(source.parent, out, "--pool", str(pool), *TABLE_4))
    assert tree(tmp_path) == before


def test_a_folder_of_someone_else_stays_as_it_is(toy_source, tmp_path, refused) -> None:
    source, out = toy_source(120), tmp_path / "out"
    out.mkdir()
    (out / job.TABLES_NAME).write_text("mine", encoding="utf-8")
    assert "holds no results of a benchmark" in refused(bench(source, out, *TABLE_4))
    assert tree(out) == {job.TABLES_NAME: b"mine"}
    (out / RESULTS_NAME).write_text("mine, too", encoding="utf-8")
    assert RESULTS_NAME in refused(bench(source, out, *TABLE_4))
    assert tree(out) == {job.TABLES_NAME: b"mine", RESULTS_NAME: b"mine, too"}


def test_results_are_not_mixed_and_it_is_told_what_differs(
    toy_source, toy_mapping, tmp_path, capsys, refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, pool = toy_source(120), toy_source(30, name="pool", seed=3)
    own, out = tmp_path / "own.txt", tmp_path / "out"
    own.write_text("a banana on a plate\n", encoding="utf-8")
    first = (
        "--mapping",
        str(toy_mapping("first")),
        "--pool",
        str(pool),
        "--captions-file",
        str(own),
        *TABLE_4,
    )
    assert bench(source, out, *first) == 0
    before = tree(out)

    def differs(*more: str, of: Path = source) -> list[str]:
        line = refused(bench(of, out, *more))
        return [part.partition(" (")[0] for part in line.partition("differ in ")[2].split("), ")]

    def but(option: str, value: str) -> list[str]:
        at = first.index(option)
        return [*first[:at], option, value, *first[at + 2 :]]

    assert bench(source, out, *first) == 0
    capsys.readouterr()  # progress bars, on a slow machine
    assert differs(*but("--mapping", str(toy_mapping("second", seed=1)))) == ["mapping sha256"]
    assert differs(*but("--mapping", "self")) == ["mapping sha256"]
    assert differs(*but("--pool", str(toy_source(30, name="pool2", seed=4)))) == ["pool fingerprint"]
    assert differs(*first[:2], *first[4:]) == ["pool fingerprint"]
    assert differs(*first[:4], *first[6:]) == ["captions file sha256", "captions file targets"]
    assert differs(*first, "--captions", "all") == ["captions"]
    assert differs(*first, "--keys", "odd") == ["keys", "pairs"]
    other = toy_source(121, name="other", seed=1)
    assert differs(*first, of=other) == ["source fingerprint", "pairs"]
    own.write_text("another banana\n", encoding="utf-8")
    assert differs(*first) == ["captions file sha256"]
    own.write_text("a banana on a plate\n", encoding="utf-8")
    monkeypatch.setattr(job, "load_encoder", lambda *_: ToyEncoder(sha256="1" * 64))
    assert differs(*but("--mapping", "self")) == ["encoder sha256", "mapping sha256"]
    assert tree(out)[RESULTS_NAME] == before[RESULTS_NAME]


# --- what a source does not allow ---------------------------------------------------------------------


def test_what_cannot_be_had_is_told_and_the_rest_measured(
    toy_source, tmp_path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise ParameterError("all pictures excite the neurons alike")

    monkeypatch.setitem(ATTACKS._own, "trojan", replace(ATTACKS["trojan"], trigger=refuses))
    out = tmp_path / "out"
    asked = ("--attacks", "badnets,trojan,label-consistent", "--only", "table4", "--seeds", "2")
    assert bench(toy_source(120), out, *asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cells"] == 2 * CELLS
    assert [(one["name"], one["seeds"]) for one in found["skipped"]] == [
        ("Label-consistent (basketball), 10.0%", [0, 1]),
        ("Label-consistent (basketball), 5.0%", [0, 1]),
        ("Trojan, 10.0%", [0, 1]),
        ("Trojan, 5.0%", [0, 1]),
    ]
    assert "no pairs name 'basketball'" in found["skipped"][0]["reason"]
    assert found["skipped"][2]["reason"] == "all pictures excite the neurons alike"
    measured, _, told = found["markdown"].partition("## Not measured")
    assert "Trojan" not in measured
    assert "- Trojan, 5.0%: all pictures excite the neurons alike" in told
    assert "- Label-consistent (basketball), 10.0%: label-consistent: no pairs name 'basketball'" in told
    assert (out / job.TABLES_NAME).read_text(encoding="utf-8").strip() == found["markdown"]


def test_targets_and_origin_make_attacks_possible_that_were_not(toy_source, tmp_path, capsys) -> None:
    own, out = tmp_path / "own.txt", tmp_path / "out"
    own.write_text("a red thing\nsome red things\n", encoding="utf-8")
    asked = ["--attacks", "label-consistent,mmpoison", "--only", "table4", "--seeds", "1"]
    asked += ["--target", "red", "--origin", "blue", "--captions-file", str(own)]
    assert bench(toy_source(120), out, *asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert "| Label-consistent (red) | 10.0% |" in found["markdown"]
    assert "| mmPoison (red) from blue | 10.0% |" in found["markdown"]
    assert found["skipped"] == []
    assert {cell.params["options"].get("origin") for cell in results(out)} == {None, "blue"}


def test_tables_and_figures_show_the_chosen_alone(
    toy_source, tmp_path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    whole = job.write_figures
    monkeypatch.setattr(
        job, "write_figures", lambda cells, folder: drawn.append(cells) or whole(cells, folder)
    )

    def told(*more: str) -> dict[str, object]:
        assert bench(source, tmp_path / "out", *more, "--seeds", "1") == 0
        found: dict[str, object] = json.loads(capsys.readouterr().out)
        return found

    source = toy_source(200)
    assert told("--attacks", "badnets,blended", "--only", "figures")["cells"] == 8
    other = told("--attacks", "blended", "--only", "figures", "--target", "red")
    assert other["cells"] == 4
    assert {(cell.params["attack"], *cell.params["targets"]) for cell in drawn[-1]} == {("blended", "red")}
    again = told("--attacks", "badnets,blended", "--only", "figures")
    assert again["cells"] == 8
    assert {tuple(cell.params["targets"]) for cell in drawn[-1]} == {("banana",)}
    traps = told("--only", "traps")
    assert (traps["figures"], drawn[-1][0].params["attack"]) == ([], "none")
    assert "## No attack, and benign traps" in traps["markdown"]
    assert len(results(tmp_path / "out")) == 12 + traps["cells"]


# --- stopped ------------------------------------------------------------------------------------------


def stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (base, "attack_copy"),
        (Audit, "ingest"),
        (ToyEncoder, "encode_texts"),
        (base, "read_base"),
        (Poisoner, "scenario"),
        (detection, "analyse"),
        (job, "write_results"),
    ],
)
def test_a_benchmark_stopped_anywhere_goes_on(toy_source, tmp_path, capsys, encoders, place, name) -> None:
    source, out = toy_source(120), tmp_path / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(place, name, stop)
        assert bench(source, out, *TABLE_4) == 130
    assert held_about(out)["pairs"] == 120  # the results come first: they say whose folder it is
    assert not (out / job.TABLES_NAME).exists()
    encoded = encoders[-1].images_encoded
    capsys.readouterr()
    assert bench(source, out, *TABLE_4) == 0
    assert json.loads(capsys.readouterr().out)["cells"] == CELLS
    embedded = place in (Poisoner, detection, job) or name == "read_base"
    assert (encoded >= 120) == embedded
    if embedded:
        assert encoders[-1].images_encoded < 120  # poisons alone


@pytest.mark.parametrize(
    "left",
    [
        ["audit.lock"],
        ["audit.lock", "results.duckdb.new", "results.duckdb.new.wal"],
    ],
)
def test_one_killed_before_its_results_were_there_goes_on(toy_source, tmp_path, left) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in left:
        (out / name).write_bytes(b"half")
    assert bench(toy_source(120), out, *TABLE_4) == 0


@pytest.mark.parametrize("left", ["copy/.manifest.json.1.2.part", "audit/audit.duckdb.new"])
def test_one_killed_as_it_began_its_base_goes_on(toy_source, tmp_path, left) -> None:
    source, out = toy_source(120), tmp_path / "out"
    assert bench(source, out, *TABLE_4) == 0
    shutil.rmtree(out / job.BASE_NAME)
    (out / job.BASE_NAME / left).parent.mkdir(parents=True)
    (out / job.BASE_NAME / left).write_bytes(b"half")
    assert bench(source, out, *TABLE_4) == 0
    assert not (out / job.BASE_NAME / left).exists()


def test_only_the_detectors_asked_for_are_run(toy_source, tmp_path, capsys, refused) -> None:
    source, out = toy_source(120), tmp_path / "out"
    assert bench(source, out, *TABLE_4, "--detectors", "cfbd") == 0
    assert json.loads(capsys.readouterr().out)["cells"] == CELLS / 2
    assert bench(source, out, *TABLE_4) == 0  # and the others later
    assert json.loads(capsys.readouterr().out)["cells"] == CELLS
    assert "--detectors 'magic'" in refused(bench(source, tmp_path / "new", *TABLE_4, "--detectors", "magic"))
