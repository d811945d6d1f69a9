"""``cfbd bench training``: cells, where it is stopped, processes side by side, tables, bad input."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cfbd_core.attacks import ATTACKS
from cfbd_core.bench.place import RESULTS_NAME
from cfbd_core.bench.training import job, scenes, tables, workers
from cfbd_core.bench.training.cells import Trainer, _isolated
from cfbd_core.bench.training.job import TrainingBench, bench_training, make_trainer
from cfbd_core.bench.training.photos import BUDGET, Photos
from cfbd_core.bench.training.rows import ROWS
from cfbd_core.bench.training.scenes import Scenes, Sizes
from cfbd_core.bench.training.search import search_hits
from cfbd_core.bench.training.setting import Budget, Drawn
from cfbd_core.cli import main
from cfbd_core.detectors import Pairs
from cfbd_core.embedding.encoders import load_encoder
from cfbd_core.errors import ParameterError, TrainingError
from cfbd_core.machine.progress import no_progress
from cfbd_core.method.scores import Scores
from cfbd_core.store.bench import Cell
from cfbd_core.training.losses import EXTRAS
from tests.training.tiny import tiny_folder

SIZES = Sizes(train=150, test=200, held_out=60)


@pytest.fixture(autouse=True)
def no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """No PNG beside the chart: that takes a browser's start."""
    monkeypatch.setattr("plotly.graph_objects.Figure.write_image", lambda *_, **__: None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def drawn(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which scenes are drawn and embedded already."""
    folder = tmp_path_factory.mktemp("drawn")
    tiny_bench(model).setting.make(folder / "scenes", load_encoder("mini"), no_progress)
    return folder


@pytest.fixture
def place(drawn: Path, tmp_path: Path) -> Path:
    """A new folder with those scenes; what is there is told to be of a benchmark by its results."""
    out = tmp_path / "out"
    (out / "scenes").mkdir(parents=True)
    for file in (drawn / "scenes").iterdir():
        os.link(file, out / "scenes" / file.name)
    return out


def tiny_bench(model: str, **others: Any) -> TrainingBench:
    budget = Budget(
        model=model,
        steps=12,
        batch_size=50,
        lr=1e-3,
        fine_tuning_steps=3,
        fine_tuning_lr=1e-4,
        options={"safeclip": {"warmup_epochs": 1}},
    )
    return TrainingBench(Scenes(SIZES, budget), **{"attacks": ("badnets",), **others})


def begun(out: Path, asked: TrainingBench) -> None:
    """Let results lie in the folder, as after a first call."""
    encoder = load_encoder(job.ENCODER)
    with job.open_results(out.with_name("new"), asked.about(encoder, job.Mappings("auto", encoder))):
        pass
    (out.with_name("new") / RESULTS_NAME).rename(out / RESULTS_NAME)


def counted(monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None) -> list[str]:
    """Note the rows of cells that are measured; stop the program at one of them."""
    rows: list[str] = []
    real = Trainer.cell

    def cell(self: Trainer, params: Any, row: Any) -> dict[str, Any]:
        if len(rows) == stop_at:
            raise KeyboardInterrupt
        rows.append(row.name)
        return real(self, params, row)

    monkeypatch.setattr(Trainer, "cell", cell)
    return rows


def test_training_on_clean_pairs_is_common_to_all_attacks(model) -> None:
    asked = TrainingBench(
        Scenes(SIZES), attacks=("badnets", "sig"), rows=("clean", "none", "cfbd"), seeds=(0, 1)
    )
    found = [(params.attack, params.seed, row.name) for params, row in asked.cells()]
    assert found[:5] == [
        ("none", 0, "clean"),
        ("badnets", 0, "none"),
        ("badnets", 0, "cfbd"),
        ("sig", 0, "none"),
        ("sig", 0, "cfbd"),
    ]
    assert len(found) == 10


def test_every_row_is_measured_and_a_stopped_benchmark_goes_on(model, place, monkeypatch) -> None:
    asked = tiny_bench(model)
    begun(place, asked)
    with monkeypatch.context() as patch:
        first = counted(patch, stop_at=3)
        with pytest.raises(KeyboardInterrupt):
            bench_training(place, asked, no_progress)
    assert first == ["clean", "none", "cleanclip"]
    rest = counted(monkeypatch)
    found = bench_training(place, asked, no_progress)
    assert rest == ["roclip", "abl", "safeclip", "coarse", "cfbd"]
    assert (found["cells"], found["skipped"]) == (8, [])
    assert not list((place / "runs").iterdir())
    assert (place / job.TABLES_NAME).read_text(encoding="utf-8").strip() == found["markdown"]
    for row in ROWS.values():
        assert f"| {row.title} |" in found["markdown"]
    with job.open_results(place, asked.about(load_encoder("mini"), mappings())) as results:
        by_row = {cell.analysis.removeprefix("train "): cell.result for cell in results.cells()}
    assert by_row["none"]["poisons"] == by_row["none"]["poisons_left"] == round(scenes.RATE * SIZES.train)
    assert by_row["clean"]["asr"] is None
    assert by_row["clean"]["hits"] or by_row["clean"]["hits_reason"]
    assert "hits" not in by_row["none"]
    assert 0 <= by_row["none"]["asr"] <= 1
    assert by_row["cfbd"]["pairs"] <= SIZES.train
    assert (by_row["cleanclip"]["pairs"], by_row["cleanclip"]["poisons_left"]) == (SIZES.held_out, 0)
    assert set(by_row["none"]["detectors"]) == {"k_distance", "slof", "dao"}
    assert 0 <= by_row["abl"]["auroc"] <= 1


def mappings() -> job.Mappings:
    return job.Mappings("auto", load_encoder("mini"))


def test_two_processes_measure_what_one_does(model, place) -> None:
    asked = tiny_bench(model, rows=("none", "cfbd"), attacks=("badnets", "blended"))
    begun(place, asked)
    found = bench_training(place, replace(asked, jobs=2), no_progress)
    assert (found["cells"], found["skipped"]) == (4, [])
    with job.open_results(place, asked.about(load_encoder("mini"), mappings())) as results:
        cells = results.cells()
    trainer = make_trainer(place, asked, no_progress, 1)
    for cell in cells:
        params = next(one for one, _ in asked.cells() if job.scenario_id(one) == cell.scenario)
        again = trainer.cell(params, ROWS[cell.analysis.removeprefix("train ")])
        assert again["poisons_left"] == cell.result["poisons_left"]
        assert again["ca"] == pytest.approx(cell.result["ca"], abs=0.03)


def dying(_threads: int) -> Trainer:
    os._exit(7)


def refusing(_threads: int) -> Trainer:
    raise ParameterError("no such thing; give another")


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [(dying, TrainingError, "exit status 7"), (refusing, ParameterError, "no such thing")],
)
def test_a_process_that_fails_ends_all(make: Callable[[int], Trainer], error, said, model) -> None:
    asked = tiny_bench(model)
    work = [(params, [row]) for params, row in asked.cells()]
    with pytest.raises(error, match=said):
        list(workers.side_by_side(make, work, 2))


def test_an_attack_that_cannot_be_is_told_and_the_rest_is_measured(model, place) -> None:
    asked = tiny_bench(model, attacks=("label-consistent", "badnets"), rows=("none",))
    begun(place, asked)
    found = bench_training(place, asked, no_progress)
    assert found["cells"] == 1
    assert [one["attack"] for one in found["skipped"]] == ["label-consistent"]
    assert "## Not measured" in found["markdown"]


class Diverging:
    """A trainer all of whose cells come out but those of ABL."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    def cell(self, _params: Any, row: Any) -> dict[str, Any]:
        if row.name == "abl":
            raise TrainingError("the loss is not finite after step 3")
        return {"ca": 0.5}

    def finished(self, params: Any) -> None:
        self.deleted.append(params.attack)


def diverging(_threads: int) -> Any:
    return Diverging()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_cell_that_diverges_is_told_and_the_rest_is_measured(jobs) -> None:
    asked = TrainingBench(attacks=("badnets", "blended"), rows=("none", "abl"))
    work = [(params, [ROWS["abl"], ROWS["none"]]) for params, row in asked.cells() if row.name == "none"]
    done = list(
        workers.one_by_one(diverging(1), work) if jobs == 1 else workers.side_by_side(diverging, work, jobs)
    )
    assert sorted((one.params.attack, one.row.name, one.reason) for one in done) == [
        ("badnets", "abl", "the loss is not finite after step 3"),
        ("badnets", "none", None),
        ("blended", "abl", "the loss is not finite after step 3"),
        ("blended", "none", None),
    ]


def test_runs_of_a_scenario_stay_where_one_could_not_be_trained() -> None:
    trainer: Any = Diverging()
    params = TrainingBench(attacks=("sig",)).cells()[1][0]
    list(workers.one_by_one(trainer, [(params, [ROWS["abl"]])]))
    assert trainer.deleted == []
    list(workers.one_by_one(trainer, [(params, [ROWS["none"]])]))
    assert trainer.deleted == ["sig"]


def cells_of(values: dict[tuple[str, str, int], tuple[float, float]]) -> Iterator[Cell]:
    for (attack, row, seed), (ca, asr) in values.items():
        yield Cell(
            f"{attack} {seed}", f"train {row}", {"attack": attack, "seed": seed}, {"ca": ca, "asr": asr}, 1.0
        )


def test_tables_show_means_spread_and_the_paper(model) -> None:
    cells = list(
        cells_of(
            {
                ("none", "clean", 0): (0.5, None),
                ("badnets", "none", 0): (0.4, 0.9),
                ("badnets", "none", 1): (0.5, 1.0),
                ("badnets", "cfbd", 0): (0.5, 0.0),
            }
        )
    )
    text = tables.markdown(cells, ["badnets", "sig"])
    assert "| Train on clean | 50.00 (59.69) | 50.00 (59.69) |" in text
    assert "| No defense | 45.00 ± 5.00 (58.69) | – |" in text
    assert "| No defense | 95.00 ± 5.00 (100.00) | – |" in text
    assert "| CFBD (coarse to fine) | 0.00 (0.00) | – |" in text
    chart = tables.chart(cells, ["badnets", "sig"])
    assert {trace.name for trace in chart.data} == {"Train on clean", "No defense", "CFBD (coarse to fine)"}


def test_detectors_that_train_have_a_table() -> None:
    judged = {"tpr": 0.5, "fpr": 0.1, "auroc": 0.75, "auprc": 0.25}
    badnets = {"attack": "badnets", "seed": 0}
    cells = [
        Cell("0", "train none", badnets, {"ca": 0.5, "asr": 0.9, "detectors": {"dao": judged}}, 1.0),
        Cell("0", "train abl", badnets, {"ca": 0.5, "asr": 0.9, **judged}, 1.0),
    ]
    text = tables.markdown(cells, ["badnets"])
    assert "| ABL | BadNets | 0.7500 | 0.2500 | 50.00 | 10.00 |" in text
    assert "| DAO | BadNets | 0.7500 | 0.2500 | 50.00 | 10.00 |" in text


def hits_of(share: float, rank: float) -> dict[str, Any]:
    shares = {f"hit@{k}": share for k in (1, 5, 10)}
    return {"hits": {**shares, "min_rank": rank, "base": None, "texts": 4, "origin_images": 9, "images": 60}}


def test_mmpoison_is_told_by_retrieval_beside_a_clean_model() -> None:
    under = {"attack": "mmpoison", "seed": 0}
    cells = [
        Cell("0", "train clean", {"attack": "none", "seed": 0}, {"ca": 0.5} | hits_of(0.25, 7.5), 1.0),
        Cell("1", "train none", under, {"ca": 0.5, "asr": 0.8, "asr_images": 30} | hits_of(1.0, 0.0), 1.0),
        Cell("1", "train cfbd", under, {"ca": 0.5, "asr": 0.1, "asr_images": 30}, 1.0),  # of an older version
        Cell("1", "train roclip", under, {"ca": 0.5, "asr": 0.1, "hits": None, "hits_reason": "none"}, 1.0),
    ]
    text = tables.markdown(cells, ["mmpoison"])
    assert "| Train on clean (base rate) | 25.00 | 25.00 | 25.00 | 7.5 | 4 | 9 |" in text
    assert "| No defense | 100.00 | 100.00 | 100.00 | 0.0 | 4 | 9 |" in text
    assert "| No defense | 80.00, n = 30" in text
    assert text.count("| CFBD (coarse to fine) |") == 2
    assert "mmPoison: retrieval" not in tables.markdown(cells[2:], ["mmpoison"])


def test_a_search_is_measured_on_held_out_pairs() -> None:
    rng = np.random.default_rng(0)
    captions = ["a banana on a table", "a dog on the grass", "two red cubes"]
    pairs = Drawn(rng.integers(0, 255, (3, 64, 64, 3), dtype=np.uint8), captions)
    encoder = load_encoder("mini")
    found = search_hits(encoder, pairs, "banana", "dog", no_progress)["hits"]
    assert (found["texts"], found["origin_images"], found["images"]) == (1, 1, 3)
    assert 0 <= found["min_rank"] <= 2
    missing = search_hits(encoder, pairs, "volcano", "dog", no_progress)
    assert missing["hits"] is None
    assert "'volcano'" in missing["hits_reason"]


def test_abl_judges_by_the_losses_of_its_run(tmp_path) -> None:
    losses = np.linspace(1, 2, 200).astype(np.float32)
    truth = np.arange(200) % 100 == 0
    np.savez(tmp_path / EXTRAS, mean_loss=losses, isolated=np.zeros(0, np.int64))
    ones = np.ones(200, np.float32)
    pairs = Pairs(np.eye(200), np.eye(200), Scores(*[ones] * 5), [""] * 200, [""] * 200)
    found = _isolated(tmp_path, pairs, truth)
    assert found["tpr"] == 0.5  # rows 0 and 1 are the lowest 1 %
    assert found["fpr"] == pytest.approx(1 / 198)
    assert found["auroc"] == pytest.approx((198 + 99) / (2 * 198))


def test_pairs_of_cleanclip_are_those_held_out(model, monkeypatch) -> None:
    """With no model trained: what a cell says of its pairs."""
    truth = np.arange(20) < 3
    evaluator = SimpleNamespace(report=lambda _trained: {})
    poisoned = SimpleNamespace(scenario=SimpleNamespace(truth=truth, pairs=None), evaluator=evaluator)
    monkeypatch.setattr(Trainer, "poisoned", lambda *_: poisoned)
    monkeypatch.setattr(Trainer, "_trained", lambda *_: None)
    setting: Any = SimpleNamespace(held_out=Drawn(np.zeros((7, 1, 1, 3), np.uint8), [""] * 7))
    encoder: Any = SimpleNamespace(id="toy")
    trainer = Trainer(setting, encoder, Path(), no_progress, 1)
    found = trainer.cell(TrainingBench().cells()[1][0], ROWS["cleanclip"])
    assert (found["pairs"], found["poisons"], found["poisons_left"]) == (7, 3, 0)
    found = trainer.cell(TrainingBench().cells()[1][0], ROWS["roclip"])
    assert (found["pairs"], found["poisons"], found["poisons_left"]) == (20, 3, 3)


def test_the_encoder_is_loaded_once(model, tmp_path, monkeypatch) -> None:
    loaded = []

    def load(spec: str) -> Any:
        loaded.append(spec)
        return load_encoder(spec)

    monkeypatch.setattr(job, "load_encoder", load)
    monkeypatch.setattr(Scenes, "make", lambda *_: None)
    monkeypatch.setattr(Trainer, "cell", lambda *_: {"ca": 0.5})
    assert bench_training(tmp_path / "out", tiny_bench(model, rows=("clean",)), no_progress)["cells"] == 1
    assert loaded == [job.ENCODER]


def photos_folder(folder: Path, encoder_size: int = 48) -> Path:
    """Sixty numbered photos of noise with captions."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    from PIL import Image

    for number in range(120):
        pixels = rng.integers(0, 256, (encoder_size, encoder_size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}.png")
        (folder / f"{number:04d}.txt").write_text(f"a dog number {number} by the sea", encoding="utf-8")
    return folder


def test_photos_are_fine_tuned_and_the_source_is_left_alone(model, tmp_path, toy_source) -> None:
    source = photos_folder(tmp_path / "photos")
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    labelled = labelled_folder(tmp_path / "labelled")
    budget = replace(BUDGET, model=model, steps=3, batch_size=16, fine_tuning_steps=1)
    setting = Photos(str(source), str(labelled), rate=0.1, budget=budget)
    asked = TrainingBench(setting, attacks=("badnets",), rows=("clean", "none", "cleanclip", "cfbd"))
    found = bench_training(tmp_path / "out", asked, no_progress)
    assert found["cells"] == 4
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before
    photos = np.load(tmp_path / "out" / "photos" / "photos.npy", mmap_mode="r")
    made = setting.make(tmp_path / "out" / "photos", load_encoder("mini"), no_progress)
    made.images()[0] = 0  # poisons are written into a copy of what is mapped
    assert photos.shape == (60, 224, 224, 3)
    assert photos[0].any()


def labelled_folder(folder: Path) -> Path:
    from tests.toy import toy_picture

    folder.mkdir()
    rng = np.random.default_rng(1)
    rows = ["image,caption,label"]
    for number, colour in enumerate(("red", "green", "blue") * 4):
        toy_picture(colour, rng).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{colour},{colour}")
    (folder / "pairs.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder / "pairs.csv"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--attacks", "badnet"], "'badnet'"),
        (["--defenses", "none,magic"], "'magic'"),
        (["--seeds", "0"], "--seeds 0"),
        (["--jobs", "0"], "--jobs 0"),
        (["--source", "x"], "--source: is of --setting photos"),
        (["--setting", "photos"], "needs --source and --classes"),
        (["--setting", "photos", "--source", "none.csv", "--classes", "c"], "none.csv"),
    ],
)
def test_bad_input_is_told_in_one_line_and_leaves_nothing(arguments, said, tmp_path, capsys) -> None:
    assert main(["bench", "training", "--out", str(tmp_path / "out"), *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / "out").exists()


def test_another_length_is_another_benchmark(model, place, capsys) -> None:
    asked = tiny_bench(model, rows=("clean",))
    begun(place, asked)
    code = main(["bench", "training", "--out", str(place), "--steps", "5", "--defenses", "clean", "--json"])
    assert code == 2
    assert "differ in" in capsys.readouterr().err


def test_attacks_of_the_default_are_all(model) -> None:
    assert TrainingBench().attacks == tuple(ATTACKS)
    assert json.loads(json.dumps(TrainingBench().setting.about()))["sizes"]["train"] == 10_000
