"""Training: what is asked for is what is told, started and shown; runs side by side; every state in plain words."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1.element_tree import Selectbox

from app import train_charts, train_metrics, train_runs
from cfbd_core import Audit
from cfbd_core.cli import parser
from cfbd_core.cli_train import _Asked
from cfbd_core.errors import AuditError
from cfbd_core.jobs import Jobs
from cfbd_core.training import DEFENSES
from cfbd_core.training.config import CALMER, TrainParams
from tests.app.conftest import PAIRS, words, write_source


@pytest.fixture
def started(monkeypatch) -> list:
    """The jobs that were asked for; none is run."""
    calls: list = []
    monkeypatch.setattr(Jobs, "start", lambda self, *asked: calls.append(asked))
    return calls


@pytest.fixture(autouse=True)
def typed(monkeypatch) -> None:
    """A browser sends what is typed into a field with choices; AppTest knows of the choices alone."""
    index = Selectbox.index.fget

    def found(field):
        try:
            return index(field)
        except ValueError:
            field.options.append(field.value)
            return index(field)

    monkeypatch.setattr(Selectbox, "index", property(found))


@pytest.fixture
def home(audit) -> Path:
    """The audit's folder as the app knows it."""
    return audit.folder.resolve()


def write_run(
    audit: Path, name: str, *, subset="kept", defense="plain", model="mini", ca=0.5, asr=0.1, done=40, ended=True,
    **others,
) -> Path:  # fmt: skip
    """The folder of a run of 40 steps, as ``cfbd train`` writes it."""
    run = audit / "runs" / name
    run.mkdir(parents=True)
    params = TrainParams(subset=subset, defense=defense, model=model, epochs=2, batch_size=8, lr=1e-3)
    asked = {
        "id": name, "params": params.to_dict(), "audit": str(audit), "data": None, "pairs": 160, "epochs": 2,
        "set_fingerprint": "x", "steps": 40, "versions": {}, "measured_on": {"classes": "x" if ca else None},
        "started": f"2026-01-01T00:00:{len(list(run.parent.iterdir())):02d}+00:00",
    }  # fmt: skip
    (run / "run.json").write_text(json.dumps(asked | others))
    lines = [step(at, 5 / at) for at in range(10, done + 1, 10)]
    if ca:
        lines += [evaluated(at, ca, asr) for at in (20, 40) if at <= done]
    (run / "metrics.jsonl").write_text("".join(lines))
    if ended:
        result = {
            "steps": 40,
            "epochs": 2,
            "loss": 0.125,
            "seconds": 75.0,
            "pairs_per_s": 40.0,
            "ca": ca,
            "asr": asr,
        }
        (run / "result.json").write_text(json.dumps(result | {"defense": defense}))
        (run / "model").mkdir()
        (run / "model" / "open_clip_config.json").write_text("{}")
        (run / "model" / "open_clip_model.safetensors").write_bytes(b"")
    return run


def step(at: int, loss: float) -> str:
    line = {
        "kind": "step",
        "step": at,
        "epoch": 0,
        "loss": loss,
        "parts": {},
        "lr": 1e-3,
        "logit_scale": 14.0,
    }
    return json.dumps(line | {"pairs_per_s": 40.0, "time": 0.0}) + "\n"


def evaluated(at: int, ca: float, asr: float | None) -> str:
    return json.dumps({"kind": "eval", "epoch": 0, "step": at, "ca": ca, "asr": asr, "time": 0.0}) + "\n"


def write_job(root: Path, audit: Path, name: str, code: int | None, said: str = "", *flags: str) -> Path:
    """The record of a job that trained the run ``name``."""
    jobs = root / ".cfbd-jobs"
    folder = jobs / f"{len(list(jobs.glob('*'))):04d}"
    folder.mkdir(parents=True)
    arguments = ["train", "--audit", str(audit), "--out", str(audit / "runs" / name), "--subset=kept", *flags]
    asked = {
        "kind": name,
        "audit": str(audit),
        "arguments": arguments,
        "started": "2026-01-02T00:00:00+00:00",
    }
    (folder / "job.json").write_text(json.dumps(asked))
    (folder / "log.txt").write_text(said)
    if code is not None:
        (folder / "exit.json").write_text(json.dumps({"code": code, "finished": ""}))
    return folder


