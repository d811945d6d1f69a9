"""``cfbd evaluate`` from sources and copies to figures; bad input is one line and exit code 2."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from cfbd_core.cli import main
from cfbd_core.evaluation.attack_success import SavedAttack
from cfbd_core.machine.assets import MINI_DIR
from tests.evaluation.conftest import SCENE_CLASSES

CAPTIONS = {"car": "a car in the street", "dog": "a dog on a meadow", "tree": "a tree at the lake"}


@pytest.fixture
def pairs(scenes, tmp_path):
    """The scenes with two captions each."""
    folder = tmp_path / "pairs"
    shutil.copytree(scenes, folder)
    for file in folder.glob("*.json"):
        label = json.loads(file.read_text())["label"]
        file.write_text(json.dumps({"captions": [CAPTIONS[label], f"{CAPTIONS[label]} {file.stem}"]}))
    return folder


@pytest.fixture
def copy(scenes, tmp_path):
    """A copy of the scenes, poisoned by BadNets."""
    out = tmp_path / "copy"
    assert main(["attack", "badnets", str(scenes), "--out", str(out), "--rate", "0.2"]) == 0
    return out


@pytest.fixture
def evaluate(capsys):
    """Return a function that runs the command and returns its JSON object."""

    def run(*arguments):
        capsys.readouterr()
        assert main(["evaluate", *map(str, arguments), "--device", "cpu", "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_all_figures_of_a_tiny_encoder(evaluate, tiny_folder, scenes, pairs, copy):
    asked = [tiny_folder, "--classes", scenes, "--attack", copy, "--retrieval", pairs, "--batch-size", 5]
    found = evaluate(*asked)
    assert found["encoder"] == str(tiny_folder)
    assert (found["images"], found["classes"], found["top5"]) == (12, 3, None)
    assert sum(one["images"] * one["ca"] for one in found["per_class"].values()) == pytest.approx(
        12 * found["ca"]
    )
    assert found["ca_interval"][0] <= found["ca"] <= found["ca_interval"][1]
    (target,) = found["targets"]
    assert (target["target"], target["target_added"], target["asr_images"]) == ("banana", True, 12)
    assert 0 <= found["asr"] <= 1
    assert 0 <= found["asr_base"] <= 1
    assert found["attack"]["attack"] == "badnets"
    assert (found["retrieval"]["images"], found["retrieval"]["captions"]) == (12, 24)
    assert found["retrieval"]["image_to_text"]["r@10"] >= found["retrieval"]["image_to_text"]["r@1"]
    assert found["hits"] is None
    assert found == evaluate(*asked)


def test_a_trigger_is_put_on_pictures_of_the_size_asked_for(evaluate, tiny_folder, scenes, copy, monkeypatch):
    sizes, real = [], SavedAttack.put_on

    def put_on(self, picture, row, trigger):
        sizes.append(picture.size)
        return real(self, picture, row, trigger)

    monkeypatch.setattr(SavedAttack, "put_on", put_on)
    evaluate(tiny_folder, "--classes", scenes, "--attack", copy)
    assert set(sizes) == {(224, 224)}
    sizes.clear()
    evaluate(tiny_folder, "--classes", scenes, "--attack", copy, "--attack-size", 64)
    assert set(sizes) == {(64, 64)}


def test_a_search_for_the_target(evaluate, tiny_folder, pairs):
    found = evaluate(tiny_folder, "--hits", pairs, "--target", "dog", "--origin", "car")
    (hits,) = found["hits"]
    assert (hits["texts"], hits["origin_images"], hits["images"]) == (8, 4, 12)
    assert 0 <= hits["min_rank"] <= 8
    assert hits["base"]["hit@10"] >= hits["base"]["hit@1"]
    assert (found["ca"], found["asr"], found["retrieval"]) == (None, None, None)


def test_target_and_origin_come_with_a_copy_by_mmpoison(
    evaluate, tiny_folder, scenes, pairs, tmp_path, capsys
):
    out = tmp_path / "mm"
    made = ["attack", "mmpoison", str(pairs), "--out", str(out), "--rate", "0.2", "--target", "dog"]
    assert main([*made, "--origin", "car"]) == 0
    found = evaluate(tiny_folder, "--hits", pairs, "--classes", scenes, "--attack", out)
    assert [(one["target"], one["origin"]) for one in found["hits"]] == [("dog", "car")]
    assert (found["asr_images"], found["asr_base"]) == (4, None)
    assert (
        main([*made[:4], str(tmp_path / "bike"), "--rate", "0.2", "--target", "dog", "--origin", "tree"]) == 0
    )
    (tmp_path / "classes.txt").write_text("car\ndog\ntree\n")
    for file in scenes.glob("*.json"):  # no tree is left
        if "tree" in file.read_text():
            file.unlink()
            file.with_suffix(".png").unlink()
    found = evaluate(tiny_folder, "--classes", scenes, "--attack", tmp_path / "bike")
    assert found["asr"] is None
    assert "'tree'" in found["asr_reason"]
    assert (
        main(["evaluate", str(tiny_folder), "--classes", str(scenes), "--attack", str(tmp_path / "bike")])
        == 0
    )
    assert "ASR dog: none, mmpoison has no trigger" in capsys.readouterr().out


def test_classes_of_a_file_and_pictures_of_a_source(evaluate, tiny_folder, scenes, tmp_path):
    (tmp_path / "classes.txt").write_text("\n".join([*SCENE_CLASSES, "ship", "lamp", "cow"]))
    found = evaluate(tiny_folder, "--classes", tmp_path / "classes.txt", "--images", scenes)
    assert found["classes"] == 6
    assert found["per_class"]["ship"] == {"images": 0, "ca": None}
    assert found["top5"] >= found["ca"]


def test_a_training_run_stands_for_its_model(evaluate, tiny_folder, scenes, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    assert main(["evaluate", str(run), "--classes", str(scenes)]) == 2
    assert "has no model yet" in capsys.readouterr().err
    shutil.copytree(tiny_folder, run / "model")
    found = evaluate(run, "--classes", scenes)
    assert (found["model"], found["encoder"]) == (str(run), str(run / "model"))
    assert found["ca"] == evaluate(tiny_folder, "--classes", scenes)["ca"]


@pytest.mark.skipif(not MINI_DIR.is_dir(), reason="needs the encoder that ships")
def test_mini_knows_the_scenes_and_no_trigger(scenes, pairs, copy, capsys):
    capsys.readouterr()
    asked = ["evaluate", "mini", "--classes", str(scenes), "--attack", str(copy), "--retrieval", str(pairs)]
    asked += ["--limit", "6", "--device", "cpu"]
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ca"] >= 0.7
    assert found["asr"] <= 0.2
    assert found["retrieval"]["images"] == 6
    assert main(asked) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"CA {100 * found['ca']:.1f} % (95 %: ")
    assert "ASR banana (added to the classes): " in text
    assert "text → image R@1 / R@5 / R@10: " in text


def bad_cases():
    def no_labels(folder, _):
        for number, file in enumerate(folder.glob("*.json")):
            file.write_text(json.dumps({"caption": f"thing number {number}"}))
        return ["--classes", folder]

    def no_pictures(folder, _):
        for file in folder.glob("*.png"):
            file.write_bytes(b"no picture")
        return ["--classes", folder]

    def listed(text):
        def make(folder, tmp_path):
            (tmp_path / "classes.txt").write_text(text)
            return ["--classes", tmp_path / "classes.txt", "--images", folder]

        return make

    def file_without_images(_, tmp_path):
        (tmp_path / "classes.txt").write_text("car")
        return ["--classes", tmp_path / "classes.txt"]

    def control(folder, tmp_path):
        assert main(["attack", "none", str(folder), "--out", str(tmp_path / "control")]) == 0
        return ["--classes", folder, "--attack", tmp_path / "control"]

    def wrong_size(folder, tmp_path):
        out = tmp_path / "blended"
        assert main(["attack", "blended", str(folder), "--out", str(out), "--rate", "0.2"]) == 0
        manifest = json.loads((out / "manifest.json").read_text())
        manifest["params"]["options"]["size"] = 64
        (out / "manifest.json").write_text(json.dumps(manifest))
        return ["--classes", folder, "--attack", out]

    def no_trigger(folder, tmp_path):
        argument = control(folder, tmp_path)
        (tmp_path / "control" / "trigger.npz").unlink()
        return argument

    def other_target(folder, tmp_path):
        out = tmp_path / "copy"
        assert main(["attack", "sig", str(folder), "--out", str(out), "--rate", "0.2"]) == 0
        return ["--classes", folder, "--attack", out, "--target", "dog"]

    yield no_labels, "has no labels"
    yield no_pictures, "none of the 12 pictures can be read"
    yield listed(""), "the list of classes is empty"
    yield listed("car\ndog\nCar\n"), "class 'car' is named twice"
    yield listed("car\ndog\n"), "1 of its labels are not in the list of classes, e.g. 'tree'"
    yield file_without_images, "is a list of classes; give --images SOURCE"
    yield (lambda folder, _: ["--classes", folder, "--images", folder]), "with --images it is a text file"
    yield control, "without poison has no trigger"
    yield no_trigger, "cannot be read as triggers"
    yield wrong_size, "blended: its trigger does not fit pictures of 224×224"
    yield other_target, "--target dog: "
    yield (lambda folder, _: ["--classes", folder, "--attack", folder]), "no poisoned copy here"
    yield (lambda folder, _: ["--attack", folder]), "nothing to evaluate"
    yield (lambda folder, _: ["--retrieval", folder, "--attack", folder]), "no poisoned copy here"
    yield (lambda folder, _: ["--retrieval", folder, "--limit", 0]), "--limit 0: give at least 1"
    yield (lambda folder, _: ["--classes", folder, "--batch-size", 0]), "--batch-size 0: give at least 1"
    yield (lambda folder, _: ["--classes", folder, "--attack-size", 64]), "--attack-size: goes with --attack"
    yield (lambda folder, _: ["--classes", folder, "--attack-size", 0]), "--attack-size 0: give at least 1"
    yield (lambda folder, _: ["--classes", folder / "none"]), "no such file or folder"
    yield (lambda folder, _: ["--classes", folder, "--target", "a"]), "--target: goes with --attack or --hits"
    yield (lambda folder, _: ["--retrieval", folder, "--images", folder]), "--images: goes with --classes"
    yield (lambda folder, _: ["--hits", folder]), "--hits: give --attack with a copy by mmpoison"
    yield (
        (lambda folder, _: ["--hits", folder, "--target", "cow", "--origin", "car"]),
        "no text is of the target 'cow'",
    )


@pytest.mark.parametrize(("make", "told"), list(bad_cases()))
def test_bad_input_is_one_line(tiny_folder, scenes, tmp_path, capsys, make, told):
    arguments = make(scenes, tmp_path)
    capsys.readouterr()
    assert main(["evaluate", str(tiny_folder), *map(str, arguments), "--device", "cpu"]) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("cfbd")]
    assert out == ""
    assert len(lines) == 1
    assert told in lines[0]


def test_an_encoder_that_is_none_is_told(scenes, capsys):
    assert main(["evaluate", "no-such-model", "--classes", str(scenes)]) == 2
    assert "no-such-model" in capsys.readouterr().err


def test_pictures_that_cannot_be_read_are_counted(evaluate, tiny_folder, scenes):
    (scenes / "004.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(scenes / "005.png")
    found = evaluate(tiny_folder, "--classes", scenes)
    assert (found["images"], found["unreadable"]) == (11, 1)
