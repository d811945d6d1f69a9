"""The page's address: read once, when a session begins, and then kept up in the browser.

Streamlit's own way to change it, ``st.query_params``, makes an entry in the browser's history for each change, so that
going back would take a press for each.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import parse_qsl, urlencode

import streamlit as st

GIVEN, SHOWN, BEGUN = "address_given", "address_shown", "address_begun"  # in the session
_SCRIPT = """
export default function ({ data }) {
  const { pathname, search, hash } = window.location;
  const wanted = data.query ? "?" + data.query : "";
  if (search !== wanted) window.history.replaceState(window.history.state, "", pathname + wanted + hash);
}
"""
_component = st.components.v2.component("cfbd_address", js=_SCRIPT)


def given() -> Mapping[str, str]:
    """Return the parameters that this session was opened with; none once :func:`forget` was called."""
    if GIVEN not in st.session_state:
        st.session_state[GIVEN] = st.query_params.to_dict()
    query: dict[str, str] = st.session_state[GIVEN]
    return query


def take_out(names: Collection[str]) -> None:
    """Let those of these names be given no more: they were read."""
    st.session_state[GIVEN] = {name: text for name, text in given().items() if name not in names}


def forget() -> None:
    """Let what the session was opened with count no longer: another audit is shown now."""
    st.session_state[GIVEN] = {}


def begin() -> None:
    """Begin a run of the page."""
    st.session_state[BEGUN] = True


def show(query: Mapping[str, str], page: str) -> None:
    """Put these parameters into the address of ``page``, in place of those that are there.

    Called again in a run it changes what has changed since.
    """
    text = urlencode(query)
    is_first = st.session_state.pop(BEGUN, False)
    if is_first or st.session_state[SHOWN] != text:
        # A press of Back brings an earlier page's address, and another run: the page makes the script look again.
        _component(
            data={"query": text, "page": page}, key="address" if is_first else "address_again", height=1
        )
    st.session_state[SHOWN] = text


def go(page: str) -> None:
    """Show another page, with the address as it stands, so that going there is one step in the browser's history."""
    st.switch_page(page, query_params=dict(parse_qsl(st.session_state.get(SHOWN, ""))))
