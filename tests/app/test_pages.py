from __future__ import annotations

import csv
import os
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
import streamlit as st

from app.pages import PAGES
from cfbd_core import SplitParams
from cfbd_core.jobs.jobs import Job, Jobs
from cfbd_core.workbench import slider_query
from tests.app.conftest import (
    MAIN,
    PAIRS,
    VIEWS,
    address,
    alter,
    cards,
    make_audit,
    metrics,
    press,
    words,
    write_source,
)


def test_every_page_stands_in_the_navigation(page, root, monkeypatch):
    told = []
    given = st.navigation
    monkeypatch.setattr(st, "navigation", lambda pages, **how: told.append(pages) or given(pages, **how))
    assert not page("audits").exception
    shown = [one for one in told[0] if one.visibility != "hidden"]
    assert [(one.url_path, one.title, one.icon) for one in shown] == [
        (one.name, one.title, one.icon) for one in PAGES
    ]


@pytest.mark.parametrize("name", VIEWS)
def test_every_page_is_drawn(page, root, name):
    test = page(name)
    assert not test.exception
    assert not test.error
    assert test.title[0].value


@pytest.mark.parametrize("name", VIEWS)
def test_without_an_audit_there_is_a_way_to_one(page, root, monkeypatch, name):
    monkeypatch.setenv("CFBD_APP_AUDIT", "")
    test = page(name)
    assert not test.exception
    assert name == "audits" or "No audit is open" in words(test)


def test_the_folder_of_views_has_a_name_that_streamlit_does_not_know():
    # Beside a folder `pages`, Streamlit runs a page by its address without main.py, and so without the login.
    assert not (MAIN.parent / "pages").exists()


# --- sliders -------------------------------------------------------------------------------------------


def test_sliders_change_the_counts_and_stand_in_the_address(page, audit):
    test = page("coarse")
    before = metrics(test)
    test.slider(key="slider_gamma").set_value(0.5).run()
    test.slider(key="slider_q").set_value(12).run()
    assert metrics(test)["Top-q D_p"] == "12" != before["Top-q D_p"]
    assert metrics(test)["Benign D_b"] != before["Benign D_b"]
    assert test.session_state["params"] == SplitParams(k=2, q=12, gamma=0.5)
    assert address(test)["q"] == "12"
    assert address(test)["gamma"] == "0.5"
    assert audit.state.applied_params() == SplitParams(k=2, q=8)


def test_a_preview_is_of_its_session_alone_and_marked_there(page, audit):
    test = page("coarse")
    assert "As stored in the audit" in words(test)
    assert "q" not in address(test)
    test.slider(key="slider_q").set_value(12).run()
    assert "Sliders of this session, not what the audit holds" in words(test)
    other = page("coarse")
    assert metrics(other)["Top-q D_p"] == "8"
    assert "As stored in the audit" in words(other)
    audit.split(SplitParams(k=2, q=10))
    other.run()  # a session that has moved no slider follows what others store
    assert metrics(other)["Top-q D_p"] == "10"
    assert "As stored in the audit" in words(other)
    test.run()
    assert metrics(test)["Top-q D_p"] == "12"


@pytest.mark.parametrize("name", [name for name in VIEWS if name != "audits"])
def test_every_page_that_a_link_s_sliders_open_is_marked_as_a_preview(page, root, name):
    test = page(name, q="12", k="2")
    assert words(test).count("Sliders of this session, not what the audit holds") == 1
    assert "Preview" not in words(page(name))


def test_a_link_stands_in_the_address_no_longer_than_its_sliders_are_a_preview(page, audit):
    test = page("coarse", q="12", k="2")
    assert address(test)["q"] == "12"
    next(button for button in test.button if button.label == "Apply").click().run()
    assert "stored in the audit" in words(test)
    assert address(test) == {"audit": "audits/toy"}


