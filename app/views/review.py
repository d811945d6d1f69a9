"""Review: one pair at a time, large, with why it is flagged and what is near it; decided by a key."""

from __future__ import annotations

import base64
import html
import io
import time
from typing import Any

import numpy as np
import streamlit as st

from app import deciding, filters, keys, left, state, undo, widgets
from app.words import escaped, plain
from cfbd_core.errors import AuditError
from cfbd_core.images import BadImage, decode_image, read_image_bytes
from cfbd_core.likeness import Like
from cfbd_core.neighbours import nearest_rows
from cfbd_core.pair_filter import PairFilter
from cfbd_core.preview import Preview
from cfbd_core.review import ControlSample, learn, next_queue
from cfbd_core.score_column import ScoreColumn
from cfbd_core.store.columns import DECISIONS
from cfbd_core.thumbnails import Thumbnails

LARGE = 900  # px, the long side of the picture
NEAR = 4
QUEUE = 40  # pairs learned about at a time
COMPARED = 1_000_000  # pairs, at most, among which neighbours are looked for while one waits
ORDERS = {"filter": "As filtered", "learned": "Learned from you", "control": "Control sample"}
KEYS = {
    "k": "review_keep", "x": "review_remove", "u": "review_unsure", "z": "review_undo", "n": "review_next",
    "ArrowRight": "review_next", "p": "review_previous", "ArrowLeft": "review_previous", "?": "review_help",
}  # fmt: skip
WHY = {
    "riskiest": "the riskiest that is left",
    "undecidable": "your decisions so far do not tell",
    "least consistent": "its picture and caption agree least",
    "control": "drawn at random, to tell how much is left",
}


def page() -> None:
    """Draw the page."""
    widgets.head(
        "Review",
        "One pair at a time. Decide by key and the next one comes; press **?** for the keys.",
    )
    preview = state.preview()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.segmented_control(
            "Order", list(ORDERS), format_func=ORDERS.__getitem__, default="filter", required=True,
            key="review_order", persist_state="session",
            help="As filtered: the pairs of the page Suspicious pairs, in its order. Learned from you: the riskiest "
            "that are left, some that teach most, and some of the control sample, once it is drawn. Control sample: "
            "its pairs alone, which were drawn at random and tell how much is left.",
        )  # fmt: skip
    filters.chips()
    queue = _queue(preview)
    if not len(queue["rows"]):
        _nothing(preview)
        return
    keys.press_buttons(KEYS)
    _one(queue)


def _nothing(preview: Preview) -> None:
    order = st.session_state.get("review_order", "filter")
    if order == "filter":
        title, text = "Nothing to review", "No pair matches the filter. Take a chip out, or show all."
    elif order == "learned":
        title, text = "Nothing to review", "Every pair is decided."
    elif _control(preview) is None:
        title, text = "No control sample yet", "Draw one below, and its pairs come one by one."
    else:
        title, text = "The control sample is done", "Every pair of it was looked at. Draw more to know more."
    widgets.empty(":material/task_alt:", title, text)
    if order != "filter":
        left.panel(preview, "review")


def _control(preview: Preview) -> ControlSample | None:
    """The control sample; one that cannot be read is told by the panel below."""
    try:
        return preview.explorer.control.get()
    except AuditError:
        return None


def _queue(preview: Preview) -> dict[str, Any]:
    """The pairs in their order, as a list that stands while they are decided; another filter makes another."""
    order = st.session_state.get("review_order", "filter")
    explorer = preview.explorer
    control = _control(preview) if order != "filter" else None
    drawn = None if control is None else (control.look, control.drawn)
    made_of = (str(explorer.audit.folder), order, filters.chosen(), preview.params.id, drawn)
    held: dict[str, Any] | None = st.session_state.get("review")
    if held is not None and held["of"] == made_of:
        return held
    reasons: list[str] = []
    if order == "learned":
        positions, reasons, told = _learned(preview, control)
    elif order == "control":
        positions = np.empty(0, np.int64) if control is None else control.pending(explorer.decisions)
        reasons, told = [WHY["control"]] * len(positions), ""
    else:
        positions, told = filters.chosen().positions(preview), ""
    rows = explorer.rows[positions]
    undecided = np.flatnonzero(explorer.decisions[positions] == 0)
    queue = {
        "of": made_of, "rows": rows, "reasons": reasons, "told": told, "at": int(undecided[0]) if len(undecided) else 0,
        "began": time.monotonic(), "made": 0, "acted": {},
    }  # fmt: skip
    st.session_state["review"] = queue
    return queue


