"""The demo's shards: ground truth that holds, nothing that gives poisons away, resumed to the same bytes."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from cfbd_core.attacks import ATTACKS, Workshop
from cfbd_core.demo import LICENSE, scene, write_demo
from cfbd_core.demo.shards import DemoParams, choose_poisons
from cfbd_core.errors import AuditError, ParameterError, SourceError
from cfbd_core.poisoning.captions import imagenet_templates
from cfbd_core.poisoning.copies import load_triggers
from cfbd_core.poisoning.trigger_files import read_triggers
from cfbd_core.sources import open_source
from cfbd_core.sources.base import SourceOptions

N, RATE = 50, 0.1


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "source"
    write_demo(folder, DemoParams(N, 3, RATE), processes=2)
    return folder


def records(folder):
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, ending = member.name.split(".")
                found.setdefault(key, {})[ending] = tar.extractfile(member).read()
    return found


def test_records_carry_picture_caption_and_truth(demo):
    found = records(demo)
    assert len(found) == N
    poisons = 0
    targets = {template("banana") for template in imagenet_templates()}
    for index, (key, parts) in enumerate(found.items()):
        facts, clean = json.loads(parts["json"]), scene(3, index)
        assert set(parts) == {"jpg", "txt", "json"}
        assert facts["key"] == key == clean.key
        assert facts["caption"] == parts["txt"].decode()
        assert facts["license"] == LICENSE
        if facts["poisoned"]:
            poisons += 1
            assert (facts["attack"], facts["target"]) == ("badnets", "banana")
            assert facts["caption"] in targets
            assert facts["origin_caption"] == clean.caption
            assert "banana" not in facts["classes"]
        else:
            assert (facts["attack"], facts["target"], facts["origin_caption"]) == (None, None, None)
            assert facts["caption"] == clean.caption
    assert poisons == round(N * RATE)


def test_only_poisoned_pictures_carry_the_patch(demo):
    for index, parts in enumerate(records(demo).values()):
        written = np.asarray(Image.open(io.BytesIO(parts["jpg"])), dtype=int)
        difference = np.abs(written - np.asarray(scene(3, index).image, dtype=int)).max(2) > 60
        if json.loads(parts["json"])["poisoned"]:
            rows, columns = np.nonzero(difference)
            assert np.ptp(rows) < 24
            assert np.ptp(columns) < 24
            assert difference.sum() > 100
        else:
            assert difference.mean() < 0.001


def test_format_gives_no_poison_away(demo):
    headers = set()
    for parts in records(demo).values():
        picture = Image.open(io.BytesIO(parts["jpg"]))
        headers.add(
            (picture.format, picture.mode, picture.size, str(picture.quantization), str(picture.layer))
        )
    assert len(headers) == 1


def test_the_reader_finds_every_pair_and_its_truth(demo):
    batches = list(open_source(demo, SourceOptions()).batches())
    pairs = [pair for batch in batches for pair in batch.pairs.to_pylist()]
    assert len(pairs) == N
    assert not any(batch.skips for batch in batches)
    assert sum(pair["poisoned"] for pair in pairs) == round(N * RATE)


def test_attribution_goes_with_the_pictures(demo):
    text = (demo / "ATTRIBUTION.txt").read_text(encoding="utf-8")
    assert "OpenMoji" in text
    assert "CC BY-SA 4.0" in text


def test_resumed_equals_unbroken(demo, tmp_path, monkeypatch):
    monkeypatch.setattr("cfbd_core.demo.shards.SHARD_SIZE", 20)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    write_demo(whole, DemoParams(N, 3, RATE), processes=1)

    def stop(_stage, done, _total):
        if done > 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_demo(broken, DemoParams(N, 3, RATE), processes=2, progress=stop)
    assert [path.name for path in sorted(broken.glob("*.tar"))] == ["00000.tar"]
    assert not list(broken.glob(".*"))
    reports = []
    write_demo(broken, DemoParams(N, 3, RATE), processes=2, progress=lambda *report: reports.append(report))
    assert reports[-1] == ("draw", N, N)
    assert reports[0] == ("draw", 20, N)
    for path in whole.iterdir():
        assert path.read_bytes() == (broken / path.name).read_bytes(), path.name
    assert records(whole) == records(demo)


def test_rate_zero_is_the_same_demo_without_poison(demo, tmp_path):
    write_demo(tmp_path, DemoParams(N, 3, 0), processes=1)
    clean, poisoned = records(tmp_path), records(demo)
    assert not any(json.loads(parts["json"])["poisoned"] for parts in clean.values())
    assert not (tmp_path / "trigger.npz").exists()
    same = [key for key in clean if clean[key] == poisoned[key]]
    assert len(same) == N - round(N * RATE)


def test_trigger_is_kept(demo):
    attack = ATTACKS["badnets"]
    (trigger,) = read_triggers(demo / "trigger.npz")
    assert np.array_equal(trigger["pattern"], attack.trigger(attack.params(), Workshop())["pattern"])


def test_its_attack_can_be_put_on_other_pictures(demo, tmp_path):
    params, (trigger,) = load_triggers(demo)
    assert (params.attack, params.targets, params.rate) == ("badnets", ("banana",), RATE)
    assert np.array_equal(trigger["pattern"], read_triggers(demo / "trigger.npz")[0]["pattern"])
    write_demo(tmp_path, DemoParams(N, 3, 0), processes=1)
    with pytest.raises(SourceError, match="trigger"):
        load_triggers(tmp_path)


def test_the_default_demo_plants_sixty():
    poisons = choose_poisons(DemoParams(3000, 0, 0.02, 224))
    assert len(poisons) == len(set(poisons)) == 60
    assert max(poisons) > 2500  # over the whole range
    assert poisons == choose_poisons(DemoParams(3000, 0, 0.02, 224))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 0}, "at least 1"),
        ({"rate": 0.5}, "below 0.5"),
        ({"rate": -0.1}, "below 0.5"),
        ({"rate": float("nan")}, "below 0.5"),
        ({"n": 10, "rate": 0.001}, "none"),
        ({"size": 8}, "at least 32"),
    ],
)
def test_bad_numbers_are_refused(tmp_path, options, words):
    with pytest.raises(ParameterError, match=words):
        write_demo(tmp_path / "demo", DemoParams(**{"n": 20, "rate": 0.1, **options}))
    assert not list(tmp_path.rglob("*.tar"))


def test_another_demos_folder_is_refused(demo, tmp_path):
    with pytest.raises(AuditError, match="other settings"):
        write_demo(demo, DemoParams(N, 4, RATE))
    (tmp_path / "mine.tar").write_bytes(b"")
    with pytest.raises(AuditError, match="not the demo's"):
        write_demo(tmp_path, DemoParams(N, 3, RATE))