def test_an_audit_that_is_opened_shows_what_it_holds_not_the_link_of_the_one_before(page, root, mapping):
    make_audit(root / "audits" / "zoo", write_source(root / "zoo", pairs=60), mapping)
    test = page("audits", q="12", k="2", text="banana")
    test.button(key=f"open_{os.path.realpath(root / 'audits' / 'zoo')}").click().run()
    test.switch_page("views/pairs.py").run()
    assert "params" not in test.session_state
    assert test.text_input(key="text").value == ""
    assert address(test) == {"audit": "audits/zoo"}


def test_a_link_reopens_its_sliders(page, root):
    test = page("fine", k="3", gamma="0.8", q="10", gamma_z="0.25")
    assert metrics(test)["Top-q D_p"] == "10"
    assert test.slider(key="slider_gamma_z").value == 0.25


@pytest.mark.parametrize(
    "query", [{"q": "many"}, {"q": "100000"}, {"k": "99"}, {"gamma_z": "nan"}, {"rule": "[x](http://e.org)"}]
)
def test_a_link_with_parameters_that_cannot_be_is_told_and_left_out(page, root, query):
    test = page("coarse", **query)
    assert not test.exception
    assert metrics(test)["Top-q D_p"] == "8"
    assert "left out" in test.toast[0].value
    assert "](" not in test.toast[0].value


@pytest.mark.parametrize(
    "params",
    [
        SplitParams(k=3, gamma=1 / 3, q=11, gamma_z=0.1 + 0.2, gamma_z_rule="manual"),
        SplitParams(k=2, gamma=1 - 1e-12, q=8, rule="posterior", recheck=False),
        SplitParams(k=2, q=8, gamma_z_rule="valley", kappa=3.0, seed=1),
    ],
    ids=["manual", "posterior", "kappa"],
)
def test_a_page_s_own_link_leads_back_to_exactly_it(page, audit, params):
    audit.split(replace(params, k=4))  # κ and the seed are not in an address
    first = page("fine", **slider_query.to_query(params))
    again = page("fine", **address(first))
    assert again.session_state["params"] == params
    assert not again.toast
    assert metrics(again) == metrics(first)


def test_a_link_s_audit_is_opened_and_stays_open(page, root, mapping, audit):
    make_audit(root / "audits" / "zoo", write_source(root / "zoo", pairs=60), mapping)
    test = page("coarse", audit="audits/zoo")
    assert metrics(test)["Pairs"] == "60"
    test.switch_page("views/fine.py").run()
    assert metrics(test)["Pairs"] == "60"
    assert address(test)["audit"] == "audits/zoo"


def test_sliders_of_the_expander_and_rules_change_the_split(page, audit):
    test = page("coarse")
    test.number_input(key="exact_q").set_value(150).run()
    assert metrics(test)["Top-q D_p"] == "150"
    assert test.slider(key="slider_q").value == 150
    test.segmented_control(key="rule").set_value("posterior").run()
    test.toggle(key="recheck").set_value(False).run()
    assert test.session_state["params"] == SplitParams(k=2, q=150, rule="posterior", recheck=False)
    assert "as published" in words(test)
    assert (address(test)["rule"], address(test)["recheck"]) == ("posterior", "0")
    test.toggle(key="recheck").set_value(True).run()
    assert "recheck" not in address(test)


def test_every_k_and_a_log_axis_are_drawn(page, root):
    test = page("coarse")
    for k in (1, 10):
        test.slider(key="slider_k").set_value(k).run()
        assert not test.exception
    test.toggle(key="coarse_log").set_value(False).run()
    test.toggle(key="coarse_truth").set_value(False).run()
    assert not test.exception
    assert len(test.get("plotly_chart")) == 3


def test_gamma_z_follows_its_rule_or_the_hand(page, audit):
    test = page("fine")
    by_rule = test.slider(key="slider_gamma_z").value
    test.slider(key="slider_gamma_z").set_value(-0.2).run()
    assert int(metrics(test)["Flagged"].replace(",", "")) > PAIRS / 2
    assert test.session_state["params"].gamma_z == -0.2
    test.segmented_control(key="gamma_z_rule").set_value("null").run()
    assert test.slider(key="slider_gamma_z").value == by_rule
    for rule in ("valley", "mixture", "auto", "manual"):
        test.segmented_control(key="gamma_z_rule").set_value(rule).run()
        assert not test.exception
        assert test.session_state["params"].gamma_z_rule == rule
    assert test.slider(key="slider_gamma_z").value == by_rule  # by hand begins where the rule stood


