"""One pair of a review: large, with what is near it, and the keys that decide on it and bring the next."""

from __future__ import annotations

import time
import zlib
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any
from weakref import ref

import numpy as np
import streamlit as st

from app import state, toasts
from app.deciding import deciding, undo, who
from app.pairs import keys, left, near, pair_view, review_order
from app.pairs.review_queue import ReviewQueue
from cfbd_core.store.columns import DECISIONS
from cfbd_core.workbench.preview import Preview
from cfbd_core.workbench.scored_pairs import ScoredPairs

KEYS = {
    "z": "review_undo",
    "n": "review_next",
    "ArrowRight": "review_next",
    "p": "review_previous",
    "ArrowLeft": "review_previous",
    "?": "review_help",
    "w": "review_note_",
}
MOVES = ("review_undo", "review_next", "review_previous")
CHOICES = {"k": ("keep", "Keep"), "x": ("remove", "Remove"), "u": ("unsure", "Unsure")}
PAIRS_AHEAD = 6  # pairs that the page holds ready beside the one that is shown
MOST_PRESSES = 200  # presses


def show(queue: ReviewQueue) -> None:
    """Draw the pair where the queue stands, and let keys press its buttons."""
    _one(queue)


def undo_button() -> None:
    """Offer to undo what was decided here where no pair is left to show."""
    if _acted():
        keys.listen(
            keys.KeyMap({"z": "review_undo"}, {}),
            _subject(state.explorer()),
            [],
            list(_done()),
            _decide_on_pressed,
        )
        st.button("Undo  `Z`", key="review_undo", on_click=_undo, args=[None])


@toasts.fragment()
def _one(queue: ReviewQueue) -> None:
    """One pair; a key runs this part of the page alone."""
    if queue.is_over and review_order.chosen() != "filter":
        st.session_state.pop("review", None)  # what comes next is learned or drawn anew
    if st.session_state.get("review") is not queue:
        st.rerun()  # the queue is used up: the page makes the next one
    preview = state.preview()
    explorer = preview.pairs
    ready = [] if queue.is_over else _ready(queue, preview)
    is_here = bool(ready) and ready[0][0] == queue.position(explorer)
    pairs = ready if is_here else []
    _progress(queue, preview)
    _buttons(queue, _Shown.from_pair(explorer, *pairs[0]) if pairs else None)
    _listen(explorer, pairs)
    if queue.is_over:
        st.success(
            "Every pair of this queue is decided. Back shows the last ones again.", icon=":material/task_alt:"
        )
        return
    if not pairs:
        st.info("This pair is no longer in the audit.", icon=":material/info:")
        return
    with st.container(key="review_one"):
        _draw(queue, preview, pairs)


def _ready(queue: ReviewQueue, preview: Preview) -> list[tuple[int, dict[str, Any]]]:
    """The pair where the queue stands and those after it, each with its position; without those that are gone."""
    explorer = preview.pairs
    positions = [queue.position(explorer), *queue.following(explorer, PAIRS_AHEAD)]
    there = [position for position in positions if position >= 0]
    by_row = {pair["row"]: pair for pair in explorer.pairs_at(np.array(there, np.int64)).to_pylist()}
    rows = explorer.rows[there].tolist()
    return [(position, by_row[row]) for position, row in zip(there, rows, strict=True) if row in by_row]


def _listen(explorer: ScoredPairs, pairs: list[tuple[int, dict[str, Any]]]) -> None:
    pairs_here: list[keys.Pair] = [
        {"row": pair["row"], "key": pair["key"], "seen": DECISIONS[explorer.decisions[position]]}
        for position, pair in pairs
    ]
    decisions = {} if state.is_read_only() else {key: decision for key, (decision, _) in CHOICES.items()}
    pressed = keys.KeyMap(KEYS, decisions, MOVES)
    keys.listen(pressed, _subject(explorer), pairs_here, list(_done()), _decide_on_pressed)


