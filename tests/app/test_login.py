from __future__ import annotations

import pytest

from app.login import is_allowed


@pytest.mark.parametrize(
    ("secrets", "told"),
    [
        ('[auth]\nredirect_uri = "http://localhost/oauth2callback"\n', "login"),
        ('[cfbd]\nallowed_emails = ["ada@example.org"]\n', "no `[auth]` section"),
        ("[auth\n", "cannot be read"),
    ],
)
def test_settings_of_a_login_that_do_not_let_in_let_nobody_in(page, root, monkeypatch, secrets, told):
    (root / "secrets.toml").write_text(secrets)
    monkeypatch.setattr("streamlit.config.get_option", _with_secrets(str(root / "secrets.toml")))
    import streamlit as st

    monkeypatch.setattr(st.secrets, "_secrets", None)
    test = page("pairs")
    shown = " ".join(str(part.value) for part in [*test.error, *test.markdown, *test.title]).lower()
    assert told.lower() in shown or "who you are" in shown
    assert not test.metric
    assert not [button for button in test.button if button.label in ("Keep", "Remove")]


def _with_secrets(path: str):
    from streamlit import config

    before = config.get_option
    return lambda name: [path] if name == "secrets.files" else before(name)


@pytest.mark.parametrize(
    ("user", "allowed"),
    [
        ({"email": "ada@example.org"}, True),
        ({"email": "Ada@Example.org", "email_verified": True}, True),
        ({"email": "ada@example.org", "email_verified": False}, False),
        ({"email": "eve@example.org"}, False),
        ({"email": None}, False),
        ({}, False),
    ],
)
def test_only_verified_addresses_on_the_list_come_in(user, allowed):
    assert is_allowed(user, ["ADA@example.org"]) is allowed