def test_apply_stores_the_verdicts_and_reset_goes_back(page, audit):
    test = page("coarse")
    test.slider(key="slider_q").set_value(12).run()
    next(button for button in test.button if button.label == "Apply").click().run()
    assert audit.state.applied_params().q == 12
    assert audit.report()["poisoned"] == 12
    test.slider(key="slider_q").set_value(20).run()
    next(button for button in test.button if button.label == "Reset").click().run()
    assert metrics(test)["Top-q D_p"] == "12"
    shown = metrics(test)
    report = audit.report()
    names = {"Pairs": "pairs", "Benign D_b": "benign", "Suspicious D_s": "suspicious", "Flagged": "flagged"}
    assert {label: int(shown[label]) for label in names} == {
        label: report[key] for label, key in names.items()
    }
    assert "params" not in test.session_state


# --- pairs ---------------------------------------------------------------------------------------------


def test_keep_remove_and_undo_are_stored_at_once(page, audit):
    test = page("pairs")
    flagged = audit.report()["flagged"]
    assert f"**{flagged}** pairs match" in words(test)
    row = audit.pairs("verdict = 'poisoned'", order_by="z DESC", limit=1)["row"][0].as_py()
    press(test, "keep", row)
    assert audit.pairs(f"row = {row}")["decision"].to_pylist() == ["keep"]
    assert f"**{flagged - 1}** pairs match" in words(test)
    test.button(key="undo_button").click().run()
    assert audit.pairs(f"row = {row}")["decision"].to_pylist() == [""]
    assert f"**{flagged}** pairs match" in words(test)


def test_undo_brings_back_a_decision_that_was_taken_back_with_its_note(page, audit):
    flagged = audit.pairs("verdict = 'poisoned'", order_by="z DESC", limit=1)
    row, key = flagged["row"][0].as_py(), flagged["key"][0].as_py()
    audit.decide(pa.table({"key": [key], "decision": ["remove"], "note": ["seen on the web"]}))
    test = page("pairs")
    press(test, "remove", row)  # pressed again it is taken back
    assert audit.columns.notes_of(np.array([row])) == [None]
    test.button(key="undo_button").click().run()
    assert not test.toast
    assert audit.pairs(f"row = {row}")["decision"].to_pylist() == ["remove"]
    assert audit.columns.notes_of(np.array([row])) == ["seen on the web"]


def test_undo_leaves_a_note_that_someone_has_written_since(page, audit):
    flagged = audit.pairs("verdict = 'poisoned'", order_by="z DESC", limit=1)
    row, key = flagged["row"][0].as_py(), flagged["key"][0].as_py()
    test = page("pairs")
    press(test, "remove", row)
    audit.decide(pa.table({"key": [key], "decision": ["remove"], "note": ["mine"]}))
    test.button(key="undo_button").click().run()
    assert "Someone has decided" in test.toast[0].value
    assert audit.columns.notes_of(np.array([row])) == ["mine"]


def test_search_and_filters_narrow_the_pairs(page, audit):
    test = page("pairs")
    test.segmented_control(key="show").set_value("all").run()
    assert f"**{PAIRS}** pairs match" in words(test)
    test.text_input(key="text").set_value("BANANA").run()
    assert "**10** pairs match" in words(test)
    test.text_input(key="text").set_value("no such words").run()
    assert "No pair matches" in words(test)


def matching(test) -> int:
    found = next(part.value for part in test.markdown if "pairs match" in part.value)
    return int(found.split("**")[1].replace(",", ""))


