"""Labels come from the source, or captions are class names; what cannot be classified is told in one line."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from cfbd_core.errors import CfbdError, ParameterError, SourceError
from cfbd_core.evaluation.classes import LabelledImages, class_place, read_classes
from cfbd_core.sources import SourceOptions
from tests.evaluation.conftest import SCENE_CLASSES


def table(folder, rows, header=("image", "caption", "label")):
    """A CSV of one picture and these (caption, label)."""
    Image.new("RGB", (8, 8), "red").save(folder / "red.png")
    with (folder / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *(("red.png", *row)[: len(header)] for row in rows)])
    return folder / "pairs.csv"


def test_labels_are_the_sources_own(scenes):
    images = LabelledImages.from_source(scenes)
    assert images.classes == SCENE_CLASSES
    assert images.labels.tolist() == [0, 1, 2] * 4
    assert images.picture(3).size == (64, 64)
    assert len(images) == 12


def test_captions_serve_where_there_is_no_label(tmp_path):
    source = table(tmp_path, [("Dog",), (" cat ",), ("dog",), ("cat",)], ("image", "caption"))
    images = LabelledImages.from_source(source)
    assert [images.classes[label].lower() for label in images.labels] == ["dog", "cat", "dog", "cat"]


def test_ordinary_captions_are_no_classes(tmp_path):
    source = table(tmp_path, [("a dog",), ("two cats",), ("a dog",)], ("image", "caption"))
    with pytest.raises(SourceError, match="has no labels.*--label-col"):
        LabelledImages.from_source(source)


def test_a_named_column_has_the_labels(tmp_path):
    source = table(tmp_path, [("a dog", "dog"), ("a cat", "cat")], ("image", "caption", "thing"))
    images = LabelledImages.from_source(source, SourceOptions(label_col="thing"))
    assert images.classes == ("cat", "dog")


def test_a_list_of_classes_may_hold_more_than_occurs_in_any_case(tmp_path):
    source = table(tmp_path, [("a", "dog"), ("b", "CAT")])
    images = LabelledImages.from_source(source, classes=["Cat", "horse", "Dog"])
    assert images.labels.tolist() == [2, 0]


def test_a_label_outside_the_list_is_told_with_a_guess(tmp_path):
    source = table(tmp_path, [("a", "dog"), ("b", "cats")])
    with pytest.raises(SourceError, match="1 of its labels are not in the list.*'cats'; did you mean 'cat'"):
        LabelledImages.from_source(source, classes=["cat", "dog"])
    with pytest.raises(SourceError, match="'a dog'"):
        LabelledImages.from_source(
            table(tmp_path, [("a dog",)], ("image", "caption")), classes=["cat", "horse"]
        )


def test_pictures_without_a_label_are_counted(tmp_path):
    images = LabelledImages.from_source(table(tmp_path, [("a", "dog"), ("b", ""), ("c", "dog")]))
    assert (len(images), dict(images.skipped)) == (2, {"no label": 1})


def test_a_file_of_classes_has_one_a_line(tmp_path):
    (tmp_path / "classes.txt").write_text("﻿dog\n\n  garbage   truck \ncat\n", encoding="utf-8")
    assert read_classes(tmp_path / "classes.txt") == ("dog", "garbage truck", "cat")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\n \n", "is empty"),
        (b"dog\ncat\nDog\n", "'dog' is named twice"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_bad_file_of_classes_is_refused(tmp_path, content, told):
    file = tmp_path / "classes.txt"
    file.write_bytes(content)
    with pytest.raises(ParameterError, match=f"--classes {file}: .*{told}"):
        read_classes(file)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="cannot be read"):
        read_classes(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("classes", "labels", "told"),
    [
        ((), [0], "is empty"),
        (("a", "A"), [0], "named twice"),
        (("a",), [], "no pictures"),
        (("a",), [1], "label 1"),
    ],
)
def test_arrays_are_checked(classes, labels, told):
    with pytest.raises(CfbdError, match=told):
        LabelledImages.from_arrays(np.zeros((len(labels), 4, 4, 3), np.uint8), np.array(labels), classes)


def test_a_source_without_pictures_is_refused(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"caption": "dog", "label": "dog"}))
    with pytest.raises(SourceError):
        LabelledImages.from_source(tmp_path)


def test_a_class_is_found_whatever_its_case():
    assert class_place(("Dog", "cat"), "dog") == 0
    assert class_place(("Dog", "cat"), "banana") is None
