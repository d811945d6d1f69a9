"""What all pages share: the open audit, one ``SplitParams``, the explorer that answers the sliders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import streamlit as st

from app.settings import JOBS, Settings
from app.words import escaped
from cfbd_core import Audit, SplitParams, filter_query, slider_query
from cfbd_core.audit_columns import Glance
from cfbd_core.errors import CfbdError, ParameterError
from cfbd_core.explorer import Explorer
from cfbd_core.jobs import Jobs
from cfbd_core.preview import Preview

FILTER = "filter"  # of the pairs, in the session: app.filters
OF_ONE_AUDIT = (
    "params", "undo", "log_page", "groups_page", "review", "review_acted", "review_learning", "review_begin_at",
    "asides", "asides_drawn", "view_asked", "preview", "gallery_opened", FILTER,
)  # fmt: skip


def settings() -> Settings:
    """What the server was started with."""
    return Settings.from_environment()


def jobs() -> Jobs:
    """The long jobs started from the app."""
    return Jobs(settings().home / JOBS)


# --- the audit -----------------------------------------------------------------------------------------


def open_audit(folder: Path) -> None:
    """Make this the audit that all pages show."""
    st.session_state["audit"] = str(folder)
    for name in OF_ONE_AUDIT:
        st.session_state.pop(name, None)
    for name in (*slider_query.NAMES, *filter_query.NAMES):
        st.query_params.pop(name, None)


def close_audit() -> None:
    """Make no audit the open one, if the server was not started with one."""
    for name in ("audit", *OF_ONE_AUDIT):
        st.session_state.pop(name, None)
    st.query_params.clear()


def audit_folder() -> Path | None:
    """The open audit's folder: chosen in this session, named in the URL, or given to ``cfbd app``."""
    if "audit" not in st.session_state:
        named = st.query_params.get("audit")
        folder = settings().inside(named) if named else settings().audit
        if folder is None:
            return None
        st.session_state["audit"] = str(folder)
    return Path(st.session_state["audit"])


def explorer() -> Explorer:
    """The open audit, ready for sliders. Raises CfbdError where there is none or it is not scored."""
    folder = audit_folder()
    if folder is None:
        raise ParameterError("no audit is open")
    found = _explorer(str(folder), _read(folder).score_version)
    found.refresh_decisions()
    return found


@st.cache_resource(max_entries=3, show_spinner="Reading the audit …")
def _explorer(folder: str, version: str | None) -> Explorer:
    return Explorer(Audit.open(folder))


def saved_views() -> dict[str, dict[str, str]]:
    """The named views of the open audit, as :meth:`Audit.saved_views` gives them."""
    folder = audit_folder()
    return {} if folder is None else _read(folder).views


def is_scored(folder: Path) -> bool:
    """Whether the audit has scores to split by."""
    return _read(folder).is_scored


def _read(folder: Path) -> Glance:
    return _read_anew(str(folder), Audit.open(folder).stamp())


@st.cache_data(max_entries=32, show_spinner=False)
def _read_anew(folder: str, stamp: tuple[int, ...]) -> Glance:
    return Audit.open(folder).glance()


# --- the sliders ---------------------------------------------------------------------------------------


def params() -> SplitParams:
    """The sliders' values: of this session, else of the URL, else as kept in the audit."""
    if "params" not in st.session_state:
        st.session_state["params"] = _from_url() or _kept() or applied() or SplitParams()
    held: SplitParams = st.session_state["params"]
    return held


def change(**values: Any) -> None:
    """Set some of the sliders' values, and keep all in the audit."""
    with told():
        st.session_state["params"] = replace(params(), **values)
        folder = audit_folder()
        if folder is not None:
            Audit.open(folder).keep_sliders(st.session_state["params"])


@contextmanager
def told() -> Iterator[None]:
    """Tell a button's or slider's error in a toast; raised there, it would take the page's place."""
    try:
        yield
    except CfbdError as error:
        st.toast(escaped(str(error)), icon=":material/error:")


def applied() -> SplitParams | None:
    """The parameters of the verdicts that are stored in the audit; None before its first split."""
    folder = audit_folder()
    return None if folder is None else _read(folder).applied


def last_preview() -> Preview | None:
    """What the sliders find, if this session has shown it as they stand; :mod:`app.previews` makes it."""
    last: Preview | None = st.session_state.get("preview")
    stands = last is not None and last.explorer is explorer() and last.params == params()
    return last if stands else None


def preview() -> Preview:
    """What the sliders find, for a button or a part of a page that shows it; else it is made while one waits."""
    return last_preview() or explorer().preview(params())


def write_url() -> None:
    """Put the audit, the sliders and the filter into the URL, so that a link reopens this view."""
    folder = audit_folder()
    if folder is None:
        return
    wanted = {"audit": settings().name(folder), **slider_query.to_query(params())}
    names: tuple[str, ...] = ("audit", *slider_query.NAMES)
    if FILTER in st.session_state:  # else the address may hold one that no page has read yet
        wanted |= filter_query.to_query(st.session_state[FILTER])
        names += filter_query.NAMES
    shown = {name: st.query_params.get(name) for name in names if name in st.query_params}
    if shown != wanted:
        for name in shown.keys() - wanted.keys():
            st.query_params.pop(name)
        st.query_params.update(wanted)


def _from_url() -> SplitParams | None:
    """The parameters a link names; None where it names none, or one that cannot be read."""
    given = {name: st.query_params[name] for name in slider_query.NAMES if name in st.query_params}
    try:
        return _sliders(given)
    except ParameterError as error:
        told = escaped(str(error), 200)
        st.toast(f"The link's parameters were left out: {told}", icon=":material/link_off:")
        return None


def _sliders(query: Mapping[str, str]) -> SplitParams | None:
    """What ``query`` sets the sliders to, None where it names none. Raises ParameterError.

    Whether there are as many distinct pairs is not known yet: it takes seconds to find that out.
    """
    found = slider_query.from_query(query, _kept() or applied() or SplitParams())
    if found is not None:
        explorer().check(replace(found, collapse_duplicates=False))
    return found


def open_query(query: Mapping[str, str]) -> None:
    """Set the sliders as an address or a saved view names them; where it names none they stay. Raises CfbdError."""
    found = _sliders(query)
    if found is not None:
        change(**found.to_dict())


def _kept() -> SplitParams | None:
    folder = audit_folder()
    return None if folder is None else Audit.open(folder).kept_sliders()


def apply() -> None:
    """Store the sliders' split in the audit, unless it is there already."""
    folder = audit_folder()
    if folder is not None and params() != applied():
        Audit.open(folder).split(params())
