"""An attack, a detector and a source of another package: in the command line, the benchmark and the app."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

from app.lab import form
from cfbd_core import Audit
from cfbd_core.attacks import ATTACKS
from cfbd_core.audit.scoring import MAPPING_NAME
from cfbd_core.bench.detection import experiments
from cfbd_core.cli import main
from cfbd_core.config import EmbedParams
from cfbd_core.detectors import DETECTORS
from cfbd_core.embedding.mapping import Mapping
from cfbd_core.errors import PluginError
from cfbd_core.sources import FORMATS
from cfbd_core.store import queries
from tests.plugins import POINTS, install
from tests.toy import ToyEncoder

GOOD = "\n".join(
    line for line in POINTS.splitlines() if not line.startswith(("raises", "short", "absent", "other", "no_"))
)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return a function that installs the package with the entry points that it is given."""

    def put(points: str = GOOD) -> None:
        monkeypatch.syspath_prepend(install(tmp_path / "site", points))

    for registry in (ATTACKS, DETECTORS, FORMATS):
        monkeypatch.setattr(registry, "_loaded", {})
        monkeypatch.delitem(registry.__dict__, "plugins", raising=False)
    yield put
    sys.modules.pop("cfbd_test_plugin", None)
    for registry in (ATTACKS, DETECTORS, FORMATS):
        registry.__dict__.pop("plugins", None)


def told(capsys, *arguments: str) -> tuple[int, dict, str]:
    code = main([*arguments, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out or "{}"), err


def test_all_three_are_in_the_command_line(installed, own, tmp_path, capsys, toy_source):
    installed()
    assert "corner" in {one["name"] for one in told(capsys, "attack", "list")[1]["attacks"]}
    code, found, _ = told(capsys, "detect", "list", "--audit", str(own.folder))
    assert code == 0
    assert {one["name"]: one["plugin"] for one in found["detectors"]}["long_captions"] is True
    table = toy_source(20)
    lines = tmp_path / "pairs.lines"
    lines.write_text("".join(f"pairs/{number:04d}.png\ta caption {number}\n" for number in range(20)))
    assert table.is_file()
    assert told(capsys, "ingest", str(lines), "--audit", str(tmp_path / "a"))[0] == 0
    assert Audit.open(tmp_path / "a").state.pair_count() == 20
    code, _, err = told(
        capsys, "attack", "corner", str(table), "--rate", "0.2", "--out", str(tmp_path / "copy")
    )
    assert (code, err.count("\n") <= 3) == (0, True)


def test_both_are_in_the_benchmark_and_the_attack_in_the_lab(installed):
    installed()
    found = experiments(seeds=(0,))
    assert "corner" in {scenario.attack for scenario in found["table3"].scenarios}
    assert "detector long_captions" in found["table3"].analyses
    assert form._title("corner") == "Corner patch"


def test_its_score_and_verdict_are_stored_beside_the_others(installed, own, capsys):
    installed()
    code, found, _ = told(capsys, "detect", "long_captions", "--audit", str(own.folder))
    assert code == 0
    (one,) = found["detections"]
    assert one["detector"] == "long_captions"
    assert one["flagged"] > 0
    assert Audit.open(own.folder).detections()[0]["title"] == "Long captions"


@pytest.fixture
def two_captions_a_picture(toy_source, tmp_path) -> Audit:
    """A scored audit of 60 pictures with two captions each, whose F was trained on them."""
    table = toy_source(60, poisoned=(7, 21))
    header, *lines = table.read_text(encoding="utf-8").splitlines()
    again = [line.replace(",", "-again,", 1) for line in lines]
    table.write_text("\n".join([header, *lines, *again]) + "\n", encoding="utf-8")
    audit = Audit.create(tmp_path / "scored")
    audit.ingest(table)
    audit.embed(ToyEncoder(), EmbedParams(shard_size=32, batch_size=32))
    audit.score("self")
    return audit


def test_it_is_given_what_f_expects_of_each_picture(installed, two_captions_a_picture):
    installed()
    audit = two_captions_a_picture
    assert audit.detect("unexpected")[0]["flagged"] == 12
    (found,) = audit.columns.detections()
    assert found.info == {"pictures": 60}
    held = audit.pairs(order_by="row")
    np.testing.assert_allclose(
        found.score, held["intra"].to_numpy(), atol=2e-3
    )  # F is kept in half precision
    mapping = Mapping.load(audit.folder / MAPPING_NAME)
    image, text = (np.concatenate(list(shards)) for shards in (audit.shards.images(), audit.shards.texts()))
    _, image_of = np.unique(held["image"].to_pylist(), return_inverse=True)
    with audit.files.database.reading() as connection:
        image_ids = queries.image_groups(connection)
    assert [(image_ids == one).sum() for one in np.unique(image_ids)] == [2] * 60
    assert len(np.unique(image_ids * 1000 + image_of)) == 60
    literal = [
        1 - float(mapping(image[row : row + 1], image_ids[row : row + 1])[0] @ text[row].astype(np.float32))
        for row in range(len(image))
    ]
    np.testing.assert_allclose(found.score, literal, atol=1e-6)


def test_f_is_read_for_a_detector_that_asks_alone_and_only_where_it_made_the_scores(
    installed, two_captions_a_picture, capsys
):
    installed()
    audit = two_captions_a_picture
    place = audit.folder / MAPPING_NAME
    other = Mapping.load(place)
    place.unlink()
    assert audit.detect("cosine")[0]["flagged"] >= 0
    code, _, err = told(capsys, "detect", "unexpected", "--audit", str(audit.folder))
    assert code == 2
    assert f"{place}: the F of these scores is gone or damaged; run `cfbd score" in err
    Mapping(other.networks, replace(other.info, held_out_cosine=0.0)).save(place)
    code, _, err = told(capsys, "detect", "unexpected", "--audit", str(audit.folder))
    assert (code, f"{place}: not the F that made these scores" in err) == (2, True)
    assert [one.name for one in audit.columns.detections()] == ["cosine"]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("raises", "'raises' of cfbd-test-plugin: ValueError: one line and another; nothing is stored"),
        ("short", "'short': score is (412,) float32, not (413,) of floats; nothing is stored"),
        ("absent", "'absent' of cfbd-test-plugin: cannot be loaded (AttributeError"),
        ("other_name", "calls itself 'long_captions'"),
        ("no_detector", "is no Detector"),
    ],
)
def test_one_that_fails_is_told_in_one_line_and_nothing_is_stored(installed, own, capsys, name, line):
    installed(POINTS)
    code, _, err = told(capsys, "detect", "cosine", name, "--audit", str(own.folder))
    assert code == 2
    assert line in err
    assert err.count("\n") == 1
    assert Audit.open(own.folder).detections() == []


