"""What comes from strangers, what is damaged, busy, half made or very small: a line of text, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from cfbd_core import Audit, SplitParams
from cfbd_core.audit.log import DecisionLog
from cfbd_core.errors import AuditError
from cfbd_core.jobs.jobs import Jobs
from cfbd_core.maps.maps import load_map
from cfbd_core.store import Database
from cfbd_core.store.columns import KEEP, REMOVE
from cfbd_core.workbench.explorer import Explorer
from tests.app.conftest import (
    HOSTILE,
    VIEWS,
    alter,
    cards,
    data_of,
    make_audit,
    metrics,
    press,
    trigger,
    words,
    write_source,
)

NOT_AUDITS = [name for name in VIEWS if name != "audits"]
HOLD = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def button(test, label: str):
    return next(button for button in test.button if button.label == label)


@pytest.fixture
def held(audit, monkeypatch):
    """The audit's file, open for writing in another process; call it to let go."""
    monkeypatch.setattr("cfbd_core.store.database.BUSY_SECONDS", 0.2)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(audit.folder / "audit.duckdb")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "open\n"
    yield lambda: process.communicate("")
    process.communicate("")


# --- busy ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VIEWS)
def test_an_audit_that_another_process_writes_is_told_and_opens_afterwards(page, held, name):
    test = page(name)
    assert not test.exception
    assert "another process" in words(test)
    held()
    if name != "audits":
        test = button(test, "Try again").click().run()
    else:
        test.run()
    assert not test.exception
    assert not test.error
    assert "another process" not in words(test)


def test_what_is_pressed_while_the_audit_is_busy_is_told_and_not_lost(page, audit, monkeypatch):

    def busy(*_, **__):
        raise AuditError("busy :rocket: <b>")

    test = page("pairs")
    row = audit.pairs("verdict = 'poisoned'", order_by="z DESC", limit=1)["row"][0].as_py()
    with monkeypatch.context() as patch:
        patch.setattr(DecisionLog, "decide_rows", busy)
        press(test, "keep", row)
        assert not test.exception
        assert "busy :rocket: <b>" in words(test)
        assert "<b>" not in test.toast[0].value
        assert test.button(key="undo_button").disabled
    press(test, "keep", row)
    with monkeypatch.context() as patch:
        patch.setattr(Audit, "undo", busy)
        test.button(key="undo_button").click().run()
        assert not test.button(key="undo_button").disabled
    test.button(key="undo_button").click().run()
    assert audit.pairs(f"row = {row}")["decision"].to_pylist() == [""]


# --- half made, newer, damaged, gone -------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["empty", "ingested", "embedded"])
def test_an_audit_that_is_not_scored_gets_a_calm_page_that_says_what_to_run(page, root, audit, stage):
    folder = root / "audits" / "half`made"
    if stage == "embedded":
        shutil.copytree(audit.folder, folder)
        alter(Audit.open(folder), "DELETE FROM meta WHERE name IN ('mapping', 'health', 'split')")
        alter(Audit.open(folder), "DELETE FROM scores")
    else:
        half = Audit.create(folder)
        if stage == "ingested":
            half.ingest(write_source(root / "other", pairs=10))
    for name in VIEWS:
        test = page(name, audit="audits/half`made", k="3", q="9")
        assert not test.exception
        assert not test.error
        assert "scored" in words(test)
        if name not in ("audits", "train"):
            assert "Not scored yet" in words(test)
            source = Audit.open(folder).state.source() or "SOURCE"
            assert f"cfbd run {source} --audit '{folder.resolve()}'" in words(test)


def test_an_audit_that_is_embedded_anew_is_no_longer_scored(page, audit):
    test = page("coarse")
    alter(audit, "DELETE FROM meta WHERE name = 'mapping'")
    test.run()
    assert "Not scored yet" in words(test)


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE meta SET value = '99' WHERE name = 'schema_version'", "newer version"),
        (None, "not readable"),
    ],
)
def test_an_audit_that_cannot_be_read_is_told(page, audit, name, statement, told):
    if statement:
        alter(audit, statement)
    else:
        (audit.folder / "audit.duckdb").write_bytes(b"no database" * 1000)
    test = page(name)
    assert not test.exception
    assert told in words(test)


