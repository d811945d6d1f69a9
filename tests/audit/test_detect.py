"""What detectors say of an audit is stored beside its verdict, and goes with the scores that it was made of."""

from __future__ import annotations

import numpy as np
import pytest

from cfbd_core import Audit, SplitParams
from cfbd_core.cli import main
from cfbd_core.detectors import DETECTORS, Pairs
from cfbd_core.errors import ParameterError
from cfbd_core.method.scores import JoinedRows
from cfbd_core.store.scores import read_consistency, read_scores, replace_scores

TRAINED = [name for name, one in DETECTORS.items() if one.trains]
USUAL = [name for name in DETECTORS if name not in TRAINED]


def test_every_detector_runs_on_an_audit(own: Audit):
    own.split(SplitParams(q=20))
    found = {one["detector"]: one for one in own.detect(*USUAL)}
    assert set(found) == set(USUAL)
    assert all(0 <= one["flagged"] <= 413 for one in found.values())
    assert all(one["both"] + one["alone"] == one["flagged"] for one in found.values())
    assert all(one["auroc"] is not None for one in found.values())


def test_cfbd_as_a_detector_is_what_a_split_of_the_same_settings_stores(own: Audit):
    own.split(SplitParams())
    (one,) = own.detect("cfbd")
    assert one["alone"] == one["verdict_alone"] == 0
    z = own.pairs(order_by="row")["z"].to_numpy()
    with own.files.database.reading() as connection:
        rows, _ = read_consistency(connection)
        score = connection.execute("SELECT score FROM detections ORDER BY row").fetchnumpy()["score"]
    held = own.pairs(order_by="row")["row"].to_numpy()
    np.testing.assert_array_equal(z[np.isin(held, rows)], score)


def test_again_it_takes_the_place_of_the_last(own: Audit):
    own.detect("cosine")
    first = own.detections()
    own.detect("cosine", "dao")
    assert [one["detector"] for one in own.detections()] == ["cosine", "dao"]
    assert own.detections()[0]["flagged"] == first[0]["flagged"]


def test_new_scores_forget_them(own: Audit):
    own.detect("cosine")
    with own.files.database.writing() as connection:
        table = read_scores(connection)
        replace_scores(connection, table)
    assert own.detections() == []


def test_unknown_ones_are_named_before_anything_runs(own: Audit):
    with pytest.raises(ParameterError, match="detector 'nobody' is unknown; there are: cfbd"):
        own.detect("cosine", "nobody")
    with pytest.raises(ParameterError, match="no detector is named"):
        own.detect()
    assert own.detections() == []


def test_one_that_judges_by_training_says_what_it_needs(own: Audit, tmp_path, capsys):
    assert main(["detect", "abl", "--audit", str(own.folder)]) == 2
    assert "cfbd train --defense abl" in capsys.readouterr().err
    assert main(["detect", "abl", "--run", str(tmp_path), "--audit", str(own.folder)]) == 2
    assert f"--run {tmp_path}: no run on an audit's pairs" in capsys.readouterr().err
    keys = own.pairs(order_by="row")["key"].to_pylist()
    (one,) = own.detect("abl", losses={key: float(number) for number, key in enumerate(keys)})
    assert one["flagged"] == 4


def test_an_older_audit_has_none_and_takes_some(own: Audit):
    with own.files.database.writing() as connection:
        connection.execute("DROP TABLE detections; DROP TABLE detectors")
        connection.execute("UPDATE meta SET value = '4' WHERE name = 'schema_version'")
    again = Audit.open(own.folder)
    assert again.detections() == []
    again.detect("cosine")
    assert len(Audit.open(own.folder).detections()) == 1


def test_joined_rows_are_as_the_array_they_stand_for():
    rng = np.random.default_rng(0)
    shards = [rng.normal(size=(size, 3)).astype(np.float16) for size in (4, 1, 6)]
    rows = np.array([0, 2, 4, 5, 9, 10])
    joined, plain = JoinedRows(shards, rows), np.concatenate(shards)[rows].astype(np.float32)
    assert joined.shape == plain.shape
    assert len(joined) == 6
    for key in (slice(None), slice(1, 4), np.array([5, 0, 0]), plain[:, 0] > 0, np.array([], np.int64), 3):
        np.testing.assert_array_equal(joined[key], plain[key])
    np.testing.assert_array_equal(np.asarray(joined), plain)


def test_pairs_give_keys_and_captions_at_places(own: Audit):
    pairs = Pairs(np.zeros((2, 2)), np.zeros((2, 2)), None, ["a", "b"], ["k", "l"])  # type: ignore[arg-type]
    assert pairs.captions_at(np.array([1, 0])) == ["b", "a"]
    assert pairs.keys_at(np.array([1])) == ["l"]
