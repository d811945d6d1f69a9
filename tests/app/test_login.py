from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from app.login import is_allowed
from tests.app.conftest import MAIN, words

AUTH = {"redirect_uri": "http://localhost:8501/oauth2callback", "cookie_secret": "x" * 64}
ADA = {"is_logged_in": True, "email": "Ada@Example.org", "email_verified": True}
LIST = {"allowed_emails": ["ada@example.ORG"]}


@pytest.fixture
def visit(root, monkeypatch):
    """Open the pairs page with these secrets as this person."""
    monkeypatch.setattr("streamlit.auth_util.is_authlib_installed", lambda: True)
    monkeypatch.setattr("app.login.is_authlib_installed", lambda: True)

    def visited(secrets: dict, user: dict) -> AppTest:
        test = AppTest.from_file(str(MAIN), default_timeout=60)
        test.secrets, test.user = secrets, user
        test.switch_page("views/pairs.py")
        return test.run()

    return visited


def is_open(test: AppTest) -> bool:
    """Whether anything of the audit is shown."""
    shown = [button.label for button in test.button]
    return "Keep" in shown or bool(test.get("html")[1:]) or "pairs match" in words(test)


def test_without_secrets_there_is_no_login(visit):
    assert is_open(visit({}, {}))
    assert is_open(visit({"another": "secret"}, {}))


def test_whoever_is_not_logged_in_gets_the_login_and_nothing_else(visit):
    test = visit({"auth": AUTH}, {"is_logged_in": False})
    assert not test.exception
    assert not is_open(test)
    assert [button.label for button in test.button] == ["Log in"]
    assert not test.sidebar.children


def test_whoever_is_logged_in_comes_in_and_can_leave(visit):
    for secrets in ({"auth": AUTH}, {"auth": AUTH, "cfbd": LIST}):
        test = visit(secrets, ADA)
        assert is_open(test)
        assert "Log out" in [button.label for button in test.sidebar.button]


@pytest.mark.parametrize(
    "user", [{"email": "eve@example.org"}, {"email": "ada@example.org", "email_verified": False}, {}]
)
def test_whoever_is_not_on_the_list_stays_out_and_can_log_out(visit, user):
    test = visit({"auth": AUTH, "cfbd": LIST}, {"is_logged_in": True, **user})
    assert not is_open(test)
    assert [button.label for button in test.button] == ["Log out"]


@pytest.mark.parametrize(
    "secrets",
    [
        {"cfbd": LIST},
        {"auth": AUTH, "cfbd": {"allowed_email": ["ada@example.org"]}},
        {"auth": AUTH, "cfbd": ["ada@example.org"]},
        {"auth": AUTH, "cfbd": {}},
    ],
)
def test_a_typing_error_opens_no_door(visit, secrets):
    test = visit(secrets, ADA)
    assert not test.exception
    assert not is_open(test)
    assert "docs/LOGIN.md" in test.error[0].value


def test_a_login_whose_packages_are_missing_lets_nobody_in(visit, monkeypatch):
    monkeypatch.setattr("app.login.is_authlib_installed", lambda: False)
    test = visit({"auth": AUTH}, ADA)
    assert not is_open(test)
    assert "streamlit[auth]" in test.error[0].value


def test_secrets_that_cannot_be_read_let_nobody_in(page, root, monkeypatch):
    _secrets_in(root / "secrets.toml", "[auth\n", monkeypatch)
    test = page("pairs")
    assert not is_open(test)
    assert "cannot be read" in test.error[0].value


def test_a_file_of_secrets_that_was_named_and_is_not_there_lets_nobody_in(page, root, monkeypatch):
    _secrets_in(root / "secrets.toml", None, monkeypatch)
    assert is_open(page("pairs"))
    monkeypatch.setenv("STREAMLIT_SECRETS_FILES", str(root / "secrets.toml"))
    assert not is_open(page("pairs"))


def _secrets_in(path, text: str | None, monkeypatch) -> None:
    import streamlit as st
    from streamlit import config

    before = config.get_option
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(
        "streamlit.config.get_option", lambda name: [str(path)] if name == "secrets.files" else before(name)
    )
    monkeypatch.setattr(st.secrets, "_secrets", None)


@pytest.mark.parametrize(
    ("user", "allowed"),
    [
        ({"email": "ada@example.org"}, True),
        ({"email": " Ada@Example.org", "email_verified": True}, True),
        ({"email": "ada@example.org", "email_verified": "true"}, True),
        ({"email": "ada@example.org", "email_verified": False}, False),
        ({"email": "ada@example.org", "email_verified": "False"}, False),
        ({"email": "ada@example.org", "email_verified": None}, False),
        ({"email": "eve@example.org"}, False),
        ({"email": ""}, False),
        ({"email": None}, False),
        ({}, False),
    ],
)
def test_only_verified_addresses_on_the_list_come_in(user, allowed):
    assert is_allowed(user, ["ADA@example.org ", ""]) is allowed
    assert is_allowed(user, "ADA@example.org") is allowed
    assert not is_allowed(user, [])
