from __future__ import annotations

import pytest

from cfbd_core import SplitParams
from cfbd_core.jobs import Jobs
from tests.app.conftest import MAIN, PAIRS, VIEWS, alter, make_audit, metrics, words, write_source


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


def test_sliders_change_the_counts_are_kept_and_stand_in_the_url(page, audit):
    test = page("coarse")
    before = metrics(test)
    test.slider(key="slider_gamma").set_value(0.5).run()
    test.slider(key="slider_q").set_value(12).run()
    assert metrics(test)["Top-q D_p"] == "12" != before["Top-q D_p"]
    assert metrics(test)["Benign D_b"] != before["Benign D_b"]
    assert audit.kept_sliders() == SplitParams(k=2, q=12, gamma=0.5)
    assert test.query_params["q"] == "12"
    assert test.query_params["gamma"] == "0.5"
    assert audit.applied_params() == SplitParams(k=2, q=8)


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


def test_gamma_z_follows_its_rule_or_the_hand(page, audit):
    test = page("fine")
    by_rule = test.slider(key="slider_gamma_z").value
    test.slider(key="slider_gamma_z").set_value(-0.2).run()
    assert int(metrics(test)["Flagged"].replace(",", "")) > PAIRS / 2
    assert audit.kept_sliders().gamma_z == -0.2
    test.segmented_control(key="gamma_z_rule").set_value("null").run()
    assert test.slider(key="slider_gamma_z").value == by_rule


def test_apply_stores_the_verdicts_and_reset_goes_back(page, audit):
    test = page("coarse")
    test.slider(key="slider_q").set_value(12).run()
    next(button for button in test.button if button.label == "Apply").click().run()
    assert audit.applied_params().q == 12
    assert audit.report()["poisoned"] == 12
    test.slider(key="slider_q").set_value(20).run()
    next(button for button in test.button if button.label == "Reset").click().run()
    assert metrics(test)["Top-q D_p"] == "12"


# --- pairs ---------------------------------------------------------------------------------------------


def test_keep_remove_and_undo_are_stored_at_once(page, audit):
    test = page("pairs")
    flagged = audit.report()["flagged"]
    assert f"**{flagged}** pairs match" in words(test)
    row = audit.pairs("verdict = 'poisoned'", order_by="z DESC", limit=1)["row"][0].as_py()
    test.button(key=f"keep_{row}").click().run()
    assert audit.pairs(f"row = {row}")["decision"].to_pylist() == ["keep"]
    assert f"**{flagged - 1}** pairs match" in words(test)
    test.button(key="undo_button").click().run()
    assert audit.pairs(f"row = {row}")["decision"].to_pylist() == [""]
    assert f"**{flagged}** pairs match" in words(test)


def test_search_and_filters_narrow_the_pairs(page, audit):
    test = page("pairs")
    test.segmented_control(key="show").set_value("all").run()
    assert f"**{PAIRS}** pairs match" in words(test)
    test.text_input(key="text").set_value("BANANA").run()
    assert "**10** pairs match" in words(test)
    test.text_input(key="text").set_value("no such words").run()
    assert "No pair matches" in words(test)


def test_pictures_that_are_gone_are_named(page, root, mapping):
    make_audit(root / "audits" / "gone", write_source(root / "gone"), mapping)
    for picture in (root / "gone").glob("*.png"):
        picture.unlink()
    test = page("pairs", audit="audits/gone")
    assert not test.exception
    assert any("missing file" in part.body for part in test.get("html"))


def test_nothing_flagged_is_a_calm_page(page, root):
    test = page("pairs", gamma_z="2")
    assert not test.exception
    assert "Nothing is flagged" in words(test)


# --- evaluation and export -----------------------------------------------------------------------------


def test_evaluate_agrees_with_the_report(page, audit):
    truth = audit.report()["truth"]
    shown = metrics(page("evaluate"))
    assert shown["AUROC, fine: z"] == f"{truth['auroc_z']:.4f}"
    assert shown["AUPRC, coarse: c"] == f"{truth['auprc_consistency']:.4f}"
    assert shown["Known poisons in D_b"] == str(truth["poisons_in_benign"])


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
    assert audit.applied_params().q == 15
    kind, arguments = started[0]
    assert kind == "export"
    assert arguments[arguments.index("--out") + 1].endswith("exports/toy/kept.csv")


def test_a_file_outside_the_roots_is_not_written(page, root, monkeypatch):
    monkeypatch.setattr(Jobs, "start", lambda *_: pytest.fail("started"))
    test = page("export")
    test.text_input(key="out_kept_csv").set_value("../../out.csv").run()
    test.button(key="write").click().run()
    assert "outside the folders" in test.error[0].value.replace("\\", "")


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
    assert "outside the folders" in test.toast[0].value.replace("\\", "")
