"""Examples show what the copy holds; the sheet shows the examples."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cfbd_core.pictures.images import decode_image, read_image_bytes
from cfbd_core.pictures.place import PicturePlace
from cfbd_core.poisoning.contact_sheet import contact_sheet, examples
from cfbd_core.poisoning.copies import CopyOptions, attack_copy, plan_copy, title_of, with_triggers
from cfbd_core.poisoning.plan import PoisonParams
from cfbd_core.sources import open_source


@pytest.fixture
def source(toy_source):
    return toy_source(60)


def made(source, params):
    options = CopyOptions()
    return with_triggers(plan_copy(source, params, options), options)


def test_examples_are_what_a_copy_would_hold_and_write_nothing(source, tmp_path):
    params = PoisonParams("blended", 0.2)
    before = sorted(tmp_path.rglob("*"))
    copy = made(source, params)
    shown = examples(copy, 5)
    assert sorted(tmp_path.rglob("*")) == before
    assert len(shown) == 5
    keys = [copy.key_of(poison.pair) for poison in copy.plan.poisons]
    assert (shown[0].key, shown[-1].key) == (keys[0], keys[-1])
    attack_copy(source, tmp_path / "out", params, processes=1)
    rows = {
        row["key"]: row
        for batch in open_source(tmp_path / "out").batches()
        for row in batch.pairs.to_pylist()
    }
    for example in shown:
        row = rows[example.key]
        written = decode_image(read_image_bytes(PicturePlace.from_pair(row)))
        assert written.tobytes() == example.after.tobytes()
        assert (example.caption_after, example.caption_before) == (row["caption"], row["origin_caption"])
        difference = np.abs(np.asarray(example.after, int) - np.asarray(example.before, int))
        assert np.array_equal(np.asarray(example.difference), np.minimum(255, 10 * difference))
        assert difference.max() > 0


def test_fewer_poisons_than_asked_for_and_traps_where_there_are_none(source):
    assert len(examples(made(source, PoisonParams(rate=0.05)), 10)) == 3
    near = examples(made(source, PoisonParams("none", near_duplicates=0.1)), 10)
    assert [example.key[-3:] for example in near] == ["-d0"] * 6
    assert all(example.caption_before != example.caption_after for example in near)
    assert examples(made(source, PoisonParams("none", boilerplate=0.1)), 10) == []


def test_the_sheet_shows_every_picture_and_its_captions(source, tmp_path):
    copy = made(source, PoisonParams(rate=0.1))
    shown = examples(copy, 3)
    sheet = contact_sheet(title_of(copy), shown)
    assert title_of(copy) == "BadNets: 6 of 60 pairs poisoned, target banana"
    pixels = np.asarray(sheet)
    for row, example in enumerate(shown):
        top = pixels.shape[0] - (3 - row) * (224 + 12)
        for column, picture in enumerate((example.before, example.after, example.difference)):
            left = 12 + column * 236
            assert np.array_equal(pixels[top : top + 224, left : left + 224], np.asarray(picture))
        assert (pixels[top : top + 224, 720:] < 128).any(), "captions are written beside"
    attack_copy(source, tmp_path / "out", PoisonParams(rate=0.1), processes=1)
    with Image.open(tmp_path / "out" / "contact_sheet.png") as written:
        assert (written.format, written.width) == ("PNG", sheet.width)


def test_captions_of_any_length_stay_on_the_sheet(source):
    example = examples(made(source, PoisonParams(rate=0.05)), 1)[0]
    long = type(example)(
        **vars(example) | {"caption_before": "x" * 3000, "caption_after": "many words " * 300}
    )
    plain = contact_sheet("t", [example])
    sheet = contact_sheet("title " * 200, [long])
    assert sheet.size == plain.size
    assert (np.asarray(sheet)[:, -12:] == 255).all(), "nothing is written over the edge"