def fill(test, key: str, value):
    kinds = (test.text_input, test.number_input, test.selectbox, test.radio)
    return next(one for kind in kinds for one in kind if one.key == key).set_value(value).run()


def press(test, label: str):
    return next(button for button in test.button if button.label == label).click().run()


def labels(test) -> list[str]:
    return [button.label for button in test.button]


def table(test) -> dict:
    return test.dataframe[0].value.to_dict("list")


def charts(test) -> list[dict]:
    return [json.loads(chart.proto.spec) for chart in test.get("plotly_chart")]


# --- asking ----------------------------------------------------------------------------------------------


def test_each_set_tells_its_pairs_and_the_cost_follows(page, audit):
    report = audit.report()
    test = page("train")
    assert not test.exception
    assert not test.error
    captions = test.radio[0].proto.captions
    for caption, pairs in zip(captions, (report["kept"], report["benign"], PAIRS), strict=True):
        assert caption.startswith(f"{pairs:,} pairs")
    test = fill(fill(test, "train_batch", 16), "train_epochs", 3)
    steps = 3 * (report["kept"] // 16)
    assert f"**{steps} steps** of 16 pairs: 3 × {report['kept']} pairs, {16 * steps:,} in all" in words(test)
    assert "its first steps will tell" in words(test)
    test = fill(test, "train_subset_3", "all")
    assert f"**{3 * (PAIRS // 16)} steps**" in words(test)
    assert "No run yet" in words(test)


@pytest.mark.parametrize("name", DEFENSES)
def test_every_defence_says_what_it_is_and_has_its_own_options(page, audit, name):
    defense = DEFENSES[name]
    test = fill(page("train"), "train_defense", name)
    assert not test.exception
    assert not test.error
    assert defense.summary in words(test)
    shown = {one.key for kind in (test.number_input, test.selectbox) for one in kind}
    assert {f"train_{name}_{field}" for field in defense.options.__dataclass_fields__} <= shown


def test_what_was_asked_for_is_what_the_command_understands(page, home, started):
    test = page("train")
    values = {
        "train_defense": "cleanclip", "train_model": "RN50", "train_epochs": 3, "train_batch": 16, "train_lr": 2e-4,
        "train_seed": 7, "train_device": "cpu", "train_steps": 11, "train_warmup": 0, "train_accumulate": 2,
        "train_checkpoint": 5, "train_cleanclip_in_modal_weight": 0.5, "train_classes": "source/pairs.csv",
    }  # fmt: skip
    for key, value in values.items():
        test = fill(test, key, value)
    assert "from scratch" in words(test)
    assert "**11 steps** of 32 pairs" in words(test)
    test.button(key="train_start").click().run()
    assert not test.error
    ((kind, folder, arguments),) = started
    assert (kind, folder) == ("train-kept-cleanclip-RN50", home)
    options = parser().parse_args(arguments)
    asked = _Asked(options, {})
    assert options.out == home / "runs" / kind
    assert asked.params == TrainParams(
        subset="kept", defense="cleanclip", model="RN50", epochs=3, steps=11, batch_size=16, lr=2e-4, seed=7,
        device="cpu", warmup=0, accumulate=2, checkpoint_every=5, defense_options={"in_modal_weight": 0.5},
    )  # fmt: skip
    assert asked.measured_on["classes"] == str(home.parents[1] / "source" / "pairs.csv")
    assert asked.measured_on["attack"] is None


def test_the_sliders_split_is_stored_before_it_is_trained_on(page, audit, started):
    test = page("train", q="12")
    assert audit.applied_params().q == 8
    test.button(key="train_start").click().run()
    assert Audit.open(audit.folder).applied_params().q == 12
    test = page("train", q="20")
    test = fill(test, "train_subset_3", "all")
    test.button(key="train_start").click().run()
    assert Audit.open(audit.folder).applied_params().q == 12
    assert len(started) == 2


def test_a_model_is_a_run_a_folder_or_a_name(page, root, home, started):
    write_run(home, "train-all-plain-mini", subset="all")
    (root / "tiny").mkdir()
    (root / "tiny" / "open_clip_config.json").write_text("{}")
    test = page("train")
    for typed, told, spec in (
        ("mini", "ships with CFBD Auditor", "mini"),
        ("train-all-plain-mini", "is fine-tuned", str(home / "runs" / "train-all-plain-mini")),
        ("tiny", "from scratch", str(home.parents[1] / "tiny")),
        ("ViT-B-32/openai", "is fine-tuned", "ViT-B-32/openai"),
        ("hf-hub:o/m", "is fine-tuned", "hf-hub:o/m"),
    ):
        test = fill(test, "train_model", typed)
        assert not test.error, test.error[0].value
        assert told in words(test)
        test.button(key="train_start").click().run()
        assert f"--model={spec}" in started[-1][2]
    assert "train-all-plain-mini" in test.selectbox(key="train_model").options
    assert started[1][0] == "train-kept-plain-all-plain-mini"


def test_the_rate_of_an_earlier_run_tells_how_long_it_takes(page, audit, home):
    write_run(home, "train-x")
    test = fill(fill(page("train"), "train_batch", 16), "train_epochs", 10)
    pairs = 10 * (audit.report()["kept"] // 16) * 16
    assert f"At 40 pairs/s, as this model's last run here: about **0:{pairs // 40}**" in words(test)
    assert "its first steps will tell" in words(fill(test, "train_model", "RN50"))


def test_asked_twice_it_starts_once(page, root, home, monkeypatch):
    test, again = page("train"), page("train")
    launched = []

    def launch(folder, asked):
        lock = (folder / "lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        launched.append(lock)
        (folder / "job.json").write_text(json.dumps(asked))

    monkeypatch.setattr("cfbd_core.jobs.launch", launch)
    test.button(key="train_start").click().run()
    again.button(key="train_start").click().run()
    assert not test.exception
    assert not again.error
    assert len(launched) == 1
    other = fill(page("train"), "train_epochs", 3) if "train_start" in labels(again) else None
    assert other is None
    with pytest.raises(AuditError, match="train-kept-plain-mini is running on this audit"):
        Jobs(root / ".cfbd-jobs").start("train-b", home, ["train", "--out", "b"])
    assert "Stop" in labels(test)
    for lock in launched:
        lock.close()


def test_poisoned_copies_of_the_lab_are_offered_for_asr(page, root, home, started, monkeypatch):
    copy = root / "copies" / "mine"
    copy.mkdir(parents=True)
    for name in ("manifest.json", "trigger.npz"):
        (copy / name).write_text("{}")
    record = write_job(root, copy.resolve(), "attack", 0)
    asked = json.loads((record / "job.json").read_text())
    (record / "job.json").write_text(json.dumps(asked | {"kind": "attack"}))
    test = page("train")
    assert test.selectbox(key="train_attack").disabled
    assert "copies/mine" in test.selectbox(key="train_classes").options
    test = fill(test, "train_classes", "copies/mine")
    assert test.selectbox(key="train_attack").options == ["Not measured", "copies/mine"]
    test = fill(test, "train_attack", "copies/mine")
    test.button(key="train_start").click().run()
    assert f"--attack={copy.resolve()}" in started[0][2]


def test_a_demo_measures_by_its_own_scenes(page, home):
    (home / "source").mkdir()
    for name in ("manifest.json", "trigger.npz"):
        (home / "source" / name).write_text("{}")
    test = page("train")
    assert test.selectbox(key="train_classes").value == "audits/toy/source"
    assert test.selectbox(key="train_attack").value == "audits/toy/source"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"train_model": "  "}, "Model: give mini"),
        ({"train_model": "../../etc"}, "outside the folders"),
        ({"train_model": "ViT-B-32@/etc/passwd"}, "outside the folders"),
        ({"train_batch": 500}, "give a smaller Batch size"),
        ({"train_batch": 1}, "needs at least 2 pairs"),
        ({"train_lr": 0.0}, "Learning rate 0.0: give a number above 0"),
        ({"train_classes": "nowhere"}, "no such file"),
        ({"train_classes": "source/pairs.csv", "train_attack": "/etc"}, "outside the folders"),
        ({"train_defense": "roclip", "train_roclip_pool": 0.0}, "pool 0: give a share"),
    ],
)
def test_what_cannot_be_asked_for_is_told_and_nothing_can_be_started(page, audit, values, told):
    test = page("train")
    for key, value in values.items():
        test = fill(test, key, value)
    assert not test.exception
    assert told in words(test), words(test)
    assert "Start" not in labels(test)