@pytest.mark.parametrize("name", VIEWS)
def test_an_audit_of_which_a_part_is_overwritten_is_told(page, audit, name):
    path = audit.folder / "audit.duckdb"
    whole = path.read_bytes()
    path.write_bytes(whole[: 3 * 4096] + b"\xff" * (len(whole) - 3 * 4096))
    test = page(name)
    assert not test.exception
    assert "audit" in words(test)


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("what", ["audit.duckdb", ".", "embeddings"])
def test_an_audit_that_vanishes_while_it_is_open_is_told(page, audit, name, what):
    test = page(name)
    gone = audit.folder / what
    if gone.is_dir():
        shutil.rmtree(gone)
    else:
        gone.unlink()
    test.run()
    assert not test.exception
    assert what == "embeddings" or name == "audits" or "no audit here" in words(test)
    if what == "embeddings":
        fresh = page(name, q="9")
        assert not fresh.exception
        test.run()
        assert not test.exception


def test_thumbnails_that_are_damaged_are_made_again(page, audit):
    page("pairs")
    for kept in (audit.folder / "thumbnails").rglob("*.webp"):
        kept.write_bytes(b"RIFF")
    test = page("pairs")
    assert not test.exception
    assert all(card["picture"].startswith("data:image/webp") for card in cards(test))


def test_sliders_that_an_older_version_kept_are_read_no_more(page, audit):
    (audit.folder / "sliders.json").write_text('{"k": 3, "q": 12}')
    test = page("coarse")
    assert not test.exception
    assert metrics(test)["Top-q D_p"] == "8"


@pytest.mark.parametrize("name", ["coarse", "pairs", "lab"])
def test_a_busy_audit_is_told_in_one_line_after_one_wait(page, audit, monkeypatch, name):
    waits = []

    @contextmanager
    def busy(_):
        waits.append(name)
        raise AuditError("another process has the audit open")
        yield

    monkeypatch.setattr(Database, "reading", busy)
    test = page(name)
    assert not test.exception
    assert words(test).count("another process has the audit open") == 1
    assert len(waits) == 1


# --- few pairs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pairs", [2, 3, 5, 10])
def test_every_page_of_a_tiny_audit_is_drawn(page, root, mapping, pairs):
    make_audit(root / "audits" / "tiny", write_source(root / "tiny", (1,), pairs=pairs), mapping, split=False)
    for name in VIEWS:
        test = page(name, audit="audits/tiny")
        assert not test.exception
        assert not test.error, test.error[0].value
    test = page("coarse", audit="audits/tiny")
    slider = test.slider(key="slider_k")
    assert slider.max == pairs
    slider.set_value(pairs).run()
    test.slider(key="slider_q").set_value(test.slider(key="slider_q").max).run()
    test.number_input(key="exact_q").set_value(pairs).run()
    for rule in ("valley", "mixture", "null"):
        test.switch_page("views/fine.py").run()
        test.segmented_control(key="gamma_z_rule").set_value(rule).run()
        assert not test.exception
        assert not test.error
    for name in NOT_AUDITS:
        assert not test.switch_page(f"views/{name}.py").run().exception
    button(test, "Apply").click().run()
    assert not test.exception
    assert Audit.open(root / "audits" / "tiny").state.applied_params().q == pairs


@pytest.mark.parametrize("pairs", [1, 2, 10])
def test_an_audit_whose_pairs_all_score_the_same_says_so(page, root, mapping, pairs):
    alike = make_audit(root / "alike", write_source(root / "s", (), pairs=pairs), mapping, split=False)
    alter(alike, "UPDATE scores SET consistency = 0.25")
    for name in NOT_AUDITS:
        test = page(name, audit="alike")
        assert not test.exception
        assert "nothing to split" in words(test)
    assert not page("audits", audit="alike").error


def test_a_session_goes_on_when_its_audit_has_become_smaller(page, audit):
    test = page("coarse", q="150")
    alter(audit, "DELETE FROM scores WHERE row >= 20")
    alter(audit, "UPDATE runs SET id = 'score-anew' WHERE kind = 'score'")
    test.run()
    assert not test.exception
    assert not test.error
    assert metrics(test)["Top-q D_p"] == "2"


# --- strangers' text -----------------------------------------------------------------------------------


@pytest.mark.parametrize("caption", HOSTILE)
def test_captions_are_shown_letter_by_letter(page, root, caption):
    test = page("pairs")
    test.segmented_control(key="show").set_value("all").run()
    test.text_input(key="text").set_value(caption.strip()[:40]).run()
    assert not test.exception
    assert cards(test)
    for card in cards(test):  # as text, which the script puts there letter by letter
        assert card["key"].startswith("k<b>:tada:")
        assert caption.startswith(card["caption"].removesuffix(" …"))
        assert len(card["caption"]) <= 402
        assert len(card["title"]) <= 1000


