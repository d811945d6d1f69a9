"""What a run's folder keeps of what was asked for, and how it changes when the run is asked for again."""

from __future__ import annotations

import json

import duckdb
import pytest

from cfbd_core.errors import EncoderError
from cfbd_core.training import record as records
from cfbd_core.training.loop import Loop
from cfbd_core.training.request import read_keys
from cfbd_core.training.run import train
from cfbd_core.training.tracking import read_metrics
from tests.training.test_resume import Killed, killed_at
from tests.training.tiny import tiny_folder, tiny_params, toy_set


def measuring(value: float, calls: list[float]):
    def measure(_encoder):
        calls.append(value)
        return {"ca": value, "asr": None}

    return measure


def asked(run) -> dict:
    return json.loads((run / "run.json").read_text())


def measured(run) -> list[float]:
    return [line["ca"] for line in read_metrics(run) if line["kind"] == "eval"]


def test_a_run_that_is_done_is_measured_when_asked_for_and_not_trained_again(model, tmp_path, monkeypatch):
    run, params, calls = tmp_path / "run", tiny_params(model), []
    first = train(toy_set(), run, params)
    monkeypatch.setattr(Loop, "run", None)
    for value, where in ((0.25, "one"), (0.5, "two"), (0.5, "two")):
        on = {"classes": where, "attack": None}
        result = train(toy_set(), run, params, evaluate=measuring(value, calls), measured_on=on)
        assert result == first | {"ca": value} == json.loads((run / "result.json").read_text())
        assert asked(run)["measured_on"] == on
        assert measured(run) == [value]
        with duckdb.connect(str(run / "metrics.duckdb"), read_only=True) as connection:
            (row,) = connection.execute("SELECT result FROM training_runs").fetchall()
        assert json.loads(row[0])["ca"] == value
    assert calls == [0.25, 0.5]
    assert train(toy_set(), run, params) == result

    def broken(_encoder):
        raise EncoderError("no pictures any more")

    with pytest.raises(EncoderError):
        train(toy_set(), run, params, evaluate=broken, measured_on={"classes": "three"})
    assert train(toy_set(), run, params) == result
    assert asked(run)["measured_on"]["classes"] == "two"


def test_a_run_that_goes_on_with_other_pictures_says_so_and_forgets_the_first(model, tmp_path, monkeypatch):
    run, params, calls = tmp_path / "run", tiny_params(model, checkpoint_every=2), []
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, 8)
        train(
            toy_set(),
            run,
            params,
            evaluate=measuring(0.25, calls),
            measured_on={"classes": "one", "attack": None},
        )
    assert measured(run) == [0.25]
    on = {"classes": "two", "attack": "copy"}
    result = train(toy_set(), run, params, evaluate=measuring(0.5, calls), measured_on=on)
    assert asked(run)["measured_on"] == on
    assert (result["ca"], measured(run)) == (0.5, [0.5])


def test_one_stopped_after_its_last_evaluation_is_measured_on_the_other_pictures(
    model, tmp_path, monkeypatch
):
    run, params, calls = tmp_path / "run", tiny_params(model, epochs=1), []

    def stop(loop):
        measure(loop)
        loop._save()
        raise Killed

    measure = Loop._measure
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Loop, "_measure", stop)
        train(toy_set(), run, params, evaluate=measuring(0.25, calls), measured_on={"classes": "one"})
    result = train(toy_set(), run, params, evaluate=measuring(0.5, calls), measured_on={"classes": "two"})
    assert (result["ca"], measured(run), calls) == (0.5, [0.5], [0.25, 0.5])


def test_only_an_audits_pairs_are_kept_by_key(model, tmp_path):
    train(toy_set(), tmp_path / "run", tiny_params(model))
    assert read_keys(tmp_path / "run") is None


@pytest.mark.parametrize("kind", [OSError, duckdb.IOException])
def test_a_database_that_cannot_be_written_does_not_cost_a_run(kind, model, tmp_path, monkeypatch, caplog):
    def full(*_):
        raise kind("No space left on device")

    monkeypatch.setattr(records.training, "put_run", full)
    assert train(toy_set(), tmp_path / "run", tiny_params(model))["steps"] == 10
    assert "the run is not in the database yet" in caplog.text


def test_a_run_that_the_database_lacks_is_taken_in_when_it_is_called_again(
    model, tmp_path, monkeypatch, caplog
):
    def full(*_):
        raise OSError("No space left on device")

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(records.training, "put_run", full)
        result = train(toy_set(), run, tiny_params(model))
    assert f"`cfbd train --out {run} --resume` takes it in" in caplog.text
    assert train(toy_set(), run, tiny_params(model), resume=True) == result
    with duckdb.connect(str(run / records.OWN_NAME)) as connection:
        assert records.training.runs(connection)[0]["result"]["steps"] == 10


def test_a_relative_path_to_the_model_is_stored_whole(tmp_path, monkeypatch):
    tiny_folder(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    result = train(toy_set(), tmp_path / "run", tiny_params("tiny"))
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert asked(tmp_path / "run")["params"]["model"] == str(tmp_path / "tiny")
    assert train(toy_set(), tmp_path / "run", tiny_params(str(tmp_path / "tiny")), resume=True) == result
