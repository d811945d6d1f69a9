"""What a button or a slider has to tell, said by the page that follows: a callback draws nothing itself.

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
HELD = "toasts"  # in the session: what is not yet told


def tell(text: str, icon: str) -> None:
    """Tell in a toast, with the page that is drawn next; ``text`` is Markdown."""
    st.session_state.setdefault(HELD, []).append((text, icon))


@contextmanager
def told() -> Iterator[None]:
    """Tell a button's or slider's error in a toast; raised there, it would take the page's place."""
    try:
        yield
    except CfbdError as error:
        tell(escaped(str(error)), ":material/error:")


def show() -> None:
    """Draw what is not yet told."""
    for text, icon in st.session_state.pop(HELD, ()):
        st.toast(text, icon=icon)


def fragment(*, run_every: float | None = None) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """A part of a page that runs alone, as Streamlit's own, and tells what its buttons have to tell."""

    def part_of(draw: Callable[P, None]) -> Callable[P, None]:
        @wraps(draw)
        def part(*given: P.args, **named: P.kwargs) -> None:
            show()
            draw(*given, **named)

        return st.fragment(part, run_every=run_every)

    return part_of