def _subject(explorer: ScoredPairs) -> str:
    """Return what a press is for: rows are those of one audit, as it was read once."""
    return f"{explorer.audit.folder} {explorer.version}"


def _draw(queue: ReviewQueue, preview: Preview, pairs: list[tuple[int, dict[str, Any]]]) -> None:
    """The pairs, of which the browser shows the one that comes next, and what is near the first."""
    (position, pair), *ahead = pairs
    with st.container(key="review_pairs"):
        st.html(_drawn(preview, position, pair, queue.reason_of(pair["row"])))
        with st.container(key="review_ahead"):
            for place, one in ahead:
                st.html(_drawn(preview, place, one, queue.reason_of(one["row"])))
    with st.container(key="review_near"):
        if review_order.chosen() != "filter":
            left.panel(preview, "review")
        near.panel(preview, position, pair["key"], ahead[0][0] if ahead else None)


def _drawn(preview: Preview, position: int, pair: dict[str, Any], reason: str) -> str:
    """Return a pair as HTML; those drawn last are kept, as each is drawn again until it was decided on."""
    drawings: OrderedDict[Hashable, str] = st.session_state.setdefault("review_drawn", OrderedDict())
    name = (ref(preview), pair["row"], reason)
    if name not in drawings:
        drawings[name] = pair_view.large(preview, position, pair, reason)
    drawings.move_to_end(name)
    while len(drawings) > 2 * (1 + PAIRS_AHEAD):
        drawings.popitem(last=False)
    return drawings[name]


def _progress(queue: ReviewQueue, preview: Preview) -> None:
    done, total = queue.decided(preview.pairs), len(queue)
    minutes = (time.monotonic() - queue.began) / 60
    pace = f" · {queue.made / minutes:.0f} a minute" if queue.made >= 3 and minutes > 0 else ""
    note = f" · {queue.note}" if queue.note else ""
    st.progress(
        done / total,
        text=f"pair {queue.at + 1:,} of {total:,} · {done:,} decided, {total - done:,} left{pace}{note}",
    )


@dataclass(frozen=True)
class _Shown:
    """What a person sees of the pair that they decide on: row, key, what stands for it, and the note with that."""

    row: int
    key: str
    decided: str
    note: str

    @classmethod
    def from_pair(cls, explorer: ScoredPairs, position: int, pair: dict[str, Any]) -> _Shown:
        decided = DECISIONS[explorer.decisions[position]]
        notes = explorer.audit.columns.notes_of(explorer.rows[[position]]) if decided else [None]
        return cls(pair["row"], pair["key"], decided, notes[0] or "")


def _buttons(queue: ReviewQueue, shown: _Shown | None) -> None:
    st.session_state["review_shown"] = shown
    is_dead = shown is None or state.is_read_only()
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center", key="review_buttons"):
        for key, (decision, label) in CHOICES.items():
            # A button of this pair alone: a click that comes late must not be taken for one on the next.
            st.button(
                f"{label}  `{key.upper()}`",
                key=f"review_decide_{decision}_{queue.row}",
                on_click=_decide_here,
                args=[queue, queue.at, shown, decision],
                type="primary" if shown and shown.decided == decision else "secondary",
                disabled=is_dead,
            )
        st.button("Undo  `Z`", key="review_undo", on_click=_undo, args=[queue], disabled=not _acted())
        st.button("Back  `P`", key="review_previous", on_click=queue.go, args=[-1], type="tertiary")
        st.button("Next  `N`", key="review_next", on_click=queue.go, args=[1], type="tertiary")
        if st.button("", key="review_help", icon=":material/help:", type="tertiary", help="Keys"):
            _keys()
        if shown is not None and not is_dead:
            st.text_input(
                "Note",
                shown.note,
                key=_note_of(shown),
                max_chars=200,
                width=260,
                label_visibility="collapsed",
                placeholder="Note  (W)",
                icon=":material/edit_note:",
            )


def _note_of(shown: _Shown) -> str:
    """The key of the field for a pair's note: of this pair and the note that it began with, else that of a colleague
    would not be seen, and what stands there would be taken for a change of it.
    """
    return f"review_note_{shown.row}_{zlib.crc32(shown.note.encode()):08x}"


