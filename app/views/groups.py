"""Suspected targets: flagged pairs grouped by what their captions say, a card a group."""

from __future__ import annotations

import io
from typing import Literal
from weakref import ref

import numpy as np
import streamlit as st
from PIL import Image

from app import widgets
from app.deciding import deciding, undo
from app.pairs import filters
from app.pairs.tiles import tile
from app.waiting import background, previews
from app.words import escaped, plain
from cfbd_core.groups.group import Group
from cfbd_core.groups.trigger_estimate import TriggerEstimate
from cfbd_core.pictures.images import data_url
from cfbd_core.pictures.thumbnails import Thumbnails
from cfbd_core.review import GroupRisk, Risk, learn, riskiest_first
from cfbd_core.wording import plural
from cfbd_core.workbench.groups import Groups
from cfbd_core.workbench.pair_filter import NO_GROUP, PairFilter
from cfbd_core.workbench.preview import Preview

GROUPS_A_PAGE = 8
ORDERS = {"largest": "Largest first", "riskiest": "Riskiest first"}
PICTURES_A_CARD = 8  # pictures of a card
KINDS: dict[str, tuple[Literal["red", "green", "blue", "gray"], str]] = {
    "poison-like": ("red", ":material/warning:"),
    "benign topic": ("green", ":material/check_circle:"),
    "duplicates": ("blue", ":material/content_copy:"),
    "unclear": ("gray", ":material/help:"),
}
FRAME = (213, 94, 0)  # round a patch, on a picture


