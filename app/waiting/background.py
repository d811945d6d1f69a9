"""What a page cannot go on without, made in a thread while the rest of the app stays usable; kept for the session.

Each may have its own number of threads, and at its end the whole page is drawn anew. Parts that only fill in, one at a
time and alone, are :mod:`app.waiting.aside`'s. Both keep their works in :class:`app.waiting.futures.Futures`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, TimeoutError
from typing import Any, Literal

import streamlit as st

from app import widgets
from app.waiting.futures import Futures
from cfbd_core.errors import CfbdError

Worker = Literal["shared", "groups", "previews"]
THREADS: dict[Worker, int] = {"shared": 2, "groups": 1, "previews": 2}
MOST_RESULTS = 32
NAMED = "background_named"  # what this run of the page has asked for so far, in the session
WAIT_SECONDS = 0.4  # seconds: what is made sooner is shown without a word
LOOK_SECONDS = 0.7  # seconds between looks


def made(
    name: Hashable,
    make: Callable[[], Any],
    words: str,
    worker: Worker = "shared",
    at_once: float | None = None,
    on_error: Callable[[CfbdError], None] = widgets.problem,
) -> Any:
    """Return what ``make`` gave, or None while it is at work: then the page says so, and is drawn anew at the end.

    ``name`` says what it depends on, as those of :class:`Futures` do. An error that a user can mend goes to
    ``on_error``; it is tried again when the page is opened again. ``worker`` is of its own for what may take a minute,
    so that nothing else waits for that. ``at_once`` is how many seconds are waited without a word.
    """
    futures = _futures()
    st.session_state.setdefault(NAMED, set()).add(name)
    work = futures.ask(name, make, _workers(worker))
    try:
        return work.result(WAIT_SECONDS if at_once is None else at_once)
    except TimeoutError:
        if work.done():  # it was the work itself that timed out
            raise
        _wait(work, words)
    except CancelledError:  # a newer run of the page has dropped it, and draws what it waits for
        return None
    except CfbdError as error:
        futures.forget(name)
        on_error(error)
    return None


def is_awaited(name: Hashable) -> bool:
    """Return whether this run of the page has asked for it, says so, and is drawn anew when it is there."""
    work = _futures().get(name)
    return name in st.session_state.get(NAMED, ()) and work is not None and not work.done()


def at_hand(name: Hashable) -> Any:
    """Return what was made under this name; None where it is not there, or gave an error."""
    work = _futures().get(name)
    if work is None or not work.done() or work.cancelled() or work.exception() is not None:
        return None
    return work.result()


def forget(name: Hashable) -> None:
    """Let it be made again when it is asked for next."""
    _futures().forget(name)


def begin() -> None:
    """Begin a run of the page: the one before may have been stopped on its way."""
    st.session_state.pop(NAMED, None)


def tidy() -> None:
    """Drop what this run of the page did not ask for and no thread has begun: its slider has moved on."""
    _futures().drop_unbegun(st.session_state.pop(NAMED, set()))


def _futures() -> Futures:
    futures: Futures = st.session_state.setdefault("background", Futures(MOST_RESULTS))
    return futures


@st.fragment(run_every=LOOK_SECONDS)
def _wait(work: Future[Any], words: str) -> None:
    if work.done():
        st.rerun()
    st.caption(f":material/hourglass_top: {words} … You can go on meanwhile.")


@st.cache_resource
def _workers(worker: Worker) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS[worker], thread_name_prefix=f"background-{worker}")