def test_a_broken_one_harms_no_other_command(installed, own, capsys):
    installed("[cfbd.attacks]\nbroken = cfbd_test_plugin:Absent\n[cfbd.detectors]\nbroken = nowhere:Absent\n")
    assert told(capsys, "report", "--audit", str(own.folder))[0] == 2  # not split yet
    assert told(capsys, "split", "--q", "20", "--audit", str(own.folder))[0] == 0
    assert told(capsys, "detect", "cosine", "--audit", str(own.folder))[0] == 0
    code, _, err = told(capsys, "attack", "broken", "x", "--out", "y")
    assert (code, "cannot be loaded" in err) == (2, True)
    with pytest.raises(PluginError):
        DETECTORS["broken"]


def test_none_takes_a_name_of_the_projects_own(installed):
    installed("[cfbd.detectors]\ncosine = cfbd_test_plugin:LongCaptions\n")
    assert not DETECTORS.is_plugin("cosine")
    assert type(DETECTORS["cosine"]).__module__ == "cfbd_core.detectors.cosine"
    assert list(DETECTORS).count("cosine") == 1


def test_the_package_can_be_gone_again(installed, own, tmp_path):
    installed()
    own.detect("long_captions", "cosine")
    shutil.rmtree(tmp_path / "site")
    DETECTORS.__dict__.pop("plugins")
    assert "long_captions" not in DETECTORS
    held = {one["detector"]: one for one in own.detections()}
    assert set(held) == {"cosine", "long_captions"}
    assert np.isfinite(held["cosine"]["auroc"])
