from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from app.settings import MOST_FOLDERS_DEEP, Settings
from cfbd_core.errors import ParameterError
from cfbd_core.machine.places import DATABASE_NAME


@pytest.fixture
def roots(tmp_path) -> Settings:
    """Two roots with a file and an audit each, and a secret beside them, which a link leads to."""
    home, second = (tmp_path.resolve() / name for name in ("home", "second"))
    for root in (home, second):
        (root / "audits" / "a").mkdir(parents=True)
        (root / "audits" / "a" / DATABASE_NAME).touch()
        (root / "pairs.csv").touch()
    (tmp_path / "secret.csv").touch()
    (home / "link").symlink_to(tmp_path)
    (home / "circle").symlink_to(home / "circle")
    (home / "odd[1].csv").touch()
    return Settings(None, (home, second))


def test_the_environment_names_the_audit_and_the_roots(tmp_path, monkeypatch):
    monkeypatch.setenv("CFBD_APP_ROOTS", f"{tmp_path}{os.pathsep}")
    monkeypatch.setenv("CFBD_APP_AUDIT", "/somewhere/else")
    found = Settings.from_environment()
    assert found == Settings(Path("/somewhere/else"), (tmp_path.resolve(), Path("/somewhere/else")))
    monkeypatch.setenv("CFBD_APP_AUDIT", str(tmp_path / "audits" / "a"))
    assert Settings.from_environment().roots == (tmp_path.resolve(),)


def test_without_the_environment_the_working_directory_is_the_root(tmp_path, monkeypatch):
    monkeypatch.delenv("CFBD_APP_ROOTS", raising=False)
    monkeypatch.delenv("CFBD_APP_AUDIT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert Settings.from_environment() == Settings(None, (tmp_path.resolve(),))


@pytest.mark.parametrize("typed", ["pairs.csv", " pairs.csv ", "./audits/../pairs.csv"])
def test_a_path_inside_is_found(roots, typed):
    assert roots.inside(typed) == roots.home / "pairs.csv"
    assert roots.inside(str(roots.roots[1] / "pairs.csv")) == roots.roots[1] / "pairs.csv"


@pytest.mark.parametrize(
    "typed",
    [
        "..",
        "../secret.csv",
        "/etc/passwd",
        "link/secret.csv",
        "link",
        "audits/../../secret.csv",
        "~root/x",
        "~nobody-of-this-name/x",
        "",
        "  ",
        "a\0b",
        "x" * 300,
        "a/" * 3000,
        "../home-not",
        "é" * 200,
    ],
)
def test_a_path_outside_or_none_is_refused(roots, typed):
    for read in (roots.inside, roots.source, lambda text: roots.target(text, roots.home / "audits" / "a")):
        with pytest.raises(ParameterError):
            read(typed)


def test_a_neighbour_whose_name_begins_alike_is_outside(roots):
    with pytest.raises(ParameterError, match="outside"):
        roots.inside(f"{roots.home}-not/x")


@pytest.mark.parametrize("typed", ["circle", "circle/x", "nowhere.csv", "no*.csv", "audits/**/nothing"])
def test_a_source_that_is_not_there_is_refused(roots, typed):
    with pytest.raises(ParameterError, match=r"no such file|no file matches"):
        roots.source(typed)


@pytest.mark.parametrize(
    "typed", ["link/*.csv", "lin*/*.csv", "*/secret.csv", "../*.csv", "/etc/pass*", "**/../../*"]
)
def test_a_pattern_that_leads_outside_is_refused(roots, typed):
    with pytest.raises(ParameterError):
        roots.source(typed)


def test_a_pattern_outside_is_not_even_looked_through(roots, monkeypatch):
    monkeypatch.setattr("glob.glob", lambda *_, **__: pytest.fail("looked"))
    with pytest.raises(ParameterError, match="outside"):
        roots.source("/**/*.csv")


def test_sources_are_files_folders_and_patterns(roots):
    assert roots.source("pairs.csv") == str(roots.home / "pairs.csv")
    assert roots.source("audits") == str(roots.home / "audits")
    assert roots.source("p*.csv") == str(roots.home / "p*.csv")
    assert roots.source("odd[1].csv") == str(roots.home / "odd[1].csv")
    assert roots.source("{pairs,none}.csv") == str(roots.home / "{pairs,none}.csv")
    assert roots.source("pairs.csv::audits") == f"{roots.home / 'pairs.csv'}::{roots.home / 'audits'}"
    for typed in ("{pairs,../../../etc/passwd}.csv", "pairs.csv::../../..", "pairs.csv::/etc", "{0..9}.csv"):
        with pytest.raises(ParameterError, match=r"outside|no such file"):
            roots.source(typed)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("audits/a/kept.csv", "lies in the audit"),
        ("audits/a", "lies in the audit"),
        (f"audits/a/{DATABASE_NAME}", "lies in the audit"),
        ("pairs.csv", "no export"),
        ("captions", "no export"),
        ("../out.csv", "outside"),
    ],
)
def test_an_export_does_not_take_the_place_of_anything_else(roots, typed, told):
    (roots.home / "captions.json").touch()  # an export named `captions` would write its own there
    with pytest.raises(ParameterError, match=told):
        roots.target(typed, roots.home / "audits" / "a")


