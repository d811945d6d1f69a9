"""The control sample of an audit's folder: drawn once, extended, told in sentences, alike from many at once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cfbd_core import Audit, SplitParams
from cfbd_core.cli import main
from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.html_report import write_html_report
from cfbd_core.review import estimate, reviews_needed
from cfbd_core.review.left import CONTROL_NAME
from cfbd_core.store.columns import KEEP, REMOVE
from cfbd_core.workbench.explorer import Explorer
from cfbd_core.workbench.preview import Preview

PARAMS = SplitParams(k=3, q=20)


@pytest.fixture
def preview(own: Audit) -> Preview:
    return Explorer(own).preview(PARAMS)


def test_a_sample_is_drawn_once_and_kept(preview, own) -> None:
    assert preview.what_is_left() is None
    drawn = preview.draw_control(60)
    assert sum(drawn.drawn) == 60
    again = preview.draw_control(200)
    assert np.array_equal(again.order, drawn.order)
    read = Explorer(own).preview(PARAMS).what_is_left()
    assert np.array_equal(read.control.order, drawn.order)
    assert read.both_sides == estimate(drawn, preview.pairs.decisions)


def test_both_sides_are_drawn_from_and_a_small_one_is_drawn_whole(preview) -> None:
    flagged = int(preview.flagged.sum())
    drawn = preview.draw_control(400)
    assert (len(drawn.members_of(0)), len(drawn.members_of(1))) == (400 - flagged, flagged)


def test_more_is_drawn_from_the_same_pool_until_it_is_empty(preview) -> None:
    drawn = preview.draw_control(60)
    more = preview.pairs.control.draw_more(100)
    assert sum(more.drawn) == 160
    assert more.look == 2
    assert set(drawn.order) < set(more.order)
    preview.pairs.control.draw_more(10_000)
    left = preview.what_is_left()
    assert (left.drawn, left.undrawn) == (len(preview.pairs), 0)
    with pytest.raises(ParameterError, match="every pair"):
        preview.pairs.control.draw_more(1)


def test_anew_takes_the_place_of_the_old_one_and_its_looks_count_on(preview) -> None:
    preview.draw_control(60)
    preview.pairs.decide(np.arange(300), KEEP)
    drawn = preview.draw_control(60, anew=True)
    assert drawn.look == 2
    assert not np.isin(drawn.order, np.arange(300)).any()


def test_many_at_once_draw_one_sample_and_lose_no_extension(own) -> None:
    previews = [Explorer(own).preview(PARAMS) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda preview: preview.draw_control(20), previews))
        assert all(np.array_equal(one.order, drawn[0].order) for one in drawn)
        list(pool.map(lambda preview: preview.pairs.control.draw_more(10), previews))
    assert previews[0].what_is_left().drawn == 60
    assert previews[0].what_is_left().control.look == 5


def test_sentences_tell_bounds_intervals_and_what_is_still_needed(preview) -> None:
    control = preview.draw_control(60)
    for position in control.order[:50]:
        preview.pairs.decide(np.array([position]), REMOVE if preview.flagged[position] else KEEP)
    left = preview.what_is_left()
    found = estimate(control, preview.pairs.decisions)
    bounds, guess = left.sentences
    removed = int(preview.removed().sum())
    assert bounds == (
        f"At most {found.kept.at_most} poisons are left among the {413 - removed} kept pairs (95 %), and at most "
        f"{found.removed.at_most} clean pair{'' if found.removed.at_most == 1 else 's'} among the {removed} removed "
        f"(95 %); from 60 random pairs, 50 looked at."
    )
    assert f"0 poisons (0 to {found.kept.high})" in guess
    assert left.needed(50) == reviews_needed(control, preview.pairs.decisions, 50)
    assert "at most 500: can be said now" in left.needed_sentence()
    assert not left.moved_sentence
    preview.pairs.decide(control.order[:50], 3)
    told = preview.what_is_left()
    assert "50 looked at, 50 of them unsure" in told.sentences[0]
    assert "none yet" in told.sentences[1]


def test_a_sample_of_another_split_says_so_and_counts_its_own_sides(preview) -> None:
    preview.draw_control(60)
    other = preview.pairs.preview(SplitParams(k=3, q=20, gamma_z=-1.0, gamma_z_rule="manual"))
    left = other.what_is_left()
    changed = int((other.flagged != preview.flagged).sum())
    assert left.moved == changed > 300
    assert left.kept == int((~preview.flagged).sum())
    assert f"{changed} pairs have changed sides" in left.moved_sentence


def test_a_decision_taken_back_since_is_outside_the_pool_and_told(preview) -> None:
    preview.pairs.decide(np.array([7]), KEEP)
    preview.draw_control(60)
    assert preview.what_is_left().moved == 0
    preview.pairs.decide(np.array([7]), 0)
    assert preview.what_is_left().moved_sentence.startswith("1 pair has")


def test_with_nothing_left_to_decide_nothing_is_left(preview) -> None:
    preview.pairs.decide(np.arange(len(preview.pairs)), KEEP)
    assert preview.draw_control(20).order.size == 0
    assert (
        preview.what_is_left().sentences[0].startswith("At most 0 poisons are left among the 413 kept pairs")
    )


def test_a_damaged_sample_is_told_and_can_only_be_drawn_anew(preview, own) -> None:
    preview.draw_control(20)
    (own.folder / CONTROL_NAME).write_bytes(b"none")
    with pytest.raises(AuditError, match="damaged"):
        preview.what_is_left()
    with pytest.raises(AuditError, match="damaged"):
        preview.draw_control(20)
    assert preview.draw_control(20, anew=True).look == 1


def test_wrong_numbers_are_refused(preview) -> None:
    with pytest.raises(ParameterError, match="at least 1"):
        preview.draw_control(0)
    with pytest.raises(ParameterError, match="draw one first"):
        preview.pairs.control.draw_more(5)
    assert not preview.pairs.control.path.exists()


# --- the command and the report ----------------------------------------------------------------------------


def test_the_command_draws_extends_and_tells(own, capsys) -> None:
    own.split(PARAMS)
    folder = str(own.folder)
    assert main(["estimate", "--audit", folder]) == 2
    assert "--draw" in capsys.readouterr().err
    assert main(["estimate", "--audit", folder, "--draw", "40", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["drawn"], told["pending"], told["look"]) == (40, 40, 1)
    assert len(set(told["pending_keys"])) == 40
    assert set(told["reviews_needed"]) == {"50", "100", "500"}
    assert main(["estimate", "--audit", folder, "--draw", "10"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("At most ")
    assert "from 50 random pairs, 0 looked at" in text
    assert main(["estimate", "--audit", folder, "--draw", "30", "--anew", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["drawn"] == 30
    assert main(["estimate", "--audit", folder, "--anew"]) == 2
    assert main(["estimate", "--audit", folder, "--draw", "0"]) == 2


def test_the_html_report_says_what_may_be_left_where_there_is_a_sample(own, tmp_path) -> None:
    own.split(PARAMS)
    explorer = Explorer(own)
    write_html_report(explorer, tmp_path / "one.html")
    said = "No control sample was drawn: nothing can be said about what is left."
    assert said in (tmp_path / "one.html").read_text(encoding="utf-8")
    preview = explorer.preview(PARAMS)
    preview.draw_control(40)
    write_html_report(explorer, tmp_path / "two.html")
    page = (tmp_path / "two.html").read_text(encoding="utf-8")
    assert "<h2>What may be left</h2>" in page
    assert preview.what_is_left().sentences[0] in page
    explorer.control.path.write_bytes(b"none")
    write_html_report(explorer, tmp_path / "three.html")
    assert "damaged" in (tmp_path / "three.html").read_text(encoding="utf-8")
