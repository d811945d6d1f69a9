"""The folder of a run: who may delete what of it."""

from __future__ import annotations

import json

import pytest

from cfbd_core.errors import TrainingError
from cfbd_core.machine import files
from cfbd_core.machine.files import one_job
from cfbd_core.machine.places import LOCK_NAME
from cfbd_core.training import place
from cfbd_core.training.place import one_run, result_if_done
from cfbd_core.training.run import train
from tests.training.tiny import tiny_params, toy_set


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_run_that_is_refused_leaves_the_folder_that_another_has_just_begun(tmp_path):
    """Both saw no folder; the other one was first to hold it, and has written no run.json yet."""
    run = tmp_path / "run"

    class Late(type(run)):
        def exists(self, **_kind):
            return self != run and super().exists()

    run.mkdir()
    (run / "half").write_text("of the other")
    with one_job(run, "train"), pytest.raises(TrainingError, match="is at work"), one_run(Late(run)):
        pass
    assert names(run) == {LOCK_NAME, "half"}


def test_a_folder_that_was_taken_back_meanwhile_is_told_in_one_line(tmp_path, monkeypatch):
    run = tmp_path / "run"

    def late(folder, kind):
        place.shutil.rmtree(folder)
        return files.one_job(folder, kind)

    monkeypatch.setattr(place, "one_job", late)
    with pytest.raises(TrainingError, match="ask again"), one_run(run):
        pass
    assert not run.exists()


@pytest.mark.parametrize("is_new", [True, False])
def test_what_is_there_before_a_run_begins_goes_again_and_nothing_else(is_new, tmp_path):
    run = tmp_path / "run"
    if not is_new:
        run.mkdir()
        (run / "mine").write_text("")
    with pytest.raises(TrainingError, match="no"), one_run(run):
        (run / "made" / "below").mkdir(parents=True)
        raise TrainingError("no")
    assert run.exists() is not is_new
    if not is_new:
        assert names(run) - {LOCK_NAME} == {"mine"}


def test_another_run_is_refused_by_what_is_other_about_it(tmp_path):
    held = {
        "id": "a",
        "engine": "own",
        "params": {"lr": 1e-3, "workers": 1},
        "pairs": 3,
        "set_fingerprint": "x",
    }
    (tmp_path / "run.json").write_text(json.dumps(held))
    params = {"lr": 2e-3, "workers": 4}
    for other, said in (
        ({"engine": "open_clip", "params": params}, "engine own, now open_clip"),
        ({"params": params}, "lr 0.001, now 0.002"),
        ({"set_fingerprint": "y", "pairs": 4}, "on 3 pairs, now on 4"),
        ({"set_fingerprint": "y"}, "on other pairs, captions or pictures"),
        ({}, "of a model with other weights"),
    ):
        with pytest.raises(TrainingError, match=rf"holds another run \({said}\); give a new folder"):
            result_if_done(tmp_path, held | {"id": "b"} | other, resume=False)


def test_what_killed_calls_left_half_written_goes_when_the_run_goes_on(model, tmp_path):
    run, params = tmp_path / "run", tiny_params(model, checkpoint_every=4)
    run.mkdir()
    (run / ".run.json.12.34.part").write_text("{")  # killed as it began
    train(toy_set(), run, params)
    assert ".run.json.12.34.part" not in names(run)
    (run / "result.json").unlink()
    (run / "checkpoints" / ".step_00000008.pt.12.34.part").write_text("half")
    (run / ".model.12.34.part").mkdir()
    (run / ".notes.part").write_text("mine")
    train(toy_set(), run, params)
    assert [name for name in names(run) if name.endswith(".part")] == [".notes.part"]
    assert all(name.startswith("step_") for name in names(run / "checkpoints"))