def test_every_filter_counts_as_the_audit_does(page, audit):
    test = page("pairs")
    test.segmented_control(key="show").set_value("all").run()
    counts = audit.report()
    for name, key in (("poisoned", "poisoned"), ("suspicious", "suspicious"), ("benign", "benign")):
        test.pills(key="subsets").set_value([name]).run()
        assert matching(test) == counts[key]
    test.pills(key="subsets").set_value([]).run()
    test.selectbox(key="truth").set_value(True).run()
    assert matching(test) == 10
    test.selectbox(key="truth").set_value(None).run()
    low, high = test.slider(key="range_c").value
    test.slider(key="range_c").set_range(low, (low + high) / 2).run()
    assert 0 < matching(test) < PAIRS
    test.slider(key="range_c").set_range(low, high).run()
    test.segmented_control(key="show").set_value("kept").run()
    assert matching(test) == counts["kept"]
    for sort in (("z", False), ("consistency", True), ("row", False)):
        test.selectbox(key="sort").set_value(sort).run()
        assert matching(test) == counts["kept"]


def test_a_range_that_was_not_narrowed_is_no_filter_when_q_moves_z(page, root):
    test = page("pairs")
    test.segmented_control(key="show").set_value("all").run()
    for q in (2, 150, 9):
        test.switch_page("views/coarse.py").run()
        test.number_input(key="exact_q").set_value(q).run()
        test.switch_page("views/pairs.py").run()
        assert matching(test) == PAIRS


def test_unsure_pairs_are_found_again_and_change_no_verdict(page, audit):
    test = page("pairs")
    row = audit.pairs("verdict = 'poisoned'", order_by="z DESC", limit=1)["row"][0].as_py()
    before = matching(test)
    press(test, "unsure", row)
    assert matching(test) == before
    test.pills(key="decided").set_value(["unsure"]).run()
    assert matching(test) == 1
    press(test, "unsure", row)  # pressed again it is taken back
    assert audit.pairs(f"row = {row}")["decision"].to_pylist() == [""]
    assert "No pair matches" in words(test)


def test_removed_pairs_are_removed_whatever_the_verdict(page, audit):
    test = page("pairs")
    before = matching(test)
    test.segmented_control(key="show").set_value("kept").run()
    row = audit.pairs("verdict = 'clean'", order_by="z DESC", limit=1)["row"][0].as_py()
    press(test, "remove", row)
    test.segmented_control(key="show").set_value("removed").run()
    assert matching(test) == before + 1
    assert audit.report()["kept"] == PAIRS - before - 1


def test_pages_turn_and_another_view_begins_at_the_first(page, root):
    test = page("pairs")
    test.segmented_control(key="show").set_value("all").run()
    shown = lambda: [card["row"] for card in cards(test)]  # noqa: E731
    first = shown()
    assert len(first) == 60
    test.get("pagination")[0].set_value(4).run()
    assert len(shown()) == PAIRS - 3 * 60
    assert not set(first) & set(shown())
    test.selectbox(key="sort").set_value(("z", False)).run()
    assert len(shown()) == 60
    assert test.get("pagination")[0].value == 1
    for size in (24, 120):
        test.segmented_control(key="page_size").set_value(size).run()
        assert len(shown()) == size
        assert test.get("pagination")[0].value == 1


def test_the_last_page_may_go_with_its_last_pair(page, root):
    test = page("pairs", gamma_z="-1")
    test.segmented_control(key="page_size").set_value(24).run()
    test.get("pagination")[0].set_value(9).run()
    for _ in range(PAIRS - 8 * 24):
        press(test, "keep", cards(test)[0]["row"])
        assert not test.exception
    assert test.get("pagination")[0].value == 8
    assert matching(test) == 8 * 24


def test_pictures_that_are_gone_are_named(page, root, mapping):
    make_audit(root / "audits" / "gone", write_source(root / "gone"), mapping)
    for picture in (root / "gone").glob("*.png"):
        picture.unlink()
    test = page("pairs", audit="audits/gone")
    assert not test.exception
    assert all(card["gone"] == "missing file" for card in cards(test))


