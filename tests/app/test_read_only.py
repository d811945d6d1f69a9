"""An audit whose folder may not be written: all of it is shown, that is said once, and nothing offers to store."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cfbd_core.errors import AuditError
from cfbd_core.machine.places import is_writable
from cfbd_core.store import Database
from tests.app.conftest import MAIN, VIEWS, cards, data_of, words

STORES = (
    "Apply",
    "Keep  `K`",
    "Remove  `X`",
    "Unsure  `U`",
    "Undo  `Z`",
    "Undo",
    "Redo",
    "Save this view",
    "Replace",
    "Remove all",
    "Draw a control sample",
    "Start",
)


@pytest.fixture
def read_only(audit, monkeypatch) -> None:
    """The audit's folder as if its file system were mounted to be read."""

    @contextmanager
    def refused(_: Database, *__: object) -> Iterator[None]:
        raise AuditError(f"{audit.folder}: not writable (Read-only file system)")
        yield

    monkeypatch.setattr(Database, "writing", refused)
    monkeypatch.setattr("app.state.is_writable", lambda _: False)


@pytest.mark.parametrize("name", [name for name in VIEWS if name != "audits"])
def test_every_page_shows_it_and_says_once_that_nothing_can_be_stored(page, read_only, name) -> None:
    test = page(name, q="12", k="2")
    assert not test.exception
    assert not test.error
    assert words(test).count("nothing can be stored in it") == 1
    assert [button.label for button in test.button if button.label in STORES and not button.disabled] == []
    assert any(button.label == "Apply" and button.disabled for button in test.button)


def test_keys_and_cards_offer_no_decision(page, read_only) -> None:
    assert data_of(page("review", show="all"), "cfbd_keys")[-1]["decisions"] == {}
    gallery = page("pairs", show="all")
    assert cards(gallery)
    assert data_of(gallery, "cfbd_cards")[-1]["choices"] == []


def test_a_read_only_mount_is_told_from_a_folder_that_may_be_written(audit, tmp_path) -> None:
    assert is_writable(audit.folder)
    shutil.copytree(audit.folder, tmp_path / "audit")
    script = (
        "import sys; from pathlib import Path; from cfbd_core.machine.places import is_writable\n"
        "print(is_writable(Path(sys.argv[1])))"
    )
    shell = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "-m", "sh", "-c", shell, "sh", str(tmp_path / "audit"), sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=MAIN.parents[1])
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"no mount of our own here: {done.stderr.strip()[:100]}")
    assert done.stdout == "False\n", done.stderr
