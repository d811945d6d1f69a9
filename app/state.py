"""What all pages share: the open audit, one ``SplitParams``, the explorer that answers the sliders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import streamlit as st

from app import address, toasts
from app.settings import JOBS, Settings
from app.words import escaped
from cfbd_core import Audit, SplitParams
from cfbd_core.audit.state import Glance
from cfbd_core.errors import ParameterError
from cfbd_core.jobs.jobs import Jobs
from cfbd_core.machine.places import is_writable
from cfbd_core.workbench import filter_query, slider_query
from cfbd_core.workbench.explorer import Explorer
from cfbd_core.workbench.preview import Preview

FILTER = "filter"  # of the pairs, in the session: app.filters
OF_ONE_AUDIT = (
    "params",
    "undo",
    "log_page",
    "groups_page",
    "review",
    "review_acted",
    "review_learning",
    "review_begin_at",
    "review_drawn",
    "review_shown",
    "asides",
    "asides_drawn",
    "view_to_replace",
    "preview",
    "gallery_opened",
    FILTER,
)


def settings() -> Settings:
    """Return what the server was started with."""
    return Settings.from_environment()


def jobs() -> Jobs:
    """Return the long jobs started from the app."""
    return Jobs(settings().home / JOBS)


# --- the audit -----------------------------------------------------------------------------------------


def open_audit(folder: Path) -> None:
    """Make this the audit that all pages show."""
    st.session_state["audit"] = str(folder)
    for name in OF_ONE_AUDIT:
        st.session_state.pop(name, None)
    address.forget()


def close_audit() -> None:
    """Make no audit the open one, if the server was not started with one."""
    for name in ("audit", *OF_ONE_AUDIT):
        st.session_state.pop(name, None)
    address.forget()


def audit_folder() -> Path | None:
    """Return the open audit's folder: chosen in this session, named in its address, or given to ``cfbd app``."""
    if "audit" not in st.session_state:
        named = address.given().get("audit")
        folder = settings().inside(named) if named else settings().audit
        if folder is None:
            return None
        st.session_state["audit"] = str(folder)
    return Path(st.session_state["audit"])


def explorer() -> Explorer:
    """Return the open audit, ready for sliders. Raises CfbdError where there is none or it is not scored."""
    folder = audit_folder()
    if folder is None:
        raise ParameterError("no audit is open")
    current = _explorer(str(folder), _read(folder).score_version)
    current.refresh_decisions()
    return current


@st.cache_resource(max_entries=3, show_spinner="Reading the audit …")
def _explorer(folder: str, version: str | None) -> Explorer:
    return Explorer(Audit.open(folder))


def saved_views() -> dict[str, dict[str, str]]:
    """Return the named views of the open audit, as :meth:`SavedViews.saved` gives them."""
    folder = audit_folder()
    return {} if folder is None else _read(folder).views


def is_read_only() -> bool:
    """Return whether nothing can be stored in the open audit: its folder or its file may not be written."""
    folder = audit_folder()
    return folder is not None and not is_writable(folder)


def is_scored(folder: Path) -> bool:
    """Return whether the audit has scores to split by."""
    return _read(folder).is_scored


def _read(folder: Path) -> Glance:
    return _read_anew(str(folder), Audit.open(folder).state.stamp())


@st.cache_data(max_entries=32, show_spinner=False)
def _read_anew(folder: str, stamp: tuple[int, ...]) -> Glance:
    return Audit.open(folder).state.glance()


# --- the sliders ---------------------------------------------------------------------------------------


def params() -> SplitParams:
    """Return the sliders' values: of this session, which its address may begin, else those of the split that is stored.

    A session that has moved none follows what others store.
    """
    if "params" not in st.session_state:
        sliders_of_address = _of_address()
        if sliders_of_address is None:
            return applied() or SplitParams()
        st.session_state["params"] = sliders_of_address
    sliders: SplitParams = st.session_state["params"]
    return sliders


def change(**values: Any) -> None:
    """Set some of the sliders' values, in this session alone."""
    with toasts.report_errors():
        st.session_state["params"] = replace(params(), **values)


def follow() -> None:
    """Let the sliders stand as the audit holds them, now and when someone stores others."""
    st.session_state.pop("params", None)


def is_preview() -> bool:
    """Return whether the sliders stand elsewhere than the split that the audit holds."""
    return params() != applied()


def applied() -> SplitParams | None:
    """Return the parameters of the verdicts that are stored in the audit; None before its first split."""
    folder = audit_folder()
    return None if folder is None else _read(folder).applied


def last_preview() -> Preview | None:
    """What the sliders find, if this session has shown it as they stand; :mod:`app.waiting.previews` makes it."""
    last: Preview | None = st.session_state.get("preview")
    stands = last is not None and last.pairs is explorer() and last.params == params()
    return last if stands else None


def preview() -> Preview:
    """Return what the sliders find, for a button or a part of a page that shows it; else it is made while one waits."""
    return last_preview() or explorer().preview(params())


def query() -> dict[str, str]:
    """What the address of a page holds, so that a link reopens it: the audit, a preview's sliders, and the filter."""
    folder = audit_folder()
    if folder is None:
        return {}
    query_now = {"audit": settings().name(folder)}
    if is_scored(folder) and is_preview():
        query_now |= slider_query.to_query(params())
    if FILTER in st.session_state:
        return query_now | filter_query.to_query(st.session_state[FILTER])
    # No page has asked for it yet; one that is opened next may.
    return query_now | {name: text for name, text in address.given().items() if name in filter_query.NAMES}


def _of_address() -> SplitParams | None:
    """Return the parameters a link names, once; None where it names none, or one that cannot be read."""
    try:
        sliders = _sliders(address.given())
    except ParameterError as error:
        message = escaped(str(error), 200)
        toasts.add(f"The link's parameters were left out: {message}", ":material/link_off:")
        sliders = None
    address.take_out(slider_query.NAMES)
    return sliders


def _sliders(query: Mapping[str, str]) -> SplitParams | None:
    """Return what ``query`` sets the sliders to, None where it names none. Raises ParameterError.

    Whether there are as many distinct pairs is not known yet: it takes seconds to find that out.
    """
    sliders = slider_query.from_query(query, applied() or SplitParams())
    if sliders is not None:
        explorer().check(replace(sliders, collapse_duplicates=False))
    return sliders


def open_query(query: Mapping[str, str]) -> None:
    """Set the sliders as an address or a saved view names them; where it names none they stay. Raises CfbdError."""
    sliders = _sliders(query)
    if sliders is not None:
        change(**sliders.to_dict())


def apply() -> None:
    """Store the sliders' split in the audit, unless it is there already."""
    folder = audit_folder()
    if folder is not None and is_preview():
        Audit.open(folder).split(params())