def test_nothing_flagged_is_a_calm_page(page, root):
    test = page("pairs", gamma_z="2")
    assert not test.exception
    assert "Nothing is flagged" in words(test)


# --- detectors -----------------------------------------------------------------------------------------


def test_detectors_are_run_by_a_job(page, audit, started):
    test = page("detectors")
    assert "None has judged these pairs yet" in words(test)
    test.multiselect(key="detectors").set_value(["dao", "cosine"]).run()
    test.button(key="run_detectors").click().run()
    assert started == [("detect", audit.folder, ["detect", "dao", "cosine", "--audit", str(audit.folder)])]


def test_detectors_stand_beside_the_verdict_and_lead_to_the_pairs(page, audit):
    (one,) = audit.detect("cosine")
    test = page("detectors")
    assert not test.exception
    row = {name: values[0] for name, values in test.dataframe[0].value.to_dict("list").items()}
    assert (row["Flagged"], row["Verdict, too"], row["It alone"]) == (
        one["flagged"],
        one["both"],
        one["alone"],
    )
    assert row["AUROC"] == f"{one['auroc']:.4f}"
    assert row["TPR"] == f"{one['tpr']:.2%}"
    kept = audit.pairs("final = 'kept'").num_rows
    chosen = page("pairs", show="kept", detector="!cosine")
    assert not chosen.exception
    assert f"{kept - one['alone']:,}" in words(chosen)
    gone = page("pairs", show="all", detector="dao")
    assert not gone.exception
    assert "flagged by dao" in " ".join(button.label for button in gone.button)


# --- evaluation and export -----------------------------------------------------------------------------


def test_evaluate_agrees_with_the_report(page, audit):
    truth = audit.report()["truth"]
    shown = metrics(page("evaluate"))
    assert shown["AUROC, fine: z"] == f"{truth['auroc_z']:.4f}"
    assert shown["AUPRC, coarse: c"] == f"{truth['auprc_consistency']:.4f}"
    assert shown["Known poisons in D_b"] == str(truth["poisons_in_benign"])


def test_evaluate_s_table_follows_the_verdict_and_the_decisions(page, audit):
    row = audit.pairs("verdict = 'poisoned' AND poisoned", limit=1)["row"][0].as_py()
    test = page("pairs")
    press(test, "keep", row)
    test.switch_page("views/evaluate.py").run()
    report = audit.report()
    table = test.dataframe[0].value.to_dict("list")
    for number, truth in enumerate((report["truth"], report["truth_final"])):
        assert table["TPR"][number] == f"{truth['tpr']:.2%}"
        assert table["FPR"][number] == f"{truth['fpr']:.2%}"
        assert table["Precision"][number] == f"{truth['precision']:.2%}"
        assert table["Poisons missed"][number] == truth["poisons_kept"]
    assert table["Poisons missed"][1] == table["Poisons missed"][0] + 1


@pytest.mark.parametrize(
    ("known", "told"),
    [("NULL", "The truth is not known"), ("false", "is clean"), ("true", "is poisoned")],
)
@pytest.mark.parametrize("name", ["coarse", "fine", "evaluate"])
def test_audits_without_both_kinds_of_pairs_are_drawn(page, audit, name, known, told):
    alter(audit, f"UPDATE pairs SET poisoned = {known}")
    test = page(name)
    assert not test.exception
    assert not test.error
    assert name != "evaluate" or told in words(test)


def test_export_starts_its_job_and_applies_the_sliders_first(page, root, audit, monkeypatch):
    started = []
    monkeypatch.setattr(
        Jobs, "start", lambda self, kind, folder, arguments: started.append((kind, arguments))
    )
    test = page("export", k="2", q="15", gamma_z="auto")
    assert metrics(test)["Kept"]
    test.button(key="write").click().run()
    assert not test.exception
    assert audit.state.applied_params().q == 15
    kind, arguments = started[0]
    assert kind == "export"
    assert arguments[arguments.index("--out") + 1].endswith("exports/toy/kept.csv")


