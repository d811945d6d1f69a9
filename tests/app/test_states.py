"""Every page on an audit in every state that a user may bring it into: a line of text at most, never a traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.waiting import background
from cfbd_core import Audit
from tests.app.conftest import VIEWS, alter, words

PAGES = (*VIEWS, "lab")


def without_embeddings(audit: Audit) -> None:
    shutil.rmtree(audit.folder / "embeddings")


def with_a_cut_shard(kind: str) -> Callable[[Audit], None]:
    def cut(audit: Audit) -> None:
        shard = sorted((audit.folder / "embeddings").glob(f"{kind}_emb_*.npy"))[0]
        shard.write_bytes(shard.read_bytes()[:200])

    return cut


def without_its_source(audit: Audit) -> None:
    alter(audit, "UPDATE pairs SET image = '/gone/' || key || '.png'")
    shutil.rmtree(audit.folder / "thumbnails", ignore_errors=True)


def of_something_else(audit: Audit) -> None:
    (audit.folder / "audit.duckdb").write_bytes(b"hello" * 1000)


def without_scores(audit: Audit) -> None:
    alter(audit, "DELETE FROM meta WHERE name IN ('mapping', 'health', 'split')")
    alter(audit, "DELETE FROM verdicts")
    alter(audit, "DELETE FROM scores")


def without_a_split(audit: Audit) -> None:
    alter(audit, "DELETE FROM meta WHERE name = 'split'")
    alter(audit, "DELETE FROM verdicts")


def without_a_table(audit: Audit) -> None:
    alter(audit, "DROP VIEW IF EXISTS audit_pairs")
    alter(audit, "DROP TABLE scores")


STATES: dict[str, tuple[Callable[[Audit], None], str]] = {
    "not scored": (without_scores, "Not scored yet"),
    "not split": (without_a_split, "No split is stored in this audit yet"),
    "no embeddings": (without_embeddings, "the embeddings are not whole"),
    "a cut shard of texts": (with_a_cut_shard("text"), "damaged"),
    "a cut shard of pictures": (with_a_cut_shard("img"), ""),
    "no source": (without_its_source, ""),
    "another file in its place": (of_something_else, "not readable as an audit"),
    "a table that is missing": (without_a_table, "audit.duckdb"),
}


@pytest.mark.parametrize("state", STATES)
def test_every_page_of_an_audit_in_this_state_says_what_is_wrong_once(
    page, audit: Audit, monkeypatch, state
) -> None:
    monkeypatch.setattr(background, "WAIT_SECONDS", 60.0)
    bring, said = STATES[state]
    bring(audit)
    for name in PAGES:
        test = page(name)
        assert not test.exception, (name, test.exception)
        errors = [error.value for error in test.error]
        errors += [caption.value for caption in test.caption if ":material/error:" in caption.value]
        assert len(errors) <= 1 + (name == "audits"), (name, errors)  # the card of the audit, and the sidebar
        assert all("\n" not in error for error in errors), (name, errors)
        if said and name not in ("audits", "train", "lab"):
            assert said in words(test), name


def test_pages_of_an_audit_that_is_deleted_meanwhile_say_so(page, audit: Audit) -> None:
    tests = {name: page(name) for name in ("pairs", "review")}
    shutil.rmtree(audit.folder)
    for name, test in tests.items():
        test.run()
        assert not test.exception, name
        assert len(test.error) == 1, name


def test_an_audit_that_has_read_nothing_is_shown_on_every_page(page, root: Path, monkeypatch) -> None:
    Audit.create(root / "audits" / "empty")
    for name in PAGES:
        test = page(name, audit="audits/empty")
        assert not test.exception, name
        assert not test.error, name
