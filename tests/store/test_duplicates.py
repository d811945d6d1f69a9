"""Labels of captions and images: equal where nothing that shows differs."""

from __future__ import annotations

import re
import unicodedata

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.store.duplicates import caption_labels, image_labels

UNSEEN = set("\u00ad\u200b\u200d\u200f\u2060\ufe0f\ufeff")
ALPHABET = st.sampled_from(list("aAbBéÉe.,'%\\ \t\n\u00a0\u2003\u3000\u0301🐕ßД") + sorted(UNSEEN))


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as opened:
        opened.execute("CREATE TABLE pairs (row BIGINT, caption VARCHAR, image VARCHAR, image_offset BIGINT)")
        yield opened


def put(connection, captions, images=None) -> None:
    connection.execute("DELETE FROM pairs")
    rows = [
        (row, caption, *((images or [(None, None)] * len(captions))[row]))
        for row, caption in enumerate(captions)
    ]
    if rows:
        connection.executemany("INSERT INTO pairs VALUES (?, ?, ?, ?)", rows[::-1])


def literal(caption: str) -> str:
    lower = "".join(letter.lower() for letter in unicodedata.normalize("NFC", caption))
    seen = "".join(letter for letter in lower if letter not in UNSEEN)
    return re.sub(r"\s+", " ", seen).strip()


@given(st.lists(st.text(ALPHABET, max_size=6), max_size=12))
def test_captions_are_equal_as_the_slow_way_has_it(connection, captions) -> None:
    put(connection, captions)
    rows, labels = caption_labels(connection)
    assert rows.tolist() == list(range(len(captions)))
    wanted = [literal(caption) for caption in captions]
    for i, one in enumerate(wanted):
        for j, other in enumerate(wanted):
            assert (labels[i] == labels[j]) == (one == other), (captions[i], captions[j])


def test_images_are_equal_by_place_and_none_is_alone(connection) -> None:
    images = [
        ("a.tar", 1),
        ("a.tar", 1),
        ("a.tar", 2),
        ("a.tar", None),
        (None, None),
        (None, None),
        ("1 a", None),
    ]
    put(connection, ["x"] * 7, images)
    _, labels = image_labels(connection)
    assert labels[0] == labels[1]
    assert len(np.unique(labels)) == 6