@pytest.mark.parametrize(
    ("subset", "kind", "arguments"),
    [
        ("removed", "parquet", ["--subset", "removed", "--format", "parquet"]),
        ("all", "webdataset", ["--subset", "all", "--format", "webdataset"]),
        ("kept", "csv", ["--subset", "kept", "--format", "csv", "--spreadsheet-safe"]),
    ],
)
def test_an_export_is_what_was_chosen(page, root, audit, monkeypatch, subset, kind, arguments):
    started = []
    monkeypatch.setattr(Jobs, "start", lambda self, kind, folder, arguments: started.append(arguments))
    test = page("export")
    test.segmented_control(key="subset").set_value(subset).run()
    test.segmented_control(key="format").set_value(kind).run()
    if kind == "csv":
        test.toggle(key="safe").set_value(True).run()
    test.button(key="write").click().run()
    assert started[0][5:] == [*arguments, "--split", audit.state.applied_params().id]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("../../out.csv", "outside the folders"),
        ("source/pairs.csv", "no export"),
        ("audits/toy/audit.duckdb", "lies in the audit"),
        ("", "give a path"),
    ],
)
def test_an_export_to_a_wrong_place_is_refused(page, root, monkeypatch, typed, told):
    monkeypatch.setattr(Jobs, "start", lambda *_: pytest.fail("started"))
    test = page("export")
    test.text_input(key="out_kept_csv").set_value(typed).run()
    test.button(key="write").click().run()
    assert not test.exception
    assert told in words(test)


