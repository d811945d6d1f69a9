"""Ask for a login where the server's secrets have an ``[auth]`` section (Streamlit's own OIDC)."""

from __future__ import annotations

import os
from typing import Any

import streamlit as st
from streamlit.auth_util import is_authlib_installed
from streamlit.errors import StreamlitSecretNotFoundError

NO_FILE = "no-secrets-found"
FILES_VARIABLE = "STREAMLIT_SECRETS_FILES"


def require_login() -> None:
    """Stop here with a login page unless the person is logged in and, where a list is given, on it.

    Settings that cannot be read stop everyone: a typing error must not open the door.
    """
    try:
        secrets = st.secrets.to_dict()
    except StreamlitSecretNotFoundError as error:
        if error.error_id == NO_FILE and FILES_VARIABLE not in os.environ:
            return  # no secrets: an app for one person, on localhost
        _closed("The login's settings cannot be read; see docs/LOGIN.md.")
        return
    if "auth" not in secrets:
        if "cfbd" in secrets:
            _closed("There is a list of people but no `[auth]` section to log in by; see docs/LOGIN.md.")
        return
    people = secrets.get("cfbd", {"allowed_emails": None})
    if not isinstance(people, dict) or set(people) != {"allowed_emails"}:
        _closed("The section `[cfbd]` holds one setting, `allowed_emails`; see docs/LOGIN.md.")
    if not is_authlib_installed():
        _closed("A login needs more packages: `pip install 'streamlit[auth]'`; see docs/LOGIN.md.")
    if not st.user.is_logged_in:
        st.title("CFBD Auditor", anchor=False)
        st.markdown("This audit server asks who you are.")
        st.button("Log in", on_click=st.login, type="primary", icon=":material/login:")
        st.stop()
    allowed = people["allowed_emails"]
    if allowed is not None and not is_allowed(st.user.to_dict(), allowed):
        st.error("You are logged in, but not on the list of people who may open this server.")
        st.button("Log out", on_click=st.logout)
        st.stop()
    st.sidebar.button("Log out", on_click=st.logout, icon=":material/logout:")


def is_allowed(user: dict[str, Any], allowed: list[str] | str) -> bool:
    """Return whether the person's e-mail address is on the list, and the provider does not doubt it."""
    email = str(user.get("email") or "").strip().casefold()
    is_verified = str(user.get("email_verified", True)).casefold() == "true"  # some send it as text
    listed = [allowed] if isinstance(allowed, str) else allowed
    return bool(email) and is_verified and email in {str(name).strip().casefold() for name in listed}


def _closed(text: str) -> None:
    st.error(text, icon=":material/lock:")
    st.stop()
