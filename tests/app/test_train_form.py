"""The form of the page Train: what is asked for is what is told and started; what cannot be is told in plain words."""

from __future__ import annotations

import fcntl
import json
from dataclasses import replace

import pytest
from streamlit.testing.v1.element_tree import Selectbox

from cfbd_core import Audit
from cfbd_core.cli.command import parser
from cfbd_core.cli.train import TrainRequest
from cfbd_core.errors import AuditError
from cfbd_core.jobs.jobs import Jobs
from cfbd_core.training.config import CALMER, TrainParams
from cfbd_core.training.defences import DEFENSES
from tests.app.conftest import PAIRS, words, write_source
from tests.app.train_folders import fill, labels, press, write_job, write_run


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
        "train_defense": "cleanclip",
        "train_model": "RN50",
        "train_epochs": 3,
        "train_batch": 16,
        "train_lr": 2e-4,
        "train_seed": 7,
        "train_device": "cpu",
        "train_steps": 11,
        "train_warmup": 0,
        "train_accumulate": 2,
        "train_checkpoint": 5,
        "train_cleanclip_in_modal_weight": 0.5,
        "train_classes": "source/pairs.csv",
    }
    for key, value in values.items():
        test = fill(test, key, value)
    assert "from scratch" in words(test)
    assert "**11 steps** of 32 pairs" in words(test)
    test.button(key="train_start").click().run()
    assert not test.error
    ((kind, folder, arguments),) = started
    assert (kind, folder) == ("train-kept-cleanclip-RN50", home)
    options = parser().parse_args(arguments)
    asked = TrainRequest(options, {})
    assert options.out == home / "runs" / kind
    assert asked.params == TrainParams(
        subset="kept",
        defense="cleanclip",
        model="RN50",
        epochs=3,
        steps=11,
        batch_size=16,
        lr=2e-4,
        seed=7,
        device="cpu",
        warmup=0,
        accumulate=2,
        checkpoint_every=5,
        defense_options={"in_modal_weight": 0.5},
    )
    assert asked.measured_on["classes"] == str(home.parents[1] / "source" / "pairs.csv")
    assert asked.measured_on["attack"] is None


def test_a_run_whose_loss_was_not_finite_is_tried_again_with_its_own_settings_and_a_third_of_its_rate(
    page, root, home, started
):
    source = str(home.parents[1] / "source" / "pairs.csv")
    params = TrainParams(
        subset="all",
        defense="abl",
        model="RN50",
        epochs=7,
        steps=30,
        batch_size=16,
        accumulate=2,
        lr=3e-3,
        warmup=5,
        seed=4,
        device="cpu",
        checkpoint_every=50,
        defense_options={"gamma": 1, "isolation_epochs": 3},
    )
    measured_on = {"classes": source, "images": None, "attack": None}
    write_run(home, "train-x", done=20, ended=False, params=params.to_dict(), measured_on=measured_on)
    write_job(root, home, "train-x", 2, f"cfbd train: the loss is nan at step 21; {CALMER}\n")
    test = press(page("train"), "Try again, calmer")
    assert not test.exception
    assert test.number_input(key="train_lr").value == 1e-3
    test.button(key="train_start").click().run()
    ((_, _, arguments),) = started
    asked = TrainRequest(parser().parse_args(arguments), {})
    assert asked.params == replace(params, lr=1e-3)
    assert asked.measured_on == measured_on


def test_the_sliders_split_is_stored_before_it_is_trained_on(page, audit, started):
    test = page("train", q="12")
    assert audit.state.applied_params().q == 8
    test.button(key="train_start").click().run()
    assert Audit.open(audit.folder).state.applied_params().q == 12
    test = page("train", q="20")
    test = fill(test, "train_subset_3", "all")
    test.button(key="train_start").click().run()
    assert Audit.open(audit.folder).state.applied_params().q == 12
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
        (folder / "job.json").write_text(json.dumps(asked.to_dict()))

    monkeypatch.setattr("cfbd_core.jobs.jobs.launch", launch)
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