def _learned(preview: Preview, control: ControlSample | None) -> tuple[np.ndarray, list[str], str]:
    explorer = preview.explorer
    with st.spinner("Learning from the decisions so far …"):
        risk = learn(preview.review_pairs, explorer.decisions, preview.z.values)
        queue = next_queue(risk, explorer.consistency, explorer.decisions, control, count=QUEUE)
    return queue.positions, [WHY[reason] for reason in queue.reasons], risk.told


@st.fragment
def _one(queue: dict[str, Any]) -> None:
    """One pair; a key runs this part of the page alone."""
    if st.session_state.get("review") is not queue:
        st.rerun()  # the queue is used up: the page makes the next one
    preview = state.preview()
    explorer = preview.explorer
    at = min(queue["at"], len(queue["rows"]) - 1)
    row = int(queue["rows"][at])
    position = int(explorer.positions_of(np.array([row]))[0])
    found = explorer.pairs_at(np.array([position])).to_pylist() if position >= 0 else []
    _progress(preview, queue, at)
    if not found:
        st.info("This pair is no longer in the audit.", icon=":material/info:")
        _buttons(queue, None, "", "")
        return
    pair = found[0]
    decided = DECISIONS[explorer.decisions[position]]
    _buttons(queue, position, pair["key"], decided)
    st.html(_large(preview, position, pair, queue["reasons"][at] if queue["reasons"] else ""))
    if st.session_state.get("review_order", "filter") != "filter":
        left.panel(preview, "review")
    if len(explorer) <= COMPARED:
        _neighbours(preview, position, pair["key"])


def _progress(preview: Preview, queue: dict[str, Any], at: int) -> None:
    explorer = preview.explorer
    positions = explorer.positions_of(queue["rows"])
    done = int((explorer.decisions[positions[positions >= 0]] > 0).sum())
    total = len(queue["rows"])
    minutes = (time.monotonic() - queue["began"]) / 60
    pace = f" · {queue['made'] / minutes:.0f} a minute" if queue["made"] >= 3 and minutes > 0 else ""
    told = f" · {queue['told']}" if queue["told"] else ""
    st.progress(
        done / total,
        text=f"pair {at + 1:,} of {total:,} · {done:,} decided, {total - done:,} left{pace}{told}",
    )


def _buttons(queue: dict[str, Any], position: int | None, key_of: str, decided: str) -> None:
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center", key="review_buttons"):
        for decision, label, key in (
            ("keep", "Keep", "K"),
            ("remove", "Remove", "X"),
            ("unsure", "Unsure", "U"),
        ):
            st.button(
                f"{label}  `{key}`", key=f"review_{decision}", on_click=_decide,
                args=[queue, queue["at"], position, key_of, decision],
                type="primary" if decided == decision else "secondary", disabled=position is None,
            )  # fmt: skip
        st.button("Undo  `Z`", key="review_undo", on_click=_undo, args=[queue], disabled=not undo.undoable())
        st.button("Back  `P`", key="review_previous", on_click=_go, args=[queue, -1], type="tertiary")
        st.button("Next  `N`", key="review_next", on_click=_go, args=[queue, 1], type="tertiary")
        st.button("", key="review_help", icon=":material/help:", on_click=_help, type="tertiary", help="Keys")


def _help() -> None:
    _keys()


