"""The report as one page: what it holds, that it loads and runs nothing, strangers' text, bad input."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from cfbd_core import Audit, SplitParams
from cfbd_core.cli import main
from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.html_report import write_html_report
from cfbd_core.html_report.drawing import histogram, picture, text
from cfbd_core.workbench.explorer import Explorer
from tests.explored import scored_audit
from tests.toy import ToyEncoder, toy_picture

VOID = {"meta", "img", "br", "rect", "line"}


class Checked(HTMLParser):
    """Notes tags and what they load; fails on tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def explored(tmp_path_factory) -> Explorer:
    audit: Audit = scored_audit(tmp_path_factory.mktemp("report") / "made")
    audit.split(SplitParams(k=3, q=20))
    found = Explorer(audit)
    found.decide(np.array([0, 1]), np.array([1, 2], np.int8))
    return found


def test_the_page_holds_the_report_and_loads_nothing(explored, tmp_path) -> None:
    made = write_html_report(explored, tmp_path / "new" / "report.html")
    page = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    checked = Checked()
    checked.feed(page)
    assert not checked.open
    assert "script" not in checked.tags
    assert all(found.startswith("data:image/") for found in checked.loads)
    assert "default-src 'none'" in page
    report = explored.audit.report()
    assert f"<b>{report['flagged']:,}</b> of {report['pairs']:,} pairs are removed" in page
    assert report["embedding"]["sha256"] in page
    assert f"{report['mapping']['name']}, trained on " in page
    assert page.count("<svg") == 2
    assert made["bytes"] == len(page.encode())
    for title in ("Parameters", "Scores", "Suspected targets", "People's decisions", "Where this comes from"):
        assert f"<h2>{title}</h2>" in page


def test_it_tells_who_decided_and_the_last_decisions_on_many_pairs(tmp_path) -> None:
    audit = scored_audit(tmp_path / "made")
    audit.split(SplitParams(k=3, q=20))
    for number in range(21):
        chosen = {"show": "all", "text": f"caption {number}"}
        audit.decide_rows(np.arange(5), 1, who="<b>ann", note=f"note {number}", filter=chosen)
    audit.decide_rows(np.array([1, 2]), 2, who="bob")
    audit.decide_rows(np.array([3]), 3, who="bob")
    audit.undo(who="ann")  # bob's last
    audit.decide_rows(np.array([4]), 0, who="cid")  # taken back: nobody's
    assert audit.log.deciders() == {
        "<b>ann": {"keep": 2, "remove": 0, "unsure": 0},
        "bob": {"keep": 0, "remove": 2, "unsure": 0},
    }
    write_html_report(Explorer(audit), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;ann" in page
    assert "the last 20 of 21" in page
    for number in (1, 20):
        assert f"note {number}<" in page
        assert f"“caption {number}”" in page
    assert "note 0<" not in page
    assert "No control sample was drawn: nothing can be said about what is left." in page
    Explorer(audit).preview(SplitParams(k=3, q=20)).draw_control(10)
    write_html_report(Explorer(audit), tmp_path / "r.html")
    assert "No control sample was drawn" not in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "words", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "&lt;", "a\u202eb", "x" * 9999]
)
def test_strangers_text_is_shown_letter_by_letter(words) -> None:
    shown = text(words)
    assert re.fullmatch(r'<span dir="auto" class="t">[^<>]*</span>', shown)
    assert len(shown) < 3000
    held = Checked()
    held.feed(picture(None, words))
    assert held.tags == ["div", "small"]


def test_bars_are_as_high_as_the_logarithm_says_and_the_cut_stands_where_it_is() -> None:
    counts = np.array([[0, 9, 0, 99], [0, 0, 0, 0]])
    drawn = histogram("c", np.linspace(0, 1, 5), counts, ("a", "b"), cut=0.5)
    heights = [float(found) for found in re.findall(r'height="([\d.]+)" fill', drawn)]
    assert heights == [pytest.approx(70, abs=0.1), pytest.approx(140, abs=0.1)]
    assert '<line x1="320.0" x2="320.0"' in drawn


