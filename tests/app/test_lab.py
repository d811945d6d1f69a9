"""The attack lab: what is asked for is what is shown, told, and written."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from PIL import Image

from app.lab.request import CopyRequest
from cfbd_core.attacks import ATTACKS
from cfbd_core.attacks.base import own_options
from cfbd_core.cli.attack import _params
from cfbd_core.cli.command import parser
from cfbd_core.config import help_of
from cfbd_core.jobs.jobs import Job, Jobs
from cfbd_core.poisoning.copies import CopyOptions
from cfbd_core.poisoning.plan import CONTROL, PoisonParams
from cfbd_core.sources import SourceOptions
from tests.app.conftest import HOSTILE, address, make_audit, words, write_source

PAIRS = 60
OWN_CAPTIONS = {"label-consistent": {"lab_targets": "red"}, "mmpoison": {"lab_mmpoison_origin": "red"}}


@pytest.fixture
def mine(root: Path) -> Path:
    """A clean source, ``mine/pairs.csv``."""
    return write_source(root / "mine", (), truth=False, pairs=PAIRS)


@pytest.fixture
def started(monkeypatch) -> list:
    """The jobs that were asked for; none is run."""
    calls: list = []
    monkeypatch.setattr(Jobs, "start", lambda self, *asked: calls.append(asked))
    return calls


@pytest.fixture
def lab(page, mine):
    """Open the page on ``mine`` with other values in its fields, by their keys."""

    def opened(**values):
        test = page("lab")
        for key, value in {"lab_source": "mine/pairs.csv", "lab_rate": 0.2, **values}.items():
            test = fill(test, key, value)
        return test

    return opened


def fill(test, key: str, value):
    kinds = (test.text_input, test.number_input, test.selectbox, test.checkbox, test.toggle)
    field = next(one for kind in kinds for one in kind if one.key == key)
    return field.set_value(value).run()


def cards(test) -> list[str]:
    found = [part.body for part in test.get("html") if "cfbd-examples" in part.body]
    return found[0].split('<div class="cfbd-example">')[1:] if found else []


def write(test):
    return test.button(key="lab_write").click().run()


def is_offered(test) -> bool:
    return any(button.key == "lab_write" for button in test.button)


# --- choosing --------------------------------------------------------------------------------------------


def test_the_lab_needs_no_audit_and_says_how_it_goes(page, root, monkeypatch):
    monkeypatch.setenv("CFBD_APP_AUDIT", "")
    test = page("lab")
    assert not test.exception
    assert test.title[0].value == "Attack lab"
    assert "Which pairs shall be attacked?" in words(test)
    assert "Make the demo" in words(test)
    assert not is_offered(test)


def test_the_scenes_of_a_demo_are_offered_where_there_is_one(page, root, mine):
    shutil.copytree(mine.parent, root / "audits" / "toy" / "source")
    test = page("lab")
    next(button for button in test.button if button.label == "Take the demo's scenes").click().run()
    test = fill(test, "lab_rate", 0.2)
    assert f"**12** of {PAIRS} pairs" in words(test)
    assert len(cards(test)) == 10
    (name,) = [field.value for field in test.text_input if field.label == "Folder of the copy"]
    assert name == "copies/toy-badnets-0.2"


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_has_its_own_parameters_and_tells_what_it_will_do(lab, name):
    attack = ATTACKS[name]
    test = lab(lab_attack=name)
    for key, value in OWN_CAPTIONS.get(name, {}).items():
        test = fill(test, key, value)
    for key, value in ({"lab_rate": 0.1} if name in OWN_CAPTIONS else {}).items():
        test = fill(test, key, value)
    assert not test.exception
    assert not test.error, test.error[0].value
    count = 6 if name in OWN_CAPTIONS else 12
    assert f"**{count}** of {PAIRS} pairs ({count / PAIRS:.2%}) will be poisoned" in words(test)
    assert attack.summary.partition(";")[0] in words(test)
    assert attack.source in words(test)
    fields = [
        field
        for kind in (test.text_input, test.number_input, test.selectbox, test.checkbox)
        for field in kind
    ]
    shown = {field.key: field.value for field in fields}
    helped = {field.key: field.help for field in fields}
    own = own_options(attack.params)
    assert {key for key in shown if key and key.startswith(f"lab_{name}_")} == {
        f"lab_{name}_{one}" for one in own
    }
    for field, one in own.items():
        if f"lab_{name}_{field}" not in OWN_CAPTIONS.get(name, {}):
            assert shown[f"lab_{name}_{field}"] == one.default
        assert helped[f"lab_{name}_{field}"].startswith(help_of(one))
    assert " ".join((attack.params.__doc__ or "").split())[:60] not in words(test)
    if attack.optimised:
        assert not cards(test)
        assert "examples come with the copy" in words(test)
    else:
        assert len(cards(test)) == min(10, count)


def test_a_control_copy_has_no_poison_and_its_traps_are_counted(lab):
    test = lab(lab_attack=CONTROL, lab_near_duplicates=0.1)
    assert not test.error
    assert "No pair is poisoned" in words(test)
    assert "6 pairs fall into the benign trap near-duplicate pictures" in words(test).replace("*", "")
    assert len(cards(test)) == 6
    test = fill(fill(test, "lab_near_duplicates", 0.0), "lab_boilerplate", 0.1)
    assert "No picture changes in this copy" in words(test)


def test_examples_follow_the_fields_and_can_be_put_away(lab):
    test = lab(lab_attack="blended")
    faint = cards(test)
    assert cards(fill(test, "lab_seed", 1)) != faint
    assert cards(fill(test, "lab_seed", 0)) == faint
    strong = cards(fill(test, "lab_blended_ratio", 0.5))
    keys = [re.findall(r"(k&lt;b&gt;:tada:\d+-p0)", card) for card in faint]
    assert all(keys)
    assert strong != faint
    assert [re.findall(r"(k&lt;b&gt;:tada:\d+-p0)", card) for card in strong] == keys
    assert not cards(fill(test, "lab_show", False))


def test_poisons_of_an_earlier_attack_are_told(lab, root):
    write_source(root / "again", (5, 25), pairs=PAIRS)
    test = lab(lab_source="again/pairs.csv")
    assert "2 pairs of the source are poisoned already" in words(test)


def test_what_is_chosen_is_still_there_after_a_look_at_another_page(lab):
    test = lab(lab_attack="sig", lab_sig_frequency=9.0)
    test.switch_page("views/audits.py").run()
    test.switch_page("views/lab.py").run()
    assert test.number_input(key="lab_sig_frequency").value == 9.0
    assert len(cards(test)) == 10


def test_a_source_is_read_anew_when_it_has_changed(lab, root):
    test = lab()
    write_source(root / "more", (), truth=False, pairs=80)
    shutil.copytree(root / "more", root / "mine", dirs_exist_ok=True)
    assert "**16** of 80 pairs" in words(test.run())


# --- bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"lab_source": "../pairs.csv"}, "outside the folders"),
        ({"lab_source": "nowhere.csv"}, "no such file"),
        ({"lab_source": "mine/0000.png"}, "no pairs found"),
        ({"lab_source": "words.csv"}, "words.csv"),
        ({"lab_image_col": "nothing"}, "nothing"),
        ({"lab_rate": 0.0}, "Poison rate 0.0: give a share"),
        ({"lab_rate": 0.001}, "is no poison at all; give a higher rate"),
        ({"lab_targets": " , "}, "Targets is empty"),
        ({"lab_targets": "dog,Dog"}, "given twice"),
        ({"lab_targets": "cat", "lab_rule": "natural"}, "no natural captions of 'cat'"),
        ({"lab_attack": "label-consistent"}, "no pairs name 'banana'"),
        ({"lab_attack": "label-consistent", "lab_targets": "red"}, "give a lower rate"),
        ({"lab_badnets_size": 0}, "patch size 0: give 1 to 224"),
        ({"lab_badnets_size": 225}, "patch size 225: give 1 to 224"),
        ({"lab_attack": "sig", "lab_sig_frequency": 0.0}, "frequency 0.0"),
        ({"lab_attack": "mmpoison", "lab_mmpoison_origin": " "}, "has no origin"),
        ({"lab_near_duplicates": 0.001}, "Near-duplicate pictures 0.001 of 60 pairs is 0"),
        ({"lab_mismatched": 1.0}, "give a smaller share"),
        ({"lab_attack": "mmpoison", "lab_captions_file": "../x.txt"}, "outside the folders"),
        ({"lab_attack": "badclip", "lab_captions_file": "x.txt"}, "File of natural captions"),
        ({"lab_attack": "trojan", "lab_encoder": "mini@../weights.pt"}, "outside the folders"),
        ({"lab_attack": "trojan", "lab_trojan_steps": 0}, "steps 0: give at least 1"),
    ],
)
def test_bad_input_is_one_line_and_nothing_can_be_written(lab, root, values, told):
    (root / "words.csv").write_text("text\nno pictures here\n")
    test = lab(**values)
    assert not test.exception
    assert len(test.error) == 1
    assert told in words(test)
    assert not is_offered(test)
    assert not cards(test)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("../elsewhere", "outside the folders"),
        ("", "give a path"),
        ("audits/toy/copy", "lies in the audit"),
        ("mine/pairs.csv", "is a file"),
        ("taken", "is not empty"),
        ("finished", "is not empty"),
    ],
)
def test_a_place_where_something_is_or_that_is_forbidden_is_refused(lab, root, started, typed, told):
    for name, text in (("taken/notes.txt", "mine"), ("finished/manifest.json", '{"finished": true}')):
        (root / name).parent.mkdir()
        (root / name).write_text(text)
    test = lab()
    next(field for field in test.text_input if field.label == "Folder of the copy").set_value(typed)
    write(test)
    assert not test.exception
    assert len(test.error) == 1
    assert told in words(test)
    assert not started


def test_a_copy_among_the_pictures_of_a_table_is_refused(lab, started):
    test = lab()
    next(field for field in test.text_input if field.label == "Folder of the copy").set_value("mine/copy")
    write(test)
    assert "lies inside the source" in words(test)
    assert not started


def test_one_pair_is_told_as_one(lab):
    test = lab(lab_rate=1 / PAIRS, lab_boilerplate=1 / PAIRS)
    assert f"**1** of {PAIRS} pairs (1.67%) will be poisoned" in words(test)
    assert "1 pair falls into the benign trap" in words(test)


def test_a_copy_inside_its_source_is_refused(lab, root, started):
    shards = root / "photos"
    shards.mkdir()
    for number in range(PAIRS):
        shutil.copy(root / "mine" / f"{number:04d}.png", shards)
        (shards / f"{number:04d}.txt").write_text(f"a thing {number}")
    test = lab(lab_source="photos")
    next(field for field in test.text_input if field.label == "Folder of the copy").set_value("photos/copy")
    write(test)
    assert "lies inside the source" in words(test)
    assert not started


@pytest.mark.parametrize("caption", HOSTILE)
def test_strangers_captions_and_names_are_plain_text(lab, root, mine, caption):
    folder = root / "<b>**x**</b>"
    shutil.copytree(mine.parent, folder)
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "image", "caption"])
        writer.writerows([f"<i>{n}", f"{n:04d}.png", caption] for n in range(PAIRS))
    test = lab(lab_source="<b>**x**</b>/pairs.csv")
    assert not test.exception
    assert len(cards(test)) == 10
    for card in cards(test):
        text = re.sub(r"data:image/webp;base64,[\w+/=]+", "", card)
        assert len(text) < 10_000
        assert not re.search(r"<(script|b|i)\b", text)
    test = fill(test, "lab_targets", "<b>x</b> :rocket: **bold**")
    assert not re.search(r"<b>", "".join(part.value for part in test.markdown))
    assert "<b>x</b> :rocket: **bold**" in words(test)


# --- writing ---------------------------------------------------------------------------------------------


def test_the_job_gets_what_the_fields_say(lab, root, mine, started):
    (root / "reds.txt").write_text("a red dog\na dog and a cat\n")
    test = lab(
        lab_attack="badclip",
        lab_targets="dog, cat",
        lab_rate=0.25,
        lab_seed=7,
        lab_captions="all",
        lab_badclip_epochs=3,
        lab_triggers=2,
        lab_captions_file="reds.txt",
        lab_encoder="ViT-B-32/openai",
        lab_boilerplate=0.1,
        lab_written="folder",
        lab_format="csv",
        lab_image_col="image",
    )
    assert not test.error, test.error[0].value
    write(test)
    home = root.resolve()
    ((kind, folder, arguments),) = started
    assert (kind, folder) == ("attack", home / "copies" / "pairs-badclip-0.25")
    assert arguments == [
        "attack",
        "badclip",
        f"{home}/mine/pairs.csv",
        "--out",
        f"{home}/copies/pairs-badclip-0.25",
        "--captions=all",
        "--seed=7",
        "--format=folder",
        "--source-format=csv",
        "--image-col=image",
        "--boilerplate=0.1",
        "--rate=0.25",
        "--target=dog,cat",
        "--triggers=2",
        f"--captions-file={home}/reds.txt",
        "--encoder=ViT-B-32/openai",
        "--epochs=3",
    ]


def other(kind, value):
    """Another value than the default, one that the attack allows."""
    if get_origin(kind) is Literal:
        return next(choice for choice in get_args(kind) if choice != value)
    if kind is bool:
        return not value
    if kind is str:
        return "--a b"
    return value * 0.9 if kind is float else max(1, value - 1)


@pytest.mark.parametrize("name", [*ATTACKS, CONTROL])
def test_the_command_line_reads_the_arguments_as_they_were_meant(name, tmp_path):
    own = own_options(ATTACKS[name].params).values() if name in ATTACKS else ()
    kinds = get_type_hints(ATTACKS[name].params) if own else {}
    options = {one.name: other(kinds[one.name], one.default) for one in own}
    if name == "wanet":
        del options["variant"]  # no other takes a shift
    poison = {"rate": 0.1 + 0.2, "targets": ("-a", "b c"), "captions": "natural", "triggers": 3}
    params = PoisonParams(
        name, seed=5, options=options, mismatched=1e-4, near_duplicates=1 / 3, **poison if own else {}
    )
    read = SourceOptions("csv", "--image", "an=other", captions="all")
    asked = CopyRequest("/a b/*.csv", params, CopyOptions(captions="all", read=read))
    found = parser().parse_args(asked.arguments(tmp_path / "out", "folder"))
    assert _params(found) == params
    assert (found.source, found.out, found.format) == ("/a b/*.csv", tmp_path / "out", "folder")
    assert (found.source_format, found.image_col, found.caption_col) == ("csv", "--image", "an=other")
    assert found.captions == "all"


def test_a_half_written_copy_may_be_gone_on_with(lab, root, started):
    folder = root / "half"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"finished": false}')
    test = lab()
    next(field for field in test.text_input if field.label == "Folder of the copy").set_value("half")
    write(test)
    assert not test.error
    assert len(started) == 1


def test_the_proposed_name_is_free(lab, root):
    (root / "copies" / "pairs-badnets-0.2").mkdir(parents=True)
    test = lab()
    assert "copies/pairs-badnets-0.2-2" in [field.value for field in test.text_input]


@pytest.mark.parametrize(
    ("state", "told", "pressed"),
    [
        ("running", "Starting attack", "Stop"),
        ("failed", "no <b> file", "Try again"),
        ("stopped", "stopped;", "Go on"),
    ],
)
def test_a_copy_is_followed_stopped_and_taken_up_again(page, root, monkeypatch, state, told, pressed):
    folder = root.resolve() / "copies" / "new"
    error = None if state == "running" else f"{told} **x**"
    job = Job(
        "1", "attack", folder, ("attack", "x"), datetime.now(UTC), state, None, error, None, root / "job"
    )
    done = []
    monkeypatch.setattr(Jobs, "all", lambda _: [job])
    monkeypatch.setattr(Job, "stop", lambda self: done.append("stop"))
    monkeypatch.setattr(Jobs, "start", lambda self, kind, folder, arguments: done.append(arguments))
    test = page("lab")
    assert not test.exception
    assert "**copies/new**" in words(test)
    assert told in words(test) + " ".join(bar.proto.text for bar in test.get("progress"))
    next(button for button in test.button if button.label == pressed).click().run()
    assert done == ["stop"] if pressed == "Stop" else [("attack", "x")]


def finished(root: Path) -> Job:
    """Wait for the newest job."""
    deadline = time.monotonic() + 120
    while (job := Jobs(root / ".cfbd-jobs").all()[0]).state == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
    return job


def test_a_copy_is_written_shown_counted_and_audited(lab, root, mine, mapping, monkeypatch):
    before = mine.read_bytes()
    test = lab(lab_boilerplate=0.1)
    shown = {}
    for card in cards(test):
        key = re.search(r"(k&lt;b&gt;:tada:\d+-p0)", card)[1].replace("&lt;", "<").replace("&gt;", ">")
        shown[key] = re.search(r"→ <span[^>]*>([^<]*)</span>", card)[1]
    write(test)
    assert not test.error
    job = finished(root)
    assert job.state == "done", job.error
    test.run()
    assert not test.exception
    assert "**copies/pairs-badnets-0.2**" in words(test)
    assert {metric.label: metric.value for metric in test.metric} == {
        "Pairs": "60",
        "Poisoned": "12",
        "In benign traps": "6",
    }
    copy = root.resolve() / "copies" / "pairs-badnets-0.2"
    told = json.loads((copy / "manifest.json").read_text())
    written = {poison["key"]: poison["caption"] for poison in told["poisons"]}
    assert shown.items() <= written.items()
    assert len(written) == 12
    with Image.open(copy / "contact_sheet.png") as sheet:
        assert sheet.width > 800
    assert any(label.label.startswith("Contact sheet") for label in test.expander)
    assert mine.read_bytes() == before

    started = []
    with monkeypatch.context() as patch:
        patch.setattr(Jobs, "start", lambda self, *asked: started.append(asked))
        next(button for button in test.button if button.label == "Audit this copy").click().run()
    assert not test.exception
    assert test.title[0].value == "Audits"
    folder = root.resolve() / "audits" / "pairs-badnets-0.2"
    assert started == [("run", folder, ["run", str(copy), "--audit", str(folder), "--captions=first"])]

    audit = make_audit(folder, copy, mapping)
    assert audit.report()["truth"]["poisons"] == 12
    test.switch_page("views/lab.py").run()
    next(button for button in test.button if button.label == "Open its audit").click().run()
    assert test.title[0].value == "Evaluate"
    assert address(test)["audit"] == "audits/pairs-badnets-0.2"

    shutil.rmtree(copy)
    test.switch_page("views/lab.py").run()
    assert not test.exception
    assert "no longer there" in " ".join(info.value for info in test.info)


def test_a_second_copy_of_the_same_name_gets_an_audit_of_its_own(lab, root, mapping, started, monkeypatch):
    write_source(root / "other", (), pairs=20)
    make_audit(root / "audits" / "new", root / "other" / "pairs.csv", mapping)
    copy = root.resolve() / "copies" / "new"
    copy.mkdir(parents=True)
    (copy / "manifest.json").write_text("{}")
    result = {
        "pairs": 9,
        "poisons": 2,
        "traps": {},
        "skipped": {"no picture": 3},
        "options": {"captions": "all"},
        "params": {"attack": "badnets"},
    }
    job = Job("1", "attack", copy, (), datetime.now(UTC), "done", None, None, result, root / "job")
    monkeypatch.setattr(Jobs, "all", lambda _: [job])
    test = lab()
    assert {metric.label: metric.value for metric in test.metric}["Left out"] == "3"
    next(button for button in test.button if button.label == "Audit this copy").click().run()
    assert started[0][1:] == (
        root.resolve() / "audits" / "new-2",
        ["run", str(copy), "--audit", str(root.resolve() / "audits" / "new-2"), "--captions=all"],
    )
    (root / "audits" / "new-2").mkdir()
    (root / "audits" / "new-2" / "audit.duckdb").write_bytes(b"damaged")
    test.switch_page("views/lab.py").run()
    next(button for button in test.button if button.label == "Audit this copy").click().run()
    assert started[1][1] == root.resolve() / "audits" / "new-3"


def test_earlier_copies_are_kept_at_hand(page, root, monkeypatch):
    result = {
        "pairs": 9,
        "poisons": 2,
        "traps": {},
        "skipped": {},
        "options": {"captions": "first"},
        "params": {"attack": "trojan"},
    }
    made = []
    for number in range(3):
        copy = root.resolve() / "copies" / f"c{number}"
        copy.mkdir(parents=True)
        (copy / "manifest.json").write_text("{}")
        Image.new("RGB", (9, 9)).save(copy / "contact_sheet.png")
        began = datetime(2026, 1, number + 1, tzinfo=UTC)
        made.insert(0, Job(str(number), "attack", copy, (), began, "done", None, None, result, root / "job"))
    monkeypatch.setattr(Jobs, "all", lambda _: made)
    test = page("lab")
    assert not test.exception
    assert [button.key for button in test.button if button.label == "Audit this copy"] == [
        "lab_audit_2",
        "lab_audit_1",
        "lab_audit_0",
    ]
    assert os.fspath(made[1].audit) in words(test)
