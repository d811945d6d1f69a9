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
WAIT_SECONDS = 1.0  # seconds: so long a page waits, as a new z for millions of pairs takes that or less
WORDS = "Working out what these sliders find"


def shown() -> Preview | None:
    """Return what the sliders find; None while it is made: then the page says so, and is drawn anew at the end.

    Raises CfbdError where nothing can be found. Every fit that K can ask for is made in the background from then on.
    """
    explored, sliders = state.explorer(), state.params()
    last = state.last_preview()
    if last is not None:
        return last
    name = _name(explored, sliders)
    failed: tuple[Hashable, CfbdError] | None = st.session_state.get(FAILED)
    if failed is not None and failed[0] == name:
        raise failed[1]  # asked for again, it would fail again, and have the page drawn anew for that
    made: tuple[SplitParams, ref[Preview]] | None = background.made(
        name,
        lambda: _make(explored, sliders),
        WORDS,
        "previews",
        WAIT_SECONDS,
        on_error=lambda error: _fail(name, error),
    )
    if made is None:
        return None
    params, preview_of = made
    preview = preview_of()
    if preview is None:  # others' have taken its place before it was looked at
        background.forget(name)
        return shown()
    if params != sliders:
        _report_fit(params)
        st.session_state["params"] = params
    st.session_state["preview"] = preview
    explored.warm(params.seed, params.collapse_duplicates)
    return preview


def are_awaited() -> bool:
    """Return whether the page waits for what the sliders find, and says so."""
    return background.is_awaited(_name(state.explorer(), state.params()))


def _name(explored: Explorer, sliders: SplitParams) -> Hashable:
    return "preview", ref(explored), sliders.id


def _make(explored: Explorer, sliders: SplitParams) -> tuple[SplitParams, ref[Preview]]:
    """What is found with all that every page shows of it; the explorer and one session keep it, not the thread."""
    params = fitted(sliders, explored)
    preview = explored.preview(params)
    _ = preview.counts, preview.evidence, preview.warnings
    return params, ref(preview)


def fitted(sliders: SplitParams, explored: Explorer) -> SplitParams:
    """Return the values that an audit of few pairs can have: a K and a q that it has pairs for."""
    pairs = len(explored.rows[explored.counted(sliders.collapse_duplicates)])
    q = sliders.q if sliders.q <= pairs else max(1, pairs // 10)
    return replace(sliders, k=min(sliders.k, pairs), q=q)


def _report_fit(params: SplitParams) -> None:
    kind = "distinct pairs" if params.collapse_duplicates else "pairs"
    toasts.add(
        escaped(f"The audit has too few {kind} for these sliders: K is {params.k}, q is {params.q} now."),
        ":material/tune:",
    )


def begin() -> None:
    """Begin a run of the page, which tries again what could not be found in the one before."""
    st.session_state.pop(FAILED, None)


def _fail(name: Hashable, error: CfbdError) -> None:
    st.session_state[FAILED] = (name, error)
    raise error
