"""What the sliders find, made in the background: the mixture, z, the verdicts and how strong the evidence is."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from weakref import ref

import streamlit as st

from app import state, toasts
from app.waiting import background
from app.words import escaped
from cfbd_core import SplitParams
from cfbd_core.errors import CfbdError
from cfbd_core.workbench.explorer import Explorer
from cfbd_core.workbench.preview import Preview

FAILED = "preview_failed"  # in the session: what this run of the page could not find, and why
AT_ONCE = 1.0  # seconds: so long a page waits, as a new z for millions of pairs takes that or less
WORDS = "Working out what these sliders find"


def shown() -> Preview | None:
    """What the sliders find; None while it is made: then the page says so, and is drawn anew at the end.

    Raises CfbdError where nothing can be found. Every fit that K can ask for is made in the background from then on.
    """
    explored, held = state.explorer(), state.params()
    last = state.last_preview()
    if last is not None:
        return last
    name = _name(explored, held)
    failed: tuple[Hashable, CfbdError] | None = st.session_state.get(FAILED)
    if failed is not None and failed[0] == name:
        raise failed[1]  # asked for again, it would fail again, and have the page drawn anew for that
    made: tuple[SplitParams, ref[Preview]] | None = background.made(
        name, lambda: _make(explored, held), WORDS, "previews", AT_ONCE, told=lambda error: _fail(name, error)
    )
    if made is None:
        return None
    params, of = made
    found = of()
    if found is None:  # others' have taken its place before it was looked at
        background.forget(name)
        return shown()
    if params != held:
        _tell_fitted(params)
        st.session_state["params"] = params
    st.session_state["preview"] = found
    explored.warm(params.seed, params.collapse_duplicates)
    return found


def are_awaited() -> bool:
    """Whether the page waits for what the sliders find, and says so."""
    return background.is_awaited(_name(state.explorer(), state.params()))


def _name(explored: Explorer, held: SplitParams) -> Hashable:
    return "preview", ref(explored), held.id


def _make(explored: Explorer, held: SplitParams) -> tuple[SplitParams, ref[Preview]]:
    """What is found with all that every page shows of it; the explorer and one session keep it, not the thread."""
    params = fitted(held, explored)
    found = explored.preview(params)
    _ = found.counts, found.evidence, found.warnings
    return params, ref(found)


def fitted(held: SplitParams, explored: Explorer) -> SplitParams:
    """The values that an audit of few pairs can have: a K and a q that it has pairs for."""
    pairs = len(explored.rows[explored.counted(held.collapse_duplicates)])
    q = held.q if held.q <= pairs else max(1, pairs // 10)
    return replace(held, k=min(held.k, pairs), q=q)


def _tell_fitted(params: SplitParams) -> None:
    kind = "distinct pairs" if params.collapse_duplicates else "pairs"
    toasts.tell(
        escaped(f"The audit has too few {kind} for these sliders: K is {params.k}, q is {params.q} now."),
        ":material/tune:",
    )


def begin() -> None:
    """Begin a run of the page, which tries again what could not be found in the one before."""
    st.session_state.pop(FAILED, None)


def _fail(name: Hashable, error: CfbdError) -> None:
    st.session_state[FAILED] = (name, error)
    raise error
