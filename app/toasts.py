"""Toasts of buttons and sliders, drawn by the page that follows: a callback draws nothing itself.

What a callback of a part of a page draws takes the place of what stands first in the whole page: the app's stylesheet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec

import streamlit as st

from app.words import escaped
from cfbd_core.errors import CfbdError

P = ParamSpec("P")
WAITING = "toasts"  # in the session: toasts that are not drawn yet


def add(text: str, icon: str) -> None:
    """Show a toast with the page that is drawn next; ``text`` is Markdown."""
    st.session_state.setdefault(WAITING, []).append((text, icon))


@contextmanager
def report_errors() -> Iterator[None]:
    """Show a button's or slider's error in a toast; raised there, it would take the page's place."""
    try:
        yield
    except CfbdError as error:
        add(escaped(str(error)), ":material/error:")


def show() -> None:
    """Draw the toasts that wait."""
    for text, icon in st.session_state.pop(WAITING, ()):
        st.toast(text, icon=icon)


def fragment(*, run_every: float | None = None) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Return a part of a page that runs alone, as Streamlit's own, and shows the toasts of its buttons."""

    def part_of(draw: Callable[P, None]) -> Callable[P, None]:
        @wraps(draw)
        def part(*given: P.args, **named: P.kwargs) -> None:
            show()
            draw(*given, **named)

        return st.fragment(part, run_every=run_every)

    return part_of
