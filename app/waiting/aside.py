"""Parts of a page that fill in after the rest, made one at a time in a thread: what is shown, then what is next.

Whoever decides by key does not wait for them: what is no longer wanted is not begun. Each is drawn by itself when it is
there; what a whole page waits for is :mod:`app.waiting.background`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import streamlit as st

from app import toasts
from app.waiting.futures import Futures
from app.words import escaped
from cfbd_core.errors import CfbdError

MOST_RESULTS = 16  # of each part, in a session
WAIT_SECONDS = 0.02  # seconds: what is made sooner, as in a small audit, is there with the rest
LOOK_SECONDS = 0.3  # seconds between looks

_SCRIPT = """
export default function ({ data, setTriggerValue }) {
  const timer = setTimeout(() => setTriggerValue("look", true), data.after);
  return () => clearTimeout(timer);
}
"""
_look_again = st.components.v2.component("cfbd_look_again", js=_SCRIPT)


@toasts.fragment()
def fill(
    part: str,
    makes: Mapping[Hashable, Callable[[], Any]],
    draw: Callable[[Any], None],
    words: str,
    *,
    keeps: bool = False,
) -> None:
    """Draw what the first of ``makes`` gives as soon as it is there, until then ``words``; make the others after it.

    Names say what each depends on, as those of :class:`Futures` do. With ``keeps`` what was drawn last stays until
    then. A part of its own of the page: it runs again alone. An error that a user can mend takes its place.
    """
    futures = _futures(part)
    futures.drop_unbegun(makes)
    work, *_ = [futures.ask(name, make, _worker()) for name, make in makes.items()]
    wait([work], WAIT_SECONDS)
    latest = st.session_state.setdefault("asides_drawn", {})
    if not work.done() or work.cancelled():  # a newer run of the page may have dropped it
        if keeps and part in latest:
            draw(latest[part])
        st.caption(f":material/hourglass_top: {words} …")
        _look_again(
            data={"after": 1000 * LOOK_SECONDS, "asked": time.monotonic()},
            key=f"look_again_{part}",
            on_look_change=lambda: None,
            height=1,
        )
        return
    try:
        result = work.result()
    except CfbdError as error:
        futures.forget(next(iter(makes)))  # tried again with the next run
        st.caption(f":material/error: {escaped(str(error))}")
        return
    if keeps:
        latest[part] = result
    draw(result)


def _futures(part: str) -> Futures:
    parts: dict[str, Futures] = st.session_state.setdefault("asides", {})
    return parts.setdefault(part, Futures(MOST_RESULTS))


@st.cache_resource
def _worker() -> ThreadPoolExecutor:
    """Return one thread for all sessions: two scans at once would only make each take twice as long."""
    return ThreadPoolExecutor(1, thread_name_prefix="aside")