@st.dialog("Keys")
def _keys() -> None:
    st.markdown(
        "| key | what it does |\n|---|---|\n"
        "| **K** | keep this pair |\n| **X** | remove it |\n| **U** | unsure: look again later |\n"
        "| **Z** | undo your last action |\n| **N** or **→** | next, undecided or not |\n| **P** or **←** | back |\n"
        "| **?** | this help |\n\nKeys are dead while you type. A decision is stored at once and brings the next "
        "undecided pair."
    )


def _decide(queue: dict[str, Any], at: int, position: int, key: str, decision: str) -> None:
    """Decide on the pair that was shown; a second press that came before the next pair did is none."""
    if at != queue["at"]:
        return
    with state.told():
        told = f"{decision} {escaped(key, 24)}"
        action = deciding.store(np.array([position]), DECISIONS.index(decision), None, None, told)
        queue["acted"][action] = queue["at"]
        queue["made"] += 1
        _to_next_undecided(queue)


def _to_next_undecided(queue: dict[str, Any]) -> None:
    explorer = state.explorer()
    after = explorer.positions_of(queue["rows"][queue["at"] + 1 :])
    open_ones = np.flatnonzero((after >= 0) & (explorer.decisions[after] == 0))
    if len(open_ones):
        queue["at"] += 1 + int(open_ones[0])
    elif st.session_state.get("review_order") == "learned":
        st.session_state.pop("review", None)  # the next ones are learned anew
    else:
        queue["at"] = min(queue["at"] + 1, len(queue["rows"]) - 1)


def _undo(queue: dict[str, Any]) -> None:
    with state.told():
        queue["at"] = queue["acted"].pop(undo.undo_last(), queue["at"])


def _go(queue: dict[str, Any], step: int) -> None:
    queue["at"] = max(0, min(queue["at"] + step, len(queue["rows"]) - 1))


# --- what is shown -----------------------------------------------------------------------------------------


def _large(preview: Preview, position: int, pair: dict[str, Any], reason: str) -> str:
    explorer = preview.explorer
    z, c = float(preview.z.values[position]), float(explorer.consistency[position])
    verdict = "flagged" if preview.flagged[position] else "not flagged"
    tags = [f'<span class="cfbd-tag {"cfbd-flag" if preview.flagged[position] else ""}">{verdict}</span>']
    if pair["poisoned"] is not None:
        tags.append(
            f'<span class="cfbd-tag cfbd-truth">known {"poison" if pair["poisoned"] else "clean"}</span>'
        )
    if reason:
        tags.append(f'<span class="cfbd-tag">{html.escape(reason)}</span>')
    cut = preview.gamma_z.value
    return (
        f'<div class="cfbd-review"><div class="cfbd-large">{_picture(preview, pair)}</div><div>'
        f'<div class="cfbd-said">{plain(pair["caption"], 2000)}</div>'
        f'<div class="cfbd-tags">{"".join(tags)}</div>'
        f'<div class="cfbd-label">z {z:.3f}: how much the caption is like those of D_p; flagged above {cut:.3f}</div>'
        f"{_histogram(preview.z, z, cut)}"
        f'<div class="cfbd-label">c {c:.3f}: how far the caption is from what the picture suggests</div>'
        f"{_histogram(explorer.consistency_column, c, None)}"
        f'<div class="cfbd-scores">{plain(pair["key"], 80)}</div></div></div>'
    )


def _picture(preview: Preview, pair: dict[str, Any]) -> str:
    """The picture as large as it is, up to LARGE; where it is gone, its thumbnail and why."""
    note = ""
    if pair["image"] is not None:
        try:
            picture = decode_image(read_image_bytes(pair["image"], pair["image_offset"], pair["image_size"]))
            picture.thumbnail((LARGE, LARGE))
            buffer = io.BytesIO()
            picture.save(buffer, "WEBP", quality=85, method=0)
            return f'<img alt="" src="data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
        except BadImage as bad:
            note = str(bad)
    (small,) = Thumbnails(preview.explorer.audit.folder).get(
        [(pair["image"], pair["image_offset"], pair["image_size"])]
    )
    note = f'<div class="cfbd-gone">{html.escape(small.reason or note)}</div>'
    if small.data is None:
        return note
    return f'<img alt="" src="data:image/webp;base64,{base64.b64encode(small.data).decode()}">{note}'