def test_a_key_is_plain_text_on_the_undo_button(page, audit):
    test = page("pairs")
    row = audit.pairs("verdict = 'poisoned'", order_by="z DESC", limit=1)["row"][0].as_py()
    press(test, "remove", row)
    label = test.button(key="undo_button").label
    assert label.startswith("Undo: remove k\\<b\\>\\:\u2060tada\\:")


def test_names_of_audits_and_sources_are_plain_text(page, root, audit):
    name = "**a** :rocket: [x](http:)"
    shutil.copytree(audit.folder, root / "audits" / name)
    alter(
        Audit.open(root / "audits" / name),
        """UPDATE meta SET value = replace(value::VARCHAR, 'pairs.csv', '![i](http:) $x$')::JSON
        WHERE name = 'source'""",
    )
    for view in VIEWS:
        test = page(view, audit=f"audits/{name}")
        assert not test.exception
        raw = " ".join(part.value for part in [*test.markdown, *test.caption, *test.error])
        assert "**a** :rocket: [x](http:)" in words(test)
        assert "[x](" not in raw
        assert "![i](" not in raw
        assert ":rocket:" not in raw
    test = page("audits", audit=f"audits/{name}")
    assert "![i](http:) $x$" in words(test)


def test_what_an_ingest_skipped_is_shown_in_a_table_of_text(page, root, mapping):
    source = write_source(root / "skips", pairs=60)
    with source.open("a") as file:
        file.write("<b>bad</b>,<script>.png,**bold**,0\n")
    make_audit(root / "audits" / "skips", source, mapping)
    test = page("audits", audit="audits/skips")
    assert not test.exception
    tables = [table.value.to_dict("list") for table in test.dataframe]
    assert any("missing image" in table.get("reason", []) for table in tables), tables
    assert "<script" not in words(test)


def test_what_an_ingest_did_not_read_is_shown_in_a_table_of_text(page, root, mapping):
    source = write_source(root / "rest", pairs=60).parent
    (source / "<script>x.zip").touch()
    (source / "further.csv").write_text("image,text\n0000.png,**bold** [x](http:)\n")
    make_audit(root / "audits" / "rest", source, mapping)
    test = page("audits", audit="audits/rest")
    assert not test.exception
    (table,) = [table.value.to_dict("list") for table in test.dataframe if "not read" in table.value]
    assert table["not read"] == ["archive"]
    assert table["for example"] == ["<script>x.zip"]
    assert "**1** things seen and not read" in words(test)
    assert "read from different columns" in words(test)
    assert "<script" not in words(test)


def test_captions_go_to_the_map_s_hover_as_text(page, audit, monkeypatch):
    told = made_map(audit, monkeypatch)
    test = page("map")
    assert not test.exception
    assert not test.error
    assert any(HOSTILE[0] in words for words in told[0])
    assert all(len(words) < 250 for words in told[0])
    figure = " ".join(chart.proto.spec for chart in test.get("plotly_chart"))
    assert "script" not in figure


def test_a_large_map_tells_of_the_point_that_is_pointed_at_alone(page, audit, monkeypatch):
    told = made_map(audit, monkeypatch)
    monkeypatch.setattr("app.hover.MOST_POINTS", 50)
    test = page("map")
    assert not test.exception
    assert not told
    asked = trigger(test, "cfbd_hover_pictures", "point", 7)
    assert not asked.exception
    (given,) = data_of(asked, "cfbd_hover_pictures")
    assert given["shown"]["point"] == 7
    assert given["shown"]["picture"].startswith("data:image/webp;base64,")
    caption = audit.columns.captions_of(load_map(audit.folder, "captions").rows[[7]])[0]
    assert given["shown"]["words"].startswith(caption[:160])
    assert len(json.dumps(given)) < 100_000
    (given,) = data_of(trigger(test, "cfbd_hover_pictures", "point", 10**6), "cfbd_hover_pictures")
    assert given["shown"] is None


