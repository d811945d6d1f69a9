"""Scenes: the same bytes for the same seed wherever they are drawn, and pictures that show what the plan says."""

import hashlib
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cfbd_core.demo import CLASS_NAMES, draw_scenes, right_captions, scene, single_object_scene
from cfbd_core.demo.backdrops import BACKDROPS
from cfbd_core.demo.draw import draw_scene
from cfbd_core.demo.layout import plan_scene
from cfbd_core.demo.scenes import planned_classes

ROOT = Path(__file__).resolve().parents[2]


def digest(indices, seed=5):
    found = hashlib.sha256()
    for index in indices:
        drawn = scene(seed, index)
        found.update(drawn.image.tobytes() + drawn.caption.encode())
    return found.hexdigest()


def test_same_seed_same_bytes_in_another_process_and_order():
    command = (
        "from tests.demo.test_scenes import digest; [digest([i]) for i in (40, 3)]; print(digest(range(30)))"
    )
    other = subprocess.run(
        [sys.executable, "-c", command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "77", "PATH": ""},
    )
    assert other.stdout.strip() == digest(range(30))


def test_another_seed_or_index_is_another_scene():
    pictures = {scene(seed, index).image.tobytes() for seed in (1, 2) for index in range(20)}
    assert len(pictures) == 40


def test_a_series_starts_anywhere():
    whole = [(s.key, s.caption, s.image.tobytes()) for s in draw_scenes(9, 8)]
    assert [(s.key, s.caption, s.image.tobytes()) for s in draw_scenes(9, 3, start=5)] == whole[5:]
    assert len({key for key, _, _ in whole}) == 8


@pytest.mark.parametrize("size", [32, 64, 224])
def test_pictures_are_rgb_of_the_asked_size(size):
    assert all((s.image.size, s.image.mode) == ((size, size), "RGB") for s in draw_scenes(3, 12, size=size))


def test_scenes_vary():
    specs = [plan_scene(random.Random(index)) for index in range(3000)]
    assert {spec.backdrop for spec in specs} == set(BACKDROPS)
    assert {group.name for spec in specs for group in spec.groups} == set(CLASS_NAMES)
    assert set(Counter(len(spec.things) for spec in specs)) == {1, 2, 3, 4}
    assert {spec.relation for spec in specs} == {"", "left of", "above", "next to", "in front of"}
    assert all(sum(group.count for group in spec.groups) == len(spec.things) for spec in specs)


def test_relations_hold_in_the_picture():
    seen = Counter()
    for index in range(3000):
        spec = plan_scene(random.Random(index))
        if not spec.relation:
            continue
        by_name = {thing.name: thing for thing in spec.things}
        first, second = (by_name[group.name] for group in spec.groups)
        seen[spec.relation] += 1
        if spec.relation == "left of":
            assert first.x + first.size / 4 < second.x
        elif spec.relation == "above":
            assert first.y < second.y
        elif spec.relation == "next to":
            assert abs(first.x - second.x) < (first.size + second.size) / 2 + 0.05
        else:
            assert spec.things[-1] == first  # painted last: in front
            assert first.size < second.size
    assert min(seen.values()) > 50


def test_things_can_be_seen_and_hardly_overlap():
    for index in range(150):
        spec = plan_scene(random.Random(index))
        spec = replace(spec, grain=0)
        empty = np.asarray(draw_scene(replace(spec, things=(), spot=None)), dtype=int)
        alone = [
            np.abs(np.asarray(draw_scene(replace(spec, things=(thing,), spot=None)), dtype=int) - empty).sum(
                2
            )
            > 30
            for thing in spec.things
        ]
        inks = [mask.sum() for mask in alone]
        assert min(inks) > 120, spec
        if spec.relation != "in front of":
            covered = sum(inks) - np.any(alone, axis=0).sum()
            assert covered < 0.2 * sum(inks), spec


@pytest.mark.parametrize("name", CLASS_NAMES[::7])
def test_single_object_scenes_show_and_tell_their_class(name):
    drawn = single_object_scene(11, 0, name)
    assert drawn.label == name
    assert drawn.classes == [name]
    assert len(drawn.spec.things) == 1
    assert drawn.spec.things[0].size >= 0.39
    assert drawn.image.tobytes() != single_object_scene(12, 0, name).image.tobytes()
    assert drawn.image.tobytes() == single_object_scene(11, 0, name).image.tobytes()


def test_an_unknown_class_is_refused():
    with pytest.raises(KeyError, match="golf ball"):
        single_object_scene(0, 0, "golf ball")


def test_labels_only_where_one_thing_is_alone():
    for drawn in draw_scenes(2, 60, size=32):
        assert (drawn.label is not None) == (len(drawn.spec.things) == 1)
        assert drawn.classes == list(dict.fromkeys(planned_classes(2, int(drawn.key))))


def test_more_captions_of_a_scene_move_no_pixel():
    before = scene(4, 17).image.tobytes()
    captions = right_captions(4, 17, 12)
    assert captions == right_captions(4, 17, 12)
    assert len(set(captions)) > 6
    assert scene(4, 17).image.tobytes() == before