def test_an_export_may_take_the_place_of_an_earlier_one_of_the_same_audit_only(roots):
    mine, other = (roots.home / "audits" / name for name in "ab")
    out = roots.home / "exports" / "kept.csv"
    assert roots.target("exports/kept.csv", mine) == out
    out.parent.mkdir()
    out.touch()
    record = {"audit": str(mine), "out": "kept.csv", "format": "csv", "pairs": 1, "versions": {}}
    out.with_name("kept.csv.json").write_text(json.dumps(record))
    assert roots.target("exports/kept.csv", mine) == out
    with pytest.raises(ParameterError, match=r"export of another audit \(.*audits/a\); give another name"):
        roots.target("exports/kept.csv", other)


def test_encoders_are_names_or_paths_inside(roots):
    (roots.home / "model").mkdir()
    for name in ("mini", "ViT-B-32/openai", "hf-hub:org/model"):
        assert roots.encoder(name) == name
    assert roots.encoder("model") == roots.encoder("local-dir:model") == str(roots.home / "model")
    assert roots.encoder("mini@pairs.csv") == f"mini@{roots.home / 'pairs.csv'}"
    assert roots.encoder("model@pairs.csv") == f"{roots.home / 'model'}@{roots.home / 'pairs.csv'}"


def test_an_encoder_s_folder_is_never_one_of_the_server_s_own_working_directory(roots, monkeypatch):
    (roots.home.parent / "cwd" / "model").mkdir(parents=True)
    monkeypatch.chdir(roots.home.parent / "cwd")
    assert roots.encoder("model") == str(roots.home / "model")


@pytest.mark.parametrize(
    "typed",
    ["/etc", "../model", "a/../../b", "local-dir:/etc", "link", "mini@../x.pt", "../m@pairs.csv", "@"],
)
def test_encoders_outside_are_refused(roots, typed):
    with pytest.raises(ParameterError):
        roots.encoder(typed)


def test_audits_are_found_a_few_folders_deep(roots):
    for parts in (("audits", "b", "inner"), ("x", "y", "z"), ("x", "y", "w", "deeper"), (".hidden",)):
        folder = roots.home.joinpath(*parts)
        folder.mkdir(parents=True)
        (folder / DATABASE_NAME).touch()
    found = [roots.name(path) for path in roots.audits()]
    assert found == ["audits/a", "audits/b/inner", "x/y/z", str(roots.roots[1] / "audits" / "a")]
    assert max(name.count("/") for name in found[:3]) < MOST_FOLDERS_DEEP


def test_an_audit_is_not_looked_into_and_links_are_not_followed(roots):
    (roots.home / "audits" / "a" / "copy").mkdir()
    (roots.home / "audits" / "a" / "copy" / DATABASE_NAME).touch()
    (roots.home / "also").symlink_to(roots.roots[1])
    assert len(roots.audits()) == 2


def test_names_lead_back(roots):
    for path in (*roots.audits(), *roots.roots):
        assert roots.inside(roots.name(path)) == path


def test_a_folder_that_may_not_be_entered_is_passed_over(roots, monkeypatch):
    closed = roots.home / "closed"
    closed.mkdir()
    before = os.stat

    def stat(path, *arguments, **options):  # tests may run as root, who may enter everywhere
        if not isinstance(path, int) and os.fspath(path).startswith(f"{closed}/"):
            raise PermissionError(13, "Permission denied", path)
        return before(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", stat)
    assert roots.home / "audits" / "a" in roots.audits()
    with pytest.raises(ParameterError, match="no such file"):
        roots.source("closed/pairs.csv")