# --- before there is anything ----------------------------------------------------------------------------


def test_no_audit_is_a_calm_page(page, root, monkeypatch):
    monkeypatch.setenv("CFBD_APP_AUDIT", "")
    test = page("train")
    assert not test.exception
    assert not test.error
    assert "No audit is open" in words(test)


def test_an_audit_without_scores_can_train_on_all_of_it_and_says_why_not_on_more(page, root, started):
    half = Audit.create(root / "audits" / "half")
    test = page("train", audit="audits/half")
    assert "No pairs yet" in words(test)
    half.ingest(write_source(root / "other", pairs=20))
    test = page("train", audit="audits/half")
    assert not test.exception
    assert not test.error
    assert len(test.radio[0].options) == 1
    assert "come with the split" in words(test)
    assert "not scored yet" in words(test)
    test.button(key="train_start").click().run()
    assert "--subset=all" in started[0][2]


def test_a_set_of_no_pairs_is_told(page, audit, started):
    rows = audit.pairs()["key"].to_pylist()
    import pyarrow as pa

    audit.decide(pa.table({"key": rows, "decision": ["remove"] * len(rows), "note": [""] * len(rows)}))
    test = page("train")
    assert not test.exception
    assert "choose another set" in " ".join(info.value for info in test.info)
    assert "Start" not in labels(test)