def test_a_written_export_holds_the_kept_pairs_and_can_be_fetched(page, root, audit):
    test = page("pairs")
    row = audit.pairs("verdict = 'poisoned'", order_by="z DESC", limit=1)["row"][0].as_py()
    press(test, "keep", row)
    test.switch_page("views/export.py").run()
    shown = metrics(test)
    report = audit.report()
    assert int(shown["Kept"]) == report["kept"] == PAIRS - int(shown["Removed"])
    assert (shown["Removed though clean"], shown["Kept though flagged"]) == ("0", "1")
    test.button(key="write").click().run()
    jobs = Jobs(root / ".cfbd-jobs")
    deadline = time.monotonic() + 60
    while jobs.for_audit(audit.folder)[0].state == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
    test.run()
    assert not test.exception
    assert f"{report['kept']:,} pairs written" in words(test)
    assert test.download_button(key="download").label.startswith("Download kept")
    with (root / "exports" / "toy" / "kept.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == report["kept"]
    assert "earlier export" not in " ".join(info.value for info in test.info)
    test.segmented_control(key="subset").set_value("removed").run()
    assert "Your last export" in test.info[0].value
    assert "earlier export" not in test.info[0].value
    test.segmented_control(key="subset").set_value("kept").run()
    assert not test.info
    audit.views.save("mine", {"show": "all"})
    test.run()
    assert not test.info  # it is what an export would give still
    audit.decide_rows(np.array([row]), np.array([2], np.int8))
    test.run()
    assert "earlier export, of before the last changes" in test.info[0].value
    test.segmented_control(key="subset").set_value("removed").run()
    assert "Your last export, of before the last changes" in test.info[0].value


def test_the_report_is_made_by_a_job_and_offered(page, root, audit):
    test = page("export")
    test.button(key="make_report").click().run()
    assert not test.exception
    jobs = Jobs(root / ".cfbd-jobs")
    deadline = time.monotonic() + 120
    while jobs.for_audit(audit.folder)[0].state == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
    test.run()
    assert not test.exception
    assert test.download_button(key="download_report").label.startswith("Download report")
    made = (root / "exports" / "toy" / "report.html").read_text(encoding="utf-8")
    assert f"<b>{audit.report()['flagged']:,}</b> of {PAIRS} pairs are removed" in made
    assert "before the last changes" not in words(test)
    audit.decide_rows(np.array([3]), np.array([2], np.int8))
    test.run()
    assert "Made before the last changes" in words(test)
    test.switch_page("views/coarse.py").run()
    test.slider(key="slider_q").set_value(12).run()
    assert "a preview, not stored in the audit" in words(test)
    assert "export" not in words(test)


def test_a_report_takes_no_other_page_s_place(page, root, monkeypatch):
    monkeypatch.setattr(Jobs, "start", lambda *_: pytest.fail("started"))
    (root / "exports" / "toy").mkdir(parents=True)
    (root / "exports" / "toy" / "report.html").write_text("mine")
    test = page("export")
    test.button(key="make_report").click().run()
    assert "no report" in words(test)


def test_undo_leaves_what_someone_else_has_decided_since(page, audit):
    test = page("pairs")
    row = audit.pairs("verdict = 'poisoned'", order_by="z DESC", limit=1)["row"][0].as_py()
    press(test, "keep", row)
    audit.decide_rows(np.array([row]), np.array([3], np.int8))
    test.button(key="undo_button").click().run()
    assert "Someone has decided" in test.toast[0].value
    assert audit.pairs(f"row = {row}")["decision"].to_pylist() == ["unsure"]


# --- audits --------------------------------------------------------------------------------------------


def start_run(test, source: str, name: str):
    next(field for field in test.text_input if field.label == "Source").set_value(source)
    next(field for field in test.text_input if field.label == "Name of the audit").set_value(name)
    return next(button for button in test.button if button.label == "Start").click().run()


def test_a_new_audit_is_a_job_with_the_options_given(page, root, monkeypatch):
    started = []
    monkeypatch.setattr(Jobs, "start", lambda self, kind, folder, arguments: started.append(arguments))
    start_run(page("audits"), "source/pairs.csv", "mine")
    assert started[0][:2] == ["run", str((root / "source" / "pairs.csv").resolve())]
    assert started[0][2:4] == ["--audit", str((root / "audits" / "mine").resolve())]
    assert started[0][-2:] == ["--q=50", "--k=5"]


@pytest.mark.parametrize(
    "source", ["../pairs.csv", "/etc/passwd", "../*", "link.csv", "lin*.csv", "nowhere.csv", ""]
)
def test_a_source_outside_the_roots_is_refused(page, root, monkeypatch, source):
    (root.parent / "pairs.csv").write_text("image,caption\n")
    (root / "link.csv").symlink_to(root.parent / "pairs.csv")
    monkeypatch.setattr(Jobs, "start", lambda *_: pytest.fail("started"))
    test = start_run(page("audits"), source, "mine")
    assert not test.exception
    assert len(test.error) == 1


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "toy"])
def test_a_name_that_is_no_new_folder_is_refused(page, root, monkeypatch, name):
    monkeypatch.setattr(Jobs, "start", lambda *_: pytest.fail("started"))
    assert len(start_run(page("audits"), "source/pairs.csv", name).error) == 1


def test_an_audit_outside_the_roots_is_not_opened_by_a_link(page, root):
    test = page("coarse", audit="../elsewhere")
    assert not test.exception
    assert "outside the folders" in words(test)
    assert metrics(test)["Pairs"] == str(PAIRS)  # the audit that the server was started with


def test_every_option_of_a_new_audit_reaches_its_job(page, root, monkeypatch):
    started = []
    monkeypatch.setattr(Jobs, "start", lambda self, kind, folder, arguments: started.append(arguments))
    test = page("audits")
    for field in test.text_input:
        values = {
            "Image column": "file",
            "Caption column": "--text",
            "Encoder": "ViT-B-32@source/pairs.csv",
            "Label column": "kind",
            "Folder of the images": "source",
        }
        field.set_value(values.get(field.label, ""))
    next(box for box in test.selectbox if box.label == "Format").set_value("csv")
    next(box for box in test.selectbox if box.label == "Captions of a record").set_value("all")
    next(field for field in test.number_input if field.label.startswith("q")).set_value(7)
    next(field for field in test.number_input if field.label.startswith("K")).set_value(2)
    start_run(test, "source/*.csv", "mine")
    home = root.resolve()
    assert started == [
        [
            "run",
            f"{home}/source/*.csv",
            "--audit",
            f"{home}/audits/mine",
            "--format=csv",
            "--captions=all",
            "--image-col=file",
            "--caption-col=--text",
            "--label-col=kind",
            f"--image-root={home}/source",
            f"--encoder=ViT-B-32@{home}/source/pairs.csv",
            "--q=7",
            "--k=2",
        ]
    ]