def page() -> None:
    """Draw the page."""
    widgets.head(
        "Suspected targets",
        "Flagged pairs, grouped by what their captions say. Poison has alike captions beside unlike pictures; a benign "
        "topic has both alike. Decide on a whole group, or look into it first.",
    )
    preview = previews.shown()
    if preview is None:
        return
    if not preview.flagged.any():
        widgets.empty(
            ":material/check_circle:",
            "Nothing is flagged",
            "No caption stands out as those of poisoned pairs do, so there is nothing to group. That is what clean "
            "data looks like.",
        )
        return
    groups = filters.groups(preview)
    if groups is None:
        return
    singles = len(groups.singles)
    together = sum(len(group) for group in groups.groups)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        widgets.choice(
            "Order",
            ORDERS,
            default="largest",
            key="groups_order",
            persist_state="session",
            label_visibility="collapsed",
            help="Riskiest: by what you removed and kept so far, the groups that you would most likely remove first; "
            "those that are decided come last.",
        )
        st.markdown(
            f"**{together:,}** flagged pairs in **{len(groups):,}** {plural(len(groups), 'group')}; "
            f"**{singles:,}** like no other",
            width="content",
        )
        if len(groups.ungrouped):
            filters.look_button(
                "Look at those in no group", "look_ungrouped", PairFilter(show="all", group=NO_GROUP)
            )
        undo.buttons()
    if groups.limit:
        st.caption(f":material/info: {groups.limit}")
    shown = _in_order(preview, groups)
    if shown is None:
        return
    pages = max(1, -(-len(groups) // GROUPS_A_PAGE))
    number = min(int(st.session_state.get("groups_page", 1)), pages)
    st.session_state["groups_page"] = number  # the last page may have gone with its last group
    for group, risk in shown[(number - 1) * GROUPS_A_PAGE : number * GROUPS_A_PAGE]:
        _card(preview, group, groups.number(group), risk)
    if pages > 1:
        st.pagination(pages, key="groups_page", persist_state="session")


def _in_order(preview: Preview, groups: Groups) -> list[tuple[Group, str]] | None:
    """Return the groups, each with what is said of its risk; None while the risk is worked out."""
    if st.session_state.get("groups_order", "largest") != "riskiest":
        return [(group, "") for group in groups.groups]
    explorer = preview.pairs

    def make() -> tuple[list[GroupRisk], Risk]:
        decisions = explorer.decisions
        risk = learn(preview.review_pairs, decisions, preview.z.values)
        return riskiest_first(groups.groups, risk, decisions), risk

    name = ("group risk", ref(preview), explorer.last_action)
    order_and_risk: tuple[list[GroupRisk], Risk] | None = background.made(
        name, make, "Learning from the decisions so far"
    )
    if order_and_risk is None:
        return None
    ranked, risk = order_and_risk
    st.caption(f":material/model_training: {risk.sentence}")
    return [(one.group, _risk_text(one, risk)) for one in ranked]


def _risk_text(one: GroupRisk, risk: Risk) -> str:
    if not one.undecided:
        return "all decided"
    if one.risk is None:
        return ""
    return (
        f"{one.risk:.0%} likely to be removed" if risk.learned else f"mean z of what is left {one.risk:.2f}"
    )


def _card(preview: Preview, group: Group, number: int, risk: str) -> None:
    colour, icon = KINDS[group.kind]
    decided = preview.pairs.decisions[group.positions]
    with st.container(border=True, key=f"group_{group.medoid}"):
        with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
            st.markdown(f"#### {number}. {escaped(group.name, 80)}", width="content")
            st.badge(group.kind, color=colour, icon=icon)
            st.markdown(f"**{len(group):,}** pairs", width="content")
            if (decided > 0).any():
                st.caption(f"{int((decided > 0).sum()):,} decided", width="content")
            if risk:
                st.caption(risk, width="content")
        st.markdown(escaped(group.sentence))
        st.html(
            _strip(preview, group.samples[:PICTURES_A_CARD])
            + f'<div class="cfbd-typical">{plain(group.caption, 160)}</div>'
        )
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            deciding.on_all(
                group.positions,
                f"group_{group.medoid}",
                {"show": "all", "group": group.id},
                f"group {number}, “{group.name}”",
            )
            filters.look_button(
                "Look at them", f"look_{group.medoid}", PairFilter(show="all", group=group.id)
            )
            st.toggle("What do the pictures share?", key=f"share_{group.medoid}")
            st.caption(group.numbers, width="content")
        if st.session_state.get(f"share_{group.medoid}"):
            _shared(preview, group)


def _strip(preview: Preview, positions: np.ndarray) -> str:
    """Pictures of a group side by side, each with its caption as its title."""
    pairs = preview.pairs.pairs_at(positions).to_pylist()
    pictures = Thumbnails(preview.pairs.audit.folder).of_pairs(preview.pairs.audit.shards, pairs)
    tiles = [tile(picture, pair["caption"][:300]) for pair, picture in zip(pairs, pictures, strict=True)]
    return f'<div class="cfbd-strip">{"".join(tiles)}</div>'


def _shared(preview: Preview, group: Group) -> None:
    """The estimate of the trigger."""
    explorer = preview.pairs
    estimate: TriggerEstimate | None = background.made(
        ("trigger", str(explorer.audit.folder), explorer.version, preview.params.id, group.id),
        lambda: preview.trigger_estimate(group),
        "Comparing the pictures with kept ones",
    )
    if estimate is None:
        return
    icon = ":material/search:" if estimate.seen else ":material/search_off:"
    st.markdown(
        f"{icon} **{escaped(estimate.kind if estimate.seen else 'No trigger seen')}** – {escaped(estimate.reason)}"
    )
    looked = f"{estimate.pictures} pictures of the group against {estimate.control} kept ones"
    st.caption(looked + (f"; {estimate.missing} could not be read" if estimate.missing else ""))
    figures = [
        ("Mean picture", estimate.mean),
        ("What is left of it beside kept pictures", estimate.residual),
        ("What repeats", estimate.zoom),
    ]
    shown = [(words, array) for words, array in figures if array is not None]
    shown += [
        ("Found here", _framed(picture, box))
        for picture, box in zip(estimate.samples[:4], estimate.sample_boxes[:4], strict=True)
        if estimate.seen and box[2:].all()
    ]
    st.html(
        '<div class="cfbd-shared">'
        + "".join(
            f'<figure><img alt="" src="{_png(array)}"><figcaption>{words}</figcaption></figure>'
            for words, array in shown
        )
        + "</div>"
    )


def _framed(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the picture with a frame round the box (left, top, width, height)."""
    framed = picture.copy()
    left, top = (max(int(value) - 2, 0) for value in box[:2])
    right, bottom = int(box[0] + box[2]) + 2, int(box[1] + box[3]) + 2
    for rows, columns in (
        (slice(top, top + 2), slice(left, right)),
        (slice(bottom - 2, bottom), slice(left, right)),
        (slice(top, bottom), slice(left, left + 2)),
        (slice(top, bottom), slice(right - 2, right)),
    ):
        framed[rows, columns] = FRAME
    return framed


def _png(array: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return data_url(buffer.getvalue(), "png")


page()