# --- runs ------------------------------------------------------------------------------------------------


def test_runs_stand_side_by_side_as_in_the_papers_tables(page, home):
    for number, (subset, defense) in enumerate(
        [("all", "abl"), ("kept", "plain"), ("all", "cleanclip"), ("coarse", "plain"), ("all", "plain"),
         ("kept", "roclip"), ("all", "roclip")]
    ):  # fmt: skip
        write_run(
            home, f"train-{number}", subset=subset, defense=defense, ca=0.5 + number / 100, asr=number / 10
        )
    test = page("train")
    assert not test.exception
    shown = table(test)
    assert shown["Run"] == [str(number) for number in range(6, -1, -1)]
    assert shown["CA"] == pytest.approx([56, 55, 54, 53, 52, 51, 50])
    assert shown["ASR"] == pytest.approx([60, 50, 40, 30, 20, 10, 0])
    assert set(shown["State"]) == {"done"}
    assert shown["Time"][0] == "1:15"
    bars, curves = charts(test)
    names = ["No defence", "Coarse only", "CFBD", "CleanCLIP", "RoCLIP", "CFBD + RoCLIP", "ABL"]
    assert [bar["name"] for bar in bars["data"]] == ["CA", "ASR"]
    assert bars["data"][0]["y"] == names
    assert [line["name"] for line in curves["data"]] == [name for name in names for _ in range(3)]


def test_runs_of_one_method_are_told_apart_and_unfinished_ones_marked(home):
    for name, ended in (("train-a", True), ("train-b", True), ("train-c", False)):
        write_run(home, name, ended=ended)
    runs = [train_runs.read(home, home / "runs" / name, None) for name in ("train-a", "train-b", "train-c")]
    found = [run for run in runs if run is not None]
    assert train_runs.labels(found[1:], home) == ["CFBD", "CFBD (stopped)"]
    assert train_runs.labels(found, home) == ["CFBD · a", "CFBD · b", "CFBD (stopped)"]
    assert train_runs.labels(found[:1], home.parent) == ["CFBD · toy"]


def test_the_run_of_another_audit_can_stand_beside(page, root, audit, home):
    clean = root / "audits" / "clean"
    shutil.copytree(home, clean)
    write_run(home, "train-kept-plain-mini")
    write_run(clean.resolve(), "train-all-plain-mini", subset="all", asr=0.0)
    test = page("train")
    assert "Audit" not in table(test)
    test.multiselect(key="train_others").set_value([clean.resolve()]).run()
    assert not test.exception
    assert table(test)["Audit"] == ["audits/toy", "audits/clean"]
    assert charts(test)[0]["data"][0]["y"] == ["No defence<br>clean", "CFBD"]