@pytest.mark.parametrize("encoder", ["/etc", "../model", "mini@../weights.pt"])
def test_an_encoder_outside_the_roots_is_refused(page, root, monkeypatch, encoder):
    monkeypatch.setattr(Jobs, "start", lambda *_: pytest.fail("started"))
    test = page("audits")
    next(field for field in test.text_input if field.label == "Encoder").set_value(encoder)
    assert "outside the folders" in words(start_run(test, "source/pairs.csv", "mine"))


def test_audits_are_listed_and_opened(page, root, audit, mapping):
    make_audit(root / "audits" / "zoo", write_source(root / "zoo", pairs=60), mapping)
    test = page("audits")
    assert "**audits/toy**" in words(test)
    assert "**audits/zoo**" in words(test)
    assert "60 pairs · encoder toy" in words(test)
    next(button for button in test.button if button.label == "Open").click().run()
    assert address(test)["audit"] == "audits/zoo"
    test.switch_page("views/coarse.py").run()
    assert metrics(test)["Pairs"] == "60"


def test_the_demo_is_offered_until_it_is_made(page, root, monkeypatch):
    started = []
    monkeypatch.setattr(
        Jobs, "start", lambda self, kind, folder, arguments: started.append((kind, arguments))
    )
    test = page("audits")
    next(button for button in test.button if button.label == "Make the demo").click().run()
    assert started == [("demo", ["demo", "--audit", str(root.resolve() / "audits" / "demo")])]
    shutil.copytree(root / "audits" / "toy", root / "audits" / "demo")
    assert "Make the demo" not in [button.label for button in page("audits").button]


@pytest.mark.parametrize(
    ("state", "told", "pressed"),
    [
        ("running", "Starting run", "Stop"),
        ("failed", "no <b> file", "Try again"),
        ("stopped", "stopped;", "Go on"),
    ],
)
def test_a_job_is_followed_stopped_and_taken_up_again(page, root, monkeypatch, state, told, pressed):
    folder = root.resolve() / "audits" / "new"
    error = None if state == "running" else f"{told} **x**"
    job = Job("1", "run", folder, ("run", "x"), datetime.now(UTC), state, None, error, None, root / "job")
    done = []
    monkeypatch.setattr(Jobs, "all", lambda _: [job])
    monkeypatch.setattr(Job, "stop", lambda self: done.append("stop"))
    monkeypatch.setattr(Jobs, "start", lambda self, kind, folder, arguments: done.append(arguments))
    test = page("audits")
    assert not test.exception
    texts = words(test) + " ".join(bar.proto.text for bar in test.get("progress"))
    assert told in texts
    next(button for button in test.button if button.label == pressed).click().run()
    assert not test.exception
    assert done == ["stop" if state == "running" else ("run", "x")]


@pytest.mark.slow
def test_an_audit_is_made_from_a_source_by_its_real_job(page, root):
    write_source(root / "own", pairs=60)
    test = start_run(page("audits"), "own/pairs.csv", "mine")
    assert not test.exception
    folder, jobs = root.resolve() / "audits" / "mine", Jobs(root / ".cfbd-jobs")
    deadline = time.monotonic() + 300
    while jobs.for_audit(folder)[0].state == "running" and time.monotonic() < deadline:
        time.sleep(0.2)
    assert jobs.for_audit(folder)[0].state == "done", jobs.for_audit(folder)[0].error
    test = page("coarse", audit="audits/mine")
    assert not test.exception
    assert metrics(test)["Pairs"] == "60"
