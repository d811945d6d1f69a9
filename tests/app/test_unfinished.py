"""Audits that are not finished: gone on with, begun with other options, dismissed, deleted."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cfbd_core import Audit
from cfbd_core.config import EmbedParams
from cfbd_core.jobs.jobs import Jobs
from cfbd_core.sources import SourceOptions
from tests.app.conftest import alter, words, write_source
from tests.toy import ToyEncoder


def wait_for(jobs: Jobs, folder: Path) -> None:
    deadline = time.monotonic() + 60
    while jobs.for_audit(folder)[0].state == "running" and time.monotonic() < deadline:
        time.sleep(0.1)


def labelled(test, label: str):
    """The field or button of this label."""
    kinds = (test.text_input, test.selectbox, test.number_input, test.button)
    return next(one for kind in kinds for one in kind if one.label == label)


def test_a_failed_job_is_dismissed_and_what_it_made_stays(page, root):
    jobs, folder = Jobs(root / ".cfbd-jobs"), root.resolve() / "audits" / "new"
    jobs.start("run", folder, ["run", str(root / "missing.csv"), "--audit", str(folder)])
    wait_for(jobs, folder)
    folder.mkdir(exist_ok=True)
    (folder / "mine.txt").write_text("kept")
    test = page("audits")
    assert "missing.csv" in words(test)
    next(button for button in test.button if button.label == "Dismiss").click().run()
    assert not test.exception
    assert "missing.csv" not in words(test)
    assert jobs.for_audit(folder) == []
    assert (folder / "mine.txt").read_text() == "kept"


def test_a_half_made_audit_is_gone_on_with_as_it_was_begun(page, root, monkeypatch):
    source = write_source(root / "own", pairs=10)
    half = Audit.create(root / "audits" / "half")
    half.ingest(source, SourceOptions(caption_col="caption", captions="all"))
    started = []
    monkeypatch.setattr(
        Jobs, "start", lambda self, kind, folder, arguments: started.append((kind, folder, arguments))
    )
    test = page("audits")
    next(button for button in test.button if button.label == "Go on").click().run()
    assert not test.exception
    folder = half.folder.resolve()
    flags = ["--format=auto", "--captions=all", "--caption-col=caption", "--q=1", "--k=5"]
    assert started == [("run", folder, ["run", str(source), "--audit", str(folder), *flags])]


def test_a_half_made_audit_of_a_source_outside_the_roots_is_not_gone_on_with(page, root, tmp_path_factory):
    half = Audit.create(root / "audits" / "half")
    half.ingest(write_source(tmp_path_factory.mktemp("other") / "elsewhere", pairs=10))
    test = page("audits")
    next(button for button in test.button if button.label == "Go on").click().run()
    assert not test.exception
    assert "outside" in test.toast[0].value or "inside" in test.toast[0].value
    assert Jobs(root / ".cfbd-jobs").for_audit(half.folder) == []


@pytest.fixture
def few(root, page, monkeypatch):
    """The page Audits after a run with 10 pairs has failed for its q: it has read them, and no more."""
    write_source(root / "own", pairs=10)
    jobs, folder = Jobs(root / ".cfbd-jobs"), root.resolve() / "audits" / "few"
    source = str(root.resolve() / "own" / "pairs.csv")
    jobs.start("run", folder, ["run", source, "--audit", str(folder), "--captions=all", "--label-col=key"])
    wait_for(jobs, folder)
    assert jobs.for_audit(folder)[0].state == "failed"
    return page("audits")


def test_a_failed_job_s_options_can_be_changed(few, root, monkeypatch):
    assert "q 50: the audit has 10 pairs; give q 1" in words(few)
    labelled(few, "Change options").click().run()
    assert not few.exception
    assert few.subheader[0].value == "Other options for audits/few"
    shown = {
        label: labelled(few, label).value for label in ("Source", "Captions of a record", "Label column")
    }
    assert shown == {"Source": "own/pairs.csv", "Captions of a record": "all", "Label column": "key"}
    assert "Name of the audit" not in [field.label for field in few.text_input]
    started = []
    monkeypatch.setattr(
        Jobs, "start", lambda self, kind, folder, arguments: started.append((kind, folder, arguments))
    )
    labelled(few, "q, pairs in D_p").set_value(2)
    labelled(few, "Start").click().run()
    folder, source = root.resolve() / "audits" / "few", root.resolve() / "own" / "pairs.csv"
    flags = ["--format=auto", "--captions=all", "--label-col=key", "--q=2", "--k=5"]
    assert started == [("run", folder, ["run", str(source), "--audit", str(folder), *flags])]
    assert few.subheader[0].value == "Audit your own pairs"


def test_a_failed_job_and_its_half_made_audit_are_one_card(few):
    assert [part.value.replace("\\", "") for part in few.markdown].count("**audits/few**") == 1
    assert "**10** pairs from" in words(few)


def test_options_that_were_to_be_changed_can_be_left_as_they_are(few):
    labelled(few, "Change options").click().run()
    labelled(few, "Cancel").click().run()
    assert not few.exception
    assert few.subheader[0].value == "Audit your own pairs"
    assert labelled(few, "Source").value == ""
    assert labelled(few, "Captions of a record").value == "first"


def test_a_failed_job_s_folder_without_results_is_deleted_when_asked(few, root):
    folder, jobs = root.resolve() / "audits" / "few", Jobs(root / ".cfbd-jobs")
    few.query_params["audit"] = "audits/few"
    few.run()
    labelled(few, "Delete its folder").click().run()
    assert not few.exception
    assert not folder.exists()
    assert jobs.for_audit(folder) == []
    assert (root / "own" / "pairs.csv").is_file()
    assert not few.switch_page("views/coarse.py").run().exception


def test_its_folder_can_be_kept_and_is_gone_on_with(few, root):
    folder = root.resolve() / "audits" / "few"
    labelled(few, "Keep the folder, forget the job").click().run()
    assert not few.exception
    assert Audit.open(folder).state.pair_count() == 10
    assert "Delete its folder" not in [button.label for button in few.button]
    labelled(few, "Change options").click().run()  # now by what the audit itself holds
    assert labelled(few, "Label column").value == "key"
    assert labelled(few, "q, pairs in D_p").value == 1


def test_a_folder_that_holds_embeddings_cannot_be_deleted_here(few, root, page):
    folder = root / "audits" / "few"
    Audit.open(folder).embed(ToyEncoder(), EmbedParams(batch_size=5))
    labelled(few, "Delete its folder").click().run()  # the page was drawn before
    assert "would be lost" in few.toast[0].value
    assert Audit.open(folder).state.pair_count() == 10
    test = page("audits")
    assert "Delete its folder" not in [button.label for button in test.button]
    labelled(test, "Dismiss").click().run()
    assert folder.exists()


def test_an_audit_that_has_read_nothing_gets_a_source(page, root, monkeypatch):
    half = Audit.create(root / "audits" / "half")
    test = page("audits")
    labelled(test, "Choose a source").click().run()
    started = []
    monkeypatch.setattr(
        Jobs, "start", lambda self, kind, folder, arguments: started.append((folder, arguments))
    )
    labelled(test, "Source").set_value("source/pairs.csv")
    labelled(test, "Start").click().run()
    assert started[0][0] == half.folder.resolve()
    assert started[0][1][:2] == ["run", str(root.resolve() / "source" / "pairs.csv")]


def test_pictures_outside_the_roots_are_not_asked_for(page, root, monkeypatch, tmp_path_factory):
    source = write_source(root / "own", pairs=10)
    half = Audit.create(root / "audits" / "half")
    half.ingest(source, SourceOptions(image_root=source.parent))
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    alter(
        half,
        f"UPDATE meta SET value = replace(value::VARCHAR, '{source.parent}\"', '{elsewhere}\"')::JSON "
        "WHERE name = 'source'",
    )
    monkeypatch.setattr(Jobs, "start", lambda *_: pytest.fail("started"))
    test = labelled(page("audits"), "Go on").click().run()
    assert not test.exception
    assert "outside the folders" in words(test)