def test_runs_that_were_not_measured_say_so_and_how_it_is_done_later(page, home):
    run = write_run(home, "train-x", ca=None, asr=None)
    test = page("train")
    assert "No accuracy to compare" in words(test)
    assert len(charts(test)) == 1
    code = " ".join(part.value for part in test.code)
    assert str(run / "model") in code
    assert "open_clip.create_model_and_transforms(name)" in code
    assert f"cfbd evaluate {run}" in code


def test_a_run_that_the_audit_knows_of_is_listed_where_its_folder_has_gone(page, audit, home, monkeypatch):
    asked = {
        "params": TrainParams(subset="all").to_dict(),
        "pairs": 200,
        "steps": 9,
        "started": "2026-01-01T00:00:00",
    }
    held = {
        "folder": "/gone/run-of-the-shell",
        "asked": asked,
        "result": {"steps": 9, "ca": 0.25, "asr": None},
    }
    monkeypatch.setattr(Audit, "training_runs", lambda self: [held])
    test = page("train")
    assert not test.exception
    assert (table(test)["Run"], table(test)["CA"]) == (["run-of-the-shell"], [25.0])
    assert "has gone" in words(test)


def test_a_failed_run_has_its_one_line_in_the_forms_words_and_is_dismissed(page, root, home):
    said = "cfbd train: --batch-size 500: the set has 3 pairs <b>:rocket:\n"
    write_job(root, home, "train-kept-plain-mini", 2, said, "--classes=x")
    test = page("train")
    assert not test.exception
    assert "Batch size 500: the set has 3 pairs <b>:rocket:" in words(test)
    assert "<b>" not in test.error[0].value
    assert table(test)["State"] == ["failed"]
    press(test, "Dismiss")
    assert "No run yet" in words(test)


def test_a_run_whose_loss_is_not_finite_is_not_offered_again(page, root, home):
    write_run(home, "train-x", done=20, ended=False)
    write_job(root, home, "train-x", 2, f"cfbd train: the loss is nan at step 21; {CALMER}\n")
    test = page("train")
    assert "give a smaller Learning rate or a longer Warm-up, and a new Run" in words(test)
    assert "Try again" not in labels(test)


def test_a_stopped_run_is_resumed_as_it_was_asked_for(page, root, home, started):
    write_run(home, "train-x", done=20, ended=False)
    record = write_job(root, home, "train-x", 130)
    test = page("train")
    assert "Stopped at step 20 of 40" in words(test)
    assert "Dismiss" not in labels(test)
    press(test, "Resume")
    asked = json.loads((record / "job.json").read_text())["arguments"]
    assert started == [("train-x", home, [*asked, "--resume"])]


def test_a_stopped_run_of_the_command_line_is_resumed_by_what_its_folder_tells(page, home, started):
    run = write_run(home, "mine", done=20, ended=False)
    press(page("train"), "Resume")
    assert started == [("mine", home, ["train", "--audit", str(home), "--out", str(run), "--resume"])]