def test_a_file_that_is_no_page_and_an_audit_without_a_split_are_refused(explored, tmp_path) -> None:
    with pytest.raises(ParameterError, match=r"ends in \.html"):
        write_html_report(explored, tmp_path / "report.txt")
    fresh = Explorer(scored_audit(tmp_path / "made"))
    with pytest.raises(AuditError, match="not split yet"):
        write_html_report(fresh, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_only_a_report_is_overwritten_and_nothing_is_written_into_the_source(
    explored, tmp_path, capsys
) -> None:
    command = ["report", "--audit", str(explored.audit.folder), "--html"]
    out = tmp_path / "r.html"
    assert main([*command, str(out)]) == 0
    first = out.read_text(encoding="utf-8")
    assert main([*command, str(out)]) == 0
    page = tmp_path / "mine.html"
    page.write_text("<!doctype html><title>My page</title>")
    (tmp_path / "link.html").symlink_to(page)
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "gone.html").symlink_to(tmp_path / "nowhere")
    capsys.readouterr()
    for name in ("mine.html", "link.html", "folder.html", "gone.html"):
        assert main([*command, str(tmp_path / name)]) == 2
        told = capsys.readouterr().err
        assert "would overwrite what is no report" in told
        assert told.count("\n") == 1
    os.mkfifo(tmp_path / "pipe.html")
    for name in ("pipe.html", "mine.html/r.html"):
        assert main([*command, str(tmp_path / name)]) == 2
    assert page.read_text() == "<!doctype html><title>My page</title>"
    assert "report" in first


def test_a_place_in_a_folder_of_pairs_is_refused(tmp_path, capsys) -> None:
    source = tmp_path / "pairs"
    (source / "more").mkdir(parents=True)
    for number in range(60):
        toy_picture("red", np.random.default_rng(number)).save(source / f"{number}.png")
        (source / f"{number}.txt").write_text(f"a red thing {number}")
    audit = Audit.create(tmp_path / "a")
    audit.ingest(source)
    audit.embed(ToyEncoder())
    audit.score("self")
    audit.split(SplitParams(k=1, q=5))
    (tmp_path / "link").symlink_to(source)
    for place in (source / "r.html", source / "more" / "r.html", tmp_path / "link" / "r.html"):
        assert main(["report", "--audit", str(audit.folder), "--html", str(place)]) == 2
        assert "which is never changed" in capsys.readouterr().err
        assert not place.exists()
    assert main(["report", "--audit", str(audit.folder), "--html", str(tmp_path / "r.html")]) == 0


def test_a_split_that_someone_else_has_applied_meanwhile_is_not_reported(explored, tmp_path, capsys) -> None:
    mine, out = explored.audit.state.applied_params().id, tmp_path / "r.html"
    command = ["report", "--audit", str(explored.audit.folder), "--html", str(out), "--split"]
    assert main([*command, mine]) == 0
    out.unlink()
    capsys.readouterr()
    assert main([*command, SplitParams(k=3, q=21).id]) == 2
    told = capsys.readouterr().err
    assert f"the audit's split is another now ({mine})" in told
    assert told.count("\n") == 1
    assert not out.exists()


def test_the_command_writes_it(explored, tmp_path, capsys) -> None:
    out = tmp_path / "r.html"
    assert main(["report", "--audit", str(explored.audit.folder), "--html", str(out), "--json"]) == 0
    assert out.is_file()
    assert '"html"' in capsys.readouterr().out
    assert main(["report", "--audit", str(explored.audit.folder), "--html", str(tmp_path / "r.pdf")]) == 2


def test_the_page_says_when_only_some_of_the_flagged_were_grouped(explored, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("cfbd_core.workbench.groups.MOST_GROUPED_PAIRS", 5)
    write_html_report(Explorer(explored.audit), tmp_path / "r.html")
    flagged = explored.preview(SplitParams(k=3, q=20)).counts.flagged
    told = f"Grouped: the 5 of {flagged} flagged with the highest z."
    assert told in (tmp_path / "r.html").read_text(encoding="utf-8")
