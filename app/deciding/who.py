"""Who decides, as the log of decisions names them: the login's name, a name that is given once, or "app"."""

from __future__ import annotations

import streamlit as st

from app import words

NOBODY = "app"


def name() -> str:
    """Return the name of the person in this session."""
    return _login() or " ".join(str(st.session_state.get("who") or "").split()) or NOBODY


def ask() -> None:
    """Ask for a name, or show the login's; in the sidebar, so on every page."""
    login = _login()
    if login:
        st.caption(f"The log names you {words.escaped(login, 60)}.")
        return
    st.text_input(
        "Your name",
        key="who",
        max_chars=60,
        placeholder=NOBODY,
        persist_state="session",
        help="The log of decisions names you so.",
    )


def _login() -> str:
    person = st.user.to_dict()
    return str(person.get("email") or person.get("name") or "") if person.get("is_logged_in") else ""