def test_a_run_that_goes_on_is_live_and_no_other_is_offered(page, root, home):
    run = write_run(home, "train-x", done=20, ended=False)
    record = write_job(root, home, "train-x", None)
    with (record / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        test = page("train")
        assert not test.exception
        shown = {metric.label: metric.value for metric in test.metric}
        assert shown == {"Step": "20 / 40", "Loss": "0.250", "CA": "50.00%", "ASR": "10.00%", "Pairs/s": "40"}
        assert "Stop" in labels(test)
        assert "Start" not in labels(test)
        loss = charts(test)[0]
        assert loss["layout"]["xaxis"]["range"] == [0, 40.8]
        with (run / "metrics.jsonl").open("a") as log:
            log.write(step(30, 0.125))
        test.run()
        assert next(metric.value for metric in test.metric if metric.label == "Step") == "30 / 40"
        (record / "stopping").touch()
        test.run()
        assert "Stop at once" in labels(test)
    (record / "exit.json").write_text('{"code": 130}')
    test.run()
    assert "Resume" in labels(test)


def test_a_run_in_a_terminal_is_shown_as_running(page, home):
    run = write_run(home, "mine", done=20, ended=False)
    with (run / "audit.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        test = page("train")
        assert not test.exception
        assert "Started from the command line" in words(test)
        assert table(test)["State"] == ["running"]
    assert table(test.run())["State"] == ["stopped"]


def test_damaged_files_of_a_run_leave_the_page_whole(page, home):
    run = write_run(home, "train-<b>:rocket:")
    (run / "result.json").write_text("{")
    (run / "metrics.jsonl").write_bytes(b"\xff\xfe\n[]\n{}\n" + step(10, 1.0).encode())
    (home / "runs" / "train-y").mkdir()
    (home / "runs" / "train-y" / "run.json").write_text('{"params": 3, "started": 4}')
    test = page("train")
    assert not test.exception
    assert "<b>" not in " ".join(part.value for part in [*test.markdown, *test.caption, *test.warning])
    assert sorted(table(test)["Run"]) == ["<b>:rocket:", "y"]


# --- the log ---------------------------------------------------------------------------------------------


def test_a_log_is_read_on_and_a_line_half_written_waits(tmp_path):
    log = tmp_path / "metrics.jsonl"
    assert train_metrics.curves(tmp_path).step == ()
    log.write_text(step(10, 2.0) + evaluated(10, 0.5, None) + step(20, 1.0)[:30])
    found = train_metrics.curves(tmp_path)
    assert (found.step, found.loss, found.measured_at, found.asr) == ((10,), (2.0,), (10,), (None,))
    with log.open("a") as file:
        file.write(step(20, 1.0)[30:] + "rubbish\n")
    found = train_metrics.curves(tmp_path)
    assert (found.step, found.pairs_per_s) == ((10, 20), 40.0)
    with log.open("a") as file:
        file.write(step(20, 0.5))
    assert train_metrics.curves(tmp_path).loss == (2.0, 0.5)
    os.replace(_written(tmp_path / "new", step(10, 3.0) + step(20, 2.0) + step(30, 1.0)), log)
    assert train_metrics.curves(tmp_path).loss == (3.0, 2.0, 1.0)
    log.write_text(step(10, 4.0))
    assert train_metrics.curves(tmp_path).loss == (4.0,)


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_curve_that_grows_stays_where_it_was():
    rng = np.random.default_rng(0)
    values = rng.random(20_000).tolist()
    steps = list(range(20_000))
    for n in (1, 600, 601, 5000, 19_999):
        at, shown = train_charts.thinned(steps[:n], values[:n])
        assert len(at) == len(shown) <= train_charts.MOST
        stride = round(at[1] - at[0]) if n > 1 else 1
        for place in (0, len(at) // 2, len(at) - 1):  # literally
            part = values[:n][place * stride : (place + 1) * stride]
            assert shown[place] == pytest.approx(sum(part) / len(part))
    whole, longer = (
        train_charts.thinned(steps[:1300], values[:1300]),
        train_charts.thinned(steps[:2000], values[:2000]),
    )
    assert np.array_equal(whole[1][:-1], longer[1][: len(whole[1]) - 1])


def test_names_of_runs_are_plain_text_in_charts():
    curves = train_metrics.Curves((1,), (1.0,), (None,), (1,), (0.5,), (None,))
    names = ["CFBD · <b>a</b>"]
    bars, lines = train_charts.compared(names, [0.5], [None]), train_charts.overlaid(names, [curves], 1)
    assert bars.figure.data[0].y == ("CFBD<br>&lt;b&gt;a&lt;/b&gt;",)
    assert lines.figure.data[0].name == "CFBD · &lt;b&gt;a&lt;/b&gt;"
    assert bars.data["run"] == lines.data["run"][:1] == names


def test_charts_hold_no_number_that_a_browser_cannot_read():
    curves = train_metrics.Curves((1, 2), (1.0, None), (None, None), (2,), (0.5,), (None,))
    for chart in (
        train_charts.loss(curves, None),
        train_charts.measured(curves, 2, "none"),
        train_charts.overlaid(["a", "b"], [curves, train_metrics.Curves()], None),
        train_charts.compared(["a"], [0.5], [None]),
    ):
        assert len({len(column) for column in chart.data.values()}) == 1
        json.loads(chart.figure.to_json(), parse_constant=pytest.fail)