@st.dialog("Keys")
def _keys() -> None:
    st.markdown(
        "| key | what it does |\n|---|---|\n"
        "| **K** | keep this pair |\n| **X** | remove it |\n| **U** | unsure: look again later |\n"
        "| **Z** | undo your last action |\n| **N** or **→** | next, undecided or not |\n| **P** or **←** | back |\n"
        "| **W** | write a note, which goes with your decision; **Enter** ends it |\n| **?** | this help |\n\n"
        "Keys are dead while you type. A decision brings the next undecided pair at once and is stored meanwhile. It "
        "is for the picture that you see; a key that comes before its picture is not taken, and the page says so."
    )


# --- decisions -----------------------------------------------------------------------------------------


def _acted() -> dict[int, int]:
    """Return what was decided here in this session: the actions of the log, and the row of each one's pair."""
    actions: dict[int, int] = st.session_state.setdefault("review_acted", {})
    return actions


def _done() -> deque[str]:
    """Return the presses that came and that are stored or refused, by their ids."""
    presses: deque[str] = st.session_state.setdefault("review_presses", deque(maxlen=MOST_PRESSES))
    return presses


def _decide_on_pressed() -> None:
    """Decide on what was pressed in the browser, each press once, in its order; see :func:`_decide`.

    A newer run of the page may get a press that an older one is still taking in: hence the lock.
    """
    queue: ReviewQueue | None = st.session_state.get("review")
    shown: _Shown | None = st.session_state.get("review_shown")
    subject, done, lock = _subject(state.explorer()), _done(), undo.steps().lock
    for press in st.session_state["review_keys"]["decide"]:
        with lock:
            if press["id"] in done or press["subject"] != subject:
                continue
            is_shown = shown is not None and shown.row == press["row"]
            seen = shown if is_shown and shown else _Shown(press["row"], press["key"], press["seen"], "")
            _decide(queue, seen, press["decision"], _noted(seen) if is_shown else None)
            done.append(press["id"])


def _decide_here(queue: ReviewQueue, at: int, shown: _Shown, decision: str) -> None:
    """Decide by a button itself, where no script hears it; a second press before the next pair is none."""
    with undo.steps().lock:
        if at == queue.at and not queue.is_over:
            _decide(queue, shown, decision, _noted(shown))


def _noted(shown: _Shown) -> str | None:
    """The note that was written; None where it is as it was seen: what someone else has noted meanwhile stays."""
    note = " ".join(str(st.session_state.get(_note_of(shown)) or "").split())
    return None if note == shown.note else note


def _decide(queue: ReviewQueue | None, shown: _Shown, decision: str, note: str | None) -> None:
    """Decide on a pair as it was shown, and let the queue go on if it stands there.

    After the store nothing is asked of Streamlit, which might end the run there.
    """
    acted, explorer = _acted(), state.explorer()
    with undo.steps().lock, toasts.report_errors():
        done = deciding.on_one(shown.row, shown.key, decision, shown.decided, note)
        acted[done.id] = shown.row
        if queue is not None:
            queue.made += 1
            if not queue.is_over and queue.row == shown.row:
                queue.go_on(explorer)


def _undo(queue: ReviewQueue | None) -> None:
    """Undo the last decision that was made here; what was done elsewhere is undone there, where it is seen."""
    acted, explorer, by, steps = _acted(), state.explorer(), who.name(), undo.steps()
    with steps.lock, toasts.report_errors():
        last, _ = steps.around(explorer.undone)
        if last is None or last.action not in acted:
            toasts.add(
                "Your last action was on another page; undo it there or in the Log.", ":material/info:"
            )
            return
        if queue is None:
            st.session_state.pop("review", None)  # nothing was left, and something will be
        done = explorer.undo(last.action, who=by)
        row = acted.pop(last.action)
        if queue is not None:
            queue.go_to(row)
        undo.turned(done, last.pairs)
