"""The page Duplicates: what repeats, near duplicates on request, and the switch."""

from __future__ import annotations

import csv
import os
from dataclasses import replace

import pytest

from app.waiting import background
from cfbd_core import SplitParams
from cfbd_core.workbench import slider_query
from cfbd_core.workbench.explorer import Explorer
from tests.app.conftest import address, make_audit, metrics, words, write_source


@pytest.fixture
def repeated(root, mapping, monkeypatch):
    """An audit of 60 pairs and four copies of the pair k0: same picture, same caption; one more has its caption."""
    monkeypatch.setattr(background, "WAIT_SECONDS", 60.0)  # a test has no browser that looks again
    source = write_source(root / "zoo", poisons=(5, 25, 45), pairs=60)
    with source.open(encoding="utf-8") as file:
        head, *rows = list(csv.reader(file))
    rows += [[f"copy{number}", *rows[0][1:]] for number in range(4)]
    rows += [["other", rows[1][1], rows[0][2], "0"]]
    with source.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    audit = make_audit(root / "audits" / "zoo", source, mapping)
    monkeypatch.setenv("CFBD_APP_AUDIT", os.path.realpath(audit.folder))
    return audit


def shown(test) -> str:
    return " ".join(str(element.proto.body) for element in test.get("html"))


def test_counts_and_the_largest_of_each_kind(page, repeated):
    test = page("duplicates")
    assert not test.exception
    table = test.dataframe[0].value.set_index("What repeats")
    assert table.loc["Image and caption"].tolist() == [1, 5, 4, 5]
    assert table.loc["Captions", "Largest"] == 6
    assert "5 pairs" in shown(test)
    test.segmented_control(key="duplicates_kind").set_value("captions").run()
    assert "6 pairs" in shown(test)
    assert "<script>" not in shown(test)


def test_the_switch_is_a_slider_like_any_other(page, repeated):
    test = page("duplicates")
    before = Explorer(repeated).preview(repeated.state.applied_params())
    test.toggle(key="collapse").set_value(True).run()
    assert not test.exception
    params = replace(repeated.state.applied_params(), collapse_duplicates=True)
    assert test.session_state["params"] == params
    assert address(test)["collapse_duplicates"] == "1"
    assert "duplicates once" in words(test)
    assert repeated.state.applied_params() == SplitParams(k=2, q=8)
    test.switch_page("views/coarse.py").run()
    found = Explorer(repeated).preview(params)
    assert metrics(test)["Benign D_b"] == str(found.counts.benign)
    assert found.mixture != before.mixture
    again = page("duplicates", **address(test))
    assert again.toggle(key="collapse").value
    again.toggle(key="collapse").set_value(False).run()
    assert "collapse_duplicates" not in address(again)


def test_a_q_above_the_distinct_pairs_is_fitted(page, repeated):
    test = page("duplicates", **slider_query.to_query(SplitParams(k=2, q=65)))
    test.toggle(key="collapse").set_value(True).run()
    assert not test.exception
    assert not test.error
    assert test.session_state["params"].q == 6


def test_apply_stores_the_collapsed_split_and_reset_goes_back(page, repeated):
    test = page("duplicates")
    test.toggle(key="collapse").set_value(True).run()
    test.sidebar.button[0].click().run()
    assert repeated.state.applied_params().collapse_duplicates
    test.toggle(key="collapse").set_value(False).run()
    next(button for button in test.sidebar.button if button.label == "Reset").click().run()
    assert test.toggle(key="collapse").value


def test_near_duplicates_are_looked_for_when_asked(page, repeated):
    test = page("duplicates", gamma_z="-0.9", k="2", q="8")
    assert len(test.dataframe) == 1
    test.button(key="near").click().run()
    assert not test.exception
    table = test.dataframe[1].value.set_index("What repeats")
    assert table.loc["Captions", "Largest"] >= 6
    test.segmented_control(key="near_kind").set_value("images").run()
    assert not test.exception
    test.toggle(key="collapse").set_value(True).run()
    assert len(test.dataframe) == 1  # of another split


def test_copies_are_looked_at_and_decided_on_like_any_filter(page, repeated):
    test = page("duplicates")
    row = repeated.columns.row_of(
        next(key for key in repeated.pairs()["key"].to_pylist() if key.endswith("0000"))
    )
    test.button(key=f"look_exact_{row}").click().run()
    assert not test.exception
    test.switch_page("views/pairs.py").run()
    assert "**5** pairs match" in words(test)
    assert address(test)["dup"].startswith("exact:k")
    test.button(key="all_unsure_filter").click().run()
    assert repeated.history(1)[0].pairs == 5
    test.selectbox(key="copies").set_value("captions").run()
    assert f"**{Explorer(repeated).duplicates.captions.counts()['pairs']}** pairs match" in words(test)
    test.button(key="chip_0").click().run()
    assert test.selectbox(key="copies").value is None
    near = page("pairs", show="all", dup="near-images", gamma_z="-0.9", k="2", q="8")
    assert not near.exception
    assert "pairs match" in words(near)


def test_of_too_many_flagged_the_page_and_the_filter_say_which_are_compared(page, repeated, monkeypatch):
    monkeypatch.setattr("cfbd_core.workbench.near.MOST_COMPARED_PAIRS", 9)
    test = page("duplicates", gamma_z="-0.9", k="2", q="8")
    test.button(key="near").click().run()
    said = "Compared: the 9 of 65 flagged with the highest z."
    assert said in words(test)
    assert said in words(page("pairs", show="all", dup="near-captions", gamma_z="-0.9", k="2", q="8"))


def test_nothing_repeats_and_nothing_is_flagged(page, root, mapping, monkeypatch):
    audit = make_audit(root / "audits" / "clean", write_source(root / "clean", poisons=(), pairs=40), mapping)
    monkeypatch.setenv("CFBD_APP_AUDIT", os.path.realpath(audit.folder))
    test = page("duplicates", gamma_z="2.0", k="2", q="8")
    assert not test.exception
    assert "Nothing repeats" in words(test)
    assert "Fewer than two pairs are flagged" in words(test)