@pytest.mark.parametrize("colour", ["verdict", "decided", "subset", "z", "consistency", "truth"])
def test_the_map_is_drawn_in_every_colouring(page, audit, monkeypatch, colour):
    made_map(audit, monkeypatch)
    test = page("map")
    test.segmented_control(key="map_colour").set_value(colour).run()
    assert not test.exception
    assert len(test.get("plotly_chart")) == 1
    test.segmented_control(key="space").set_value("images").run()
    assert not test.exception
    assert "Not drawn yet" in words(test)


def test_the_map_says_what_is_flagged_what_was_decided_and_what_is_not_on_it(page, audit, monkeypatch):
    made_map(audit, monkeypatch, points=10)
    explorer = Explorer(audit)
    preview = explorer.preview(SplitParams(k=2, q=8, gamma_z=0.1, gamma_z_rule="manual"))
    here = explorer.mask_of(explorer.positions_of(load_map(audit.folder, "captions").rows))
    kept, hidden = np.flatnonzero(preview.flagged & here)[0], np.flatnonzero(~preview.flagged & ~here)[0]
    explorer.decide(np.array([kept, hidden]), np.array([KEEP, REMOVE], np.int8))
    test = page("map", k="2", gamma="0.9", q="8", gamma_z="0.1")
    flagged = int((preview.flagged & here).sum())
    assert f"flagged ({flagged})" in drawn_map(test)
    missing = int((preview.flagged & ~here).sum())
    assert missing
    told = f"{missing} flagged by the sliders and 1 removed by hand; it has room for 8 of them; make it anew with more"
    assert told in words(test)
    test.segmented_control(key="map_colour").set_value("decided").run()
    assert f"removed ({flagged - 1})" in drawn_map(test)


def test_a_link_s_outline_is_drawn_and_decided_on(page, audit, monkeypatch):
    made_map(audit, monkeypatch)
    made = load_map(audit.folder, "captions")
    test = page("map", show="all", lasso=f"captions@{made.id}:-2,-2;2,-2;2,2;-2,2")
    assert f"**{len(made.rows)}** pairs outlined" in words(test)
    assert '"outline"' in drawn_map(test)
    test.button(key="all_unsure_outline").click().run()
    assert not test.exception
    (action,) = audit.history()
    assert (action.pairs, action.decision) == (len(made.rows), "unsure")
    assert action.filter["lasso"].startswith(f"captions@{made.id}:")
    test = page("map", text="banana", show="all", lasso=f"captions@{made.id}:-2,-2;2,-2;2,2;-2,2")
    assert "outlined pairs match the whole filter" in words(test)
    test = page("map", show="all", lasso="captions@another:-2,-2;2,-2;2,2;-2,2")
    assert '"outline"' not in drawn_map(test)


def drawn_map(test) -> str:
    (chart,) = test.get("plotly_chart")
    return str(chart.proto.spec)


def test_a_map_whose_files_are_gone_is_no_traceback(page, audit, monkeypatch):
    made_map(audit, monkeypatch)
    for sheet in (audit.folder / "maps").rglob("*.webp"):
        sheet.unlink()
    assert not page("map").exception
    for file in (audit.folder / "maps").rglob("*.parquet"):
        file.write_bytes(b"")
    test = page("map")
    assert not test.exception
    assert "Not drawn yet" in words(test)


def test_the_map_is_a_job_with_the_points_asked_for(page, root, monkeypatch):
    started = []
    monkeypatch.setattr(Jobs, "start", lambda self, kind, audit, arguments: started.append((kind, arguments)))
    test = page("map")
    test.select_slider(key="map_points").set_value(2000).run()
    test.button(key="make_map").click().run()
    kind, arguments = started[0]
    assert kind == "map-captions"
    home = os.path.realpath(root / "audits" / "toy")
    assert arguments == ["map", "--audit", home, "--space", "captions", "--points", "2000"]


def made_map(audit: Audit, monkeypatch, points: int = 5000) -> list:
    """Make a map without UMAP; returns a list that gets the words that its points show."""
    from cfbd_core.maps.maps import make_map

    monkeypatch.setattr(
        "cfbd_core.maps.maps.lay_out",
        lambda vectors, seed, tell: (
            np.random.default_rng(0).uniform(-1, 1, (len(vectors), 2)).astype(np.float32)
        ),
    )
    make_map(audit, "captions", points)
    told: list[list[str]] = []
    import app.hover

    real = app.hover.hover_pictures

    def spied(made, words, index):
        told.append(words)
        real(made, words, index)

    monkeypatch.setattr("app.hover.hover_pictures", spied)
    return told