def _histogram(column: ScoreColumn, value: float, cut: float | None) -> str:
    """All pairs' values as a strip, with this pair's place and the cut."""
    counts = np.bincount(column.bins, minlength=161)[:160].astype(float)
    heights = np.log1p(counts) / max(np.log1p(counts).max(), 1e-9) * 30
    low, high = float(column.edges[0]), float(column.edges[-1])
    bars = "".join(
        f'<rect x="{place}" y="{34 - height:.1f}" width="1" height="{height:.1f}"/>'
        for place, height in enumerate(heights)
        if height > 0
    )

    def mark(at: float, colour: str, width: float) -> str:
        x = (min(max(at, low), high) - low) / (high - low) * 160
        return f'<rect x="{x - width / 2:.2f}" y="0" width="{width}" height="34" fill="{colour}"/>'

    marks = mark(cut, "#777777", 0.6) if cut is not None and np.isfinite(cut) else ""
    marks += mark(value, "#D55E00", 1.6) if np.isfinite(value) else ""
    drawn = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 34" preserveAspectRatio="none" width="160" '
        'height="34">'
        f'<g fill="#999999" opacity="0.55">{bars}</g>{marks}</svg>'
    )
    # As a picture: the page's sanitiser takes drawings out.
    encoded = base64.b64encode(drawn.encode()).decode()
    told = "all pairs, this one marked"
    return f'<div class="cfbd-where"><img alt="{told}" src="data:image/svg+xml;base64,{encoded}"></div>'


def _neighbours(preview: Preview, position: int, key: str) -> None:
    """What is near by picture among kept pairs, and near by caption among all."""
    explorer = preview.explorer
    row = int(explorer.rows[position])
    total = sum(len(shard) for shard in explorer.texts)
    kept = np.zeros(total, bool)
    kept[explorer.rows[~preview.removed()]] = True
    by_image = nearest_rows(explorer.images, row, NEAR, kept)
    by_caption = nearest_rows(explorer.texts, row, NEAR)
    for kind, title, rows in (
        ("image", "Kept pairs with similar pictures say", by_image),
        ("caption", "Pairs with similar captions show", by_caption),
    ):
        st.html(f'<div class="cfbd-label">{title}</div>' + _small(preview, rows))
        if st.button("Show the 100 nearest", key=f"like_{kind}", icon=":material/search:", type="tertiary"):
            filters.choose(PairFilter(show="all", like=Like(kind, key)))  # type: ignore[arg-type]
            st.switch_page("views/pairs.py")


def _small(preview: Preview, rows: np.ndarray) -> str:
    explorer = preview.explorer
    positions = explorer.positions_of(rows)
    pairs = explorer.pairs_at(positions[positions >= 0]).to_pylist()
    pictures = Thumbnails(explorer.audit.folder).get(
        [(pair["image"], pair["image_offset"], pair["image_size"]) for pair in pairs]
    )
    cards = []
    for pair, picture in zip(pairs, pictures, strict=True):
        shown = html.escape(picture.reason or "")
        if picture.data is not None:
            shown = f'<img alt="" src="data:image/webp;base64,{base64.b64encode(picture.data).decode()}">'
        cards.append(
            f'<div class="cfbd-near"><div class="cfbd-tile">{shown}</div>'
            f'<div class="cfbd-nearsaid">{plain(pair["caption"], 140)}</div></div>'
        )
    return (
        f'<div class="cfbd-nears">{"".join(cards)}</div>' if cards else '<div class="cfbd-scores">none</div>'
    )


page()
