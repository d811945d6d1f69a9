"""The parts of the filter as chips that take them out, and filters and sliders that were saved under a name."""

from __future__ import annotations

from weakref import ref

import streamlit as st

from app import state, toasts
from app.pairs import filters
from app.waiting import background
from app.words import cut, escaped
from cfbd_core.workbench import slider_query
from cfbd_core.workbench.filter_query import from_query, parts, to_query
from cfbd_core.workbench.groups import Groups
from cfbd_core.workbench.pair_filter import NO_GROUP, PairFilter, outlined_map
from cfbd_core.workbench.preview import Preview

GONE = "outlined on a map that is gone"


def show(preview: Preview) -> None:
    """Draw every part of the filter as a chip that takes it out.

    After :func:`app.pairs.filters.ready`, which knows more of it.
    """
    shown_parts = parts(filters.chosen(), _group_words(preview))
    gone = _outline_is_gone()
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key="chips"):
        for place, part in enumerate(shown_parts):
            words = GONE if part.name == "lasso" and gone else part.words
            st.button(
                escaped(words, 80),
                key=f"chip_{place}",
                icon=":material/close:",
                on_click=filters.choose,
                args=[part.without],
                help="Take this out of the filter",
                type="secondary",
            )
        _views(filters.chosen())
        if len(shown_parts) > 1:
            st.button(
                "Show all",
                key="chip_none",
                on_click=filters.choose,
                args=[PairFilter(show="all")],
                type="tertiary",
            )
    if gone:
        st.caption(
            ":material/info: The map that this outline was drawn on is no longer there, so it selects nothing: outline "
            "the pairs again."
        )


def _group_words(preview: Preview) -> str:
    """Return which group the filter asks for, in words; empty where it asks for none."""
    chosen_filter = filters.chosen()
    if not chosen_filter.group or chosen_filter.group == NO_GROUP:
        return ""
    known: Groups | None = background.at_hand(("groups", ref(preview)))
    if known is None:
        return "a group of flagged pairs"
    group = known.find(chosen_filter.group)
    if group is None:
        return "a group that is gone"
    return f"group {known.number(group)}: {cut(group.name, 40)}, {len(group):,} pairs"


def _outline_is_gone() -> bool:
    """Return whether the filter's outline is of a map that is no longer there."""
    lasso = filters.chosen().lasso
    return lasso is not None and outlined_map(state.explorer(), lasso) is None


def _views(chosen_filter: PairFilter) -> None:
    """Named views: open one, save this one, take one out."""
    views, is_read_only = state.saved_views(), state.is_read_only()
    with st.popover(
        "Views",
        icon=":material/bookmark:",
        help="Filters and sliders that were saved under a name",
        key="views_popover",
        on_change="rerun",
    ):
        for place, (name, query) in enumerate(views.items()):
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.button(
                    escaped(name, 40), key=f"view_{place}", on_click=_open_view, args=[query], width="stretch"
                )
                st.button(
                    "",
                    key=f"forget_{place}",
                    icon=":material/delete:",
                    type="tertiary",
                    on_click=_forget_view,
                    args=[name],
                    help="Take this view out",
                    disabled=is_read_only,
                )
        if not views:
            st.caption("No view is saved yet. Filter, then give it a name.")
        st.text_input("Name", key="view_name", max_chars=40, placeholder="such as: bananas to look at")
        view = st.session_state.get("view_to_replace")
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.button(
                "Save this view",
                key="save_view",
                on_click=_save_view,
                args=[chosen_filter],
                type="primary",
                disabled=is_read_only,
            )
            if view in views:
                st.button(
                    "Replace",
                    key="replace_view",
                    on_click=_keep_view,
                    args=[view, chosen_filter],
                    disabled=is_read_only,
                )
        if view in views:
            st.caption(f"There is a view called {escaped(view, 40)}: replace it, or give another name.")
        st.caption("The address of this page reopens it, too: copy it to send it to someone.")


def _open_view(query: dict[str, str]) -> None:
    with toasts.report_errors():
        view_filter = from_query(query)
        state.open_query(query)
        filters.choose(view_filter)
        st.session_state["views_popover"] = False


def _save_view(chosen_filter: PairFilter) -> None:
    name = " ".join(str(st.session_state.get("view_name") or "").split())
    if not name:
        toasts.add("Give the view a name.", ":material/edit:")
        return
    with toasts.report_errors():
        if name in state.saved_views():
            st.session_state["view_to_replace"] = name
        else:
            _keep_view(name, chosen_filter)


def _keep_view(name: str, chosen_filter: PairFilter) -> None:
    """Save the filter and the sliders as they stand."""
    with toasts.report_errors():
        state.explorer().audit.views.save(
            name, slider_query.to_query(state.params()) | to_query(chosen_filter)
        )
        st.session_state["view_name"] = ""
        st.session_state.pop("view_to_replace", None)


def _forget_view(name: str) -> None:
    with toasts.report_errors():
        state.explorer().audit.views.forget(name)
