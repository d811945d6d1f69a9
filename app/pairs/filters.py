"""The one filter of all pages: drawn as controls and as chips, kept in the session and in the address."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from weakref import ref

import numpy as np
import streamlit as st

from app import address, state, toasts, widgets
from app.waiting import background
from app.words import escaped
from cfbd_core.errors import ParameterError
from cfbd_core.store.columns import DECISIONS
from cfbd_core.workbench.copies import Copies, Kind
from cfbd_core.workbench.filter_query import COPIES_WORDS, NAMES, from_query, to_query
from cfbd_core.workbench.groups import Groups
from cfbd_core.workbench.likeness import Like
from cfbd_core.workbench.pair_filter import PairFilter, Sort
from cfbd_core.workbench.preview import Preview

SHOW = {"removed": "Removed", "kept": "Kept", "all": "All"}
SUBSETS = {"poisoned": "D_p", "suspicious": "D_s", "benign": "D_b"}
SORT: dict[tuple[Sort, bool], str] = {
    ("z", True): "z, high first",
    ("z", False): "z, low first",
    ("consistency", True): "c, high first",
    ("consistency", False): "c, low first",
    ("row", False): "as read",
}
NEAREST: tuple[Sort, bool] = ("usual", True)  # the order of what is like something
COPIES: dict[Kind | None, str] = {None: "all"} | COPIES_WORDS
TRUTH = {None: "all", True: "known poisons", False: "known clean"}


def chosen() -> PairFilter:
    """Return the filter that stands: of this session, else of the address, else what is removed."""
    if state.FILTER not in st.session_state:
        given = {name: text for name, text in address.given().items() if name in NAMES}
        try:
            st.session_state[state.FILTER] = from_query(given)
        except ParameterError as error:
            st.session_state[state.FILTER] = PairFilter()
            toasts.add(f"The link's filter was left out: {escaped(str(error), 200)}", ":material/link_off:")
    chosen_filter: PairFilter = st.session_state[state.FILTER]
    return chosen_filter


def choose(new_filter: PairFilter) -> None:
    """Make this the filter of all pages; a view begins at its first page."""
    st.session_state[state.FILTER] = new_filter
    st.session_state["pairs_view"] = st.session_state.get("pairs_view", 0) + 1


def ready(preview: Preview) -> bool:
    """Whether what the filter asks for is at hand; else it is made meanwhile, and the page says what it waits for."""
    chosen_filter, explorer = chosen(), preview.pairs
    if chosen_filter.group and groups(preview) is None:
        return False
    if chosen_filter.like is not None:
        wanted = chosen_filter.like
        like = ("like", ref(explorer), wanted.to_text())
        if background.made(like, lambda: wanted.of_pairs(explorer), "Looking for the nearest pairs") is None:
            return False
    if chosen_filter.copies is not None:
        copies = chosen_filter.copies
        of_kind = ("copies", copies.kind, ref(preview))
        if background.made(of_kind, lambda: copies.clusters(preview), "Looking for copies") is None:
            return False
        if copies.is_near and preview.near.limit:
            st.caption(f":material/info: {preview.near.limit}")
    text = chosen_filter.text.strip()
    search = ("search", ref(explorer), text)
    matches = not text or background.made(search, lambda: explorer.search(text), "Searching the captions")
    return matches is not None


def groups(preview: Preview) -> Groups | None:
    """Return the groups of the flagged pairs; None while they are made."""
    groups_made: Groups | None = background.made(
        ("groups", ref(preview)),  # not what it is of: another preview of the same has no groups yet
        lambda: preview.groups,
        "Grouping the flagged pairs",
        worker="groups",
    )
    return groups_made


def look_button(label: str, key: str, new_filter: PairFilter, icon: str = ":material/photo_library:") -> None:
    """Offer to make this the filter, and to show what it finds where that can be decided on and exported."""
    if st.button(label, key=key, icon=icon, type="tertiary", on_click=choose, args=[new_filter]):
        address.go("views/pairs.py")


def query() -> dict[str, str]:
    """Return the filter as an address says it."""
    return to_query(chosen())


def controls(preview: Preview) -> None:
    """Draw what changes the filter: each control shows the filter as it stands, whoever changed it."""
    chosen_filter = chosen()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        _stand("show", chosen_filter.show)
        widgets.choice("Show", SHOW, key="show", on_change=_changed, args=["show"])
        _stand("subsets", list(chosen_filter.subsets))
        st.pills(
            "Coarse subset",
            list(SUBSETS),
            format_func=SUBSETS.__getitem__,
            selection_mode="multi",
            key="subsets",
            on_change=_changed,
            args=["subsets"],
        )
        _sort(chosen_filter)
        _stand("text", chosen_filter.text)
        st.text_input(
            "Search",
            placeholder="captions and keys",
            key="text",
            max_chars=200,
            width=190,
            on_change=_changed,
            args=["text"],
        )
        with st.popover("More filters", icon=":material/filter_list:"):
            _more(preview, chosen_filter)


def _sort(chosen_filter: PairFilter) -> None:
    orders = SORT if chosen_filter.like is None else {NEAREST: "nearest first", **SORT}
    stands = (chosen_filter.sort, chosen_filter.descending)
    if chosen_filter.sort == "usual" and (chosen_filter.like is None or not chosen_filter.descending):
        stands = ("z", chosen_filter.descending)
    _stand("sort", stands if stands in orders else ("row", False))
    st.selectbox(
        "Sort by",
        list(orders),
        format_func=orders.__getitem__,
        key="sort",
        width=150,
        on_change=_changed,
        args=["sort"],
    )


def _more(preview: Preview, chosen_filter: PairFilter) -> None:
    _stand(
        "shows", chosen_filter.like.value if chosen_filter.like and chosen_filter.like.kind == "text" else ""
    )
    st.text_input(
        "Pictures that show",
        placeholder="such as: a dog on a beach",
        key="shows",
        max_chars=200,
        on_change=_changed,
        args=["like"],
        help="The 100 pairs whose pictures the audit's encoder finds nearest.",
    )
    _stand("decided", list(chosen_filter.decisions))
    st.pills(
        "Decided",
        DECISIONS,
        format_func=lambda name: name or "undecided",
        selection_mode="multi",
        key="decided",
        on_change=_changed,
        args=["decisions"],
    )
    kind = None if chosen_filter.copies is None else chosen_filter.copies.kind
    _stand("copies", kind)
    st.selectbox(
        "Copies",
        list(COPIES),
        format_func=COPIES.__getitem__,
        key="copies",
        on_change=_changed,
        args=["copies"],
    )
    for name, label, column, bounds in (
        ("c", "Consistency c", preview.pairs.consistency_column, chosen_filter.c),
        ("z", "Textual correlation z", preview.z, chosen_filter.z),
    ):
        low, high = float(np.floor(column.edges[0] * 100) / 100), float(np.ceil(column.edges[-1] * 100) / 100)
        at = bounds or (low, high)
        _stand(f"range_{name}", (max(low, min(at[0], high)), min(high, max(at[1], low))))
        st.session_state[f"whole_{name}"] = (low, high)
        st.slider(label, low, high, step=0.01, key=f"range_{name}", on_change=_changed, args=[name])
    if preview.pairs.has_truth:
        _stand("truth", chosen_filter.truth)
        st.selectbox(
            "Truth",
            list(TRUTH),
            format_func=TRUTH.__getitem__,
            key="truth",
            on_change=_changed,
            args=["truth"],
        )


def _stand(key: str, value: Any) -> None:
    """Let a control show the filter: it may have been changed by a chip, a view, an address or another page."""
    st.session_state[key] = value


def _changed(name: str) -> None:
    """Take over what a control was set to."""
    chosen_filter, values = chosen(), st.session_state
    if name == "sort":
        sort, descending = values["sort"]
        if chosen_filter.like is None and (sort, descending) == ("z", True):
            sort = "usual"  # so that a search for what is like something shows the nearest first
        changed = {"sort": sort, "descending": descending}
    elif name in ("c", "z"):
        bounds = tuple(values[f"range_{name}"])
        changed = {name: None if bounds == values[f"whole_{name}"] else bounds}
    elif name == "like":
        words = values["shows"].strip()
        changed = {name: Like("text", words) if words else None}
    elif name == "copies":
        changed = {name: Copies(values[name]) if values[name] else None}
    elif name == "decisions":
        changed = {name: tuple(values["decided"])}
    elif name == "subsets":
        changed = {name: tuple(values["subsets"])}
    else:
        changed = {name: values[name]}
    with toasts.report_errors():
        choose(replace(chosen_filter, **changed))
