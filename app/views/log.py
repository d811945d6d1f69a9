"""Log: who decided what, when, why and under which settings; undo and redo of any action."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from app import state, toasts, widgets, words
from app.deciding import undo, who
from cfbd_core import Audit
from cfbd_core.audit import log_export
from cfbd_core.store.log import Action
from cfbd_core.wording import plural
from cfbd_core.workbench.action_words import action_words, filter_words, params_words

ACTIONS_A_PAGE = 20


def page() -> None:
    """Draw the page."""
    widgets.head(
        "Log",
        "Every decision on this audit, newest first. Any of them can be undone; where a later one touched the same "
        "pair, the later one stays. Nothing is ever deleted from the log.",
    )
    audit = Audit.open(state.explorer().audit.folder)
    newest = audit.history(1)
    if not newest:
        widgets.empty(
            ":material/history:",
            "No decisions yet",
            "Keep or remove a pair, and it is written down here: who, when, and under which settings.",
            page="views/pairs.py",
            label="Look at the pairs",
        )
        return
    _toolbar(audit, newest[0].id)
    pages = -(-newest[0].id // ACTIONS_A_PAGE)
    number = min(int(st.session_state.get("log_page", 1)), pages)
    st.session_state["log_page"] = number
    actions = audit.history(ACTIONS_A_PAGE, newest[0].id + 1 - (number - 1) * ACTIONS_A_PAGE)
    examples = audit.log.examples([action.id for action in actions])
    zone = _zone()
    with st.container(gap="xsmall", key="log"):
        for action in actions:
            _line(action, examples.get(action.id, []), zone)
    if pages > 1:
        st.pagination(pages, key="log_page", persist_state="session")


def _toolbar(audit: Audit, count: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.markdown(f"**{count:,}** {plural(count, 'action')}", width="content")
        st.caption(
            f"You decide as **{words.escaped(who.name(), 60)}**"
            + ("; give your name in the sidebar." if who.name() == who.NOBODY else "."),
            width="content",
        )
        name = audit.folder.name
        st.download_button(
            "CSV",
            lambda: log_export.as_csv(audit.history()[::-1], spreadsheet_safe=True),
            f"{name}_log.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="log_csv",
        )
        st.download_button(
            "JSON",
            lambda: log_export.as_json(audit.history()[::-1], audit.folder),
            f"{name}_log.json",
            "application/json",
            icon=":material/download:",
            on_click="ignore",
            key="log_json",
        )


def _line(action: Action, examples: list[str], zone: tzinfo) -> None:
    text = _sentence(action, examples, zone)
    with st.container(border=True):
        if action.target is not None:  # an undo or redo: its target's line has the button
            st.html(text)
            return
        text_column, turn = st.columns([8, 1], vertical_alignment="center", gap="small")
        text_column.html(text)
        what = "Redo" if action.undone else "Undo"
        turn.button(
            what,
            key=f"turn_{action.id}",
            icon=f":material/{what.lower()}:",
            on_click=_turn,
            args=[action.id, action.pairs, not action.undone],
            disabled=state.is_read_only(),
        )


def _sentence(action: Action, examples: list[str], zone: tzinfo) -> str:
    """Return the line as HTML."""
    shown = [words.plain(key, 60) for key in examples]
    pairs = ("" if len(shown) == action.pairs else "among them ") + ", ".join(shown)
    by = filter_words(action.filter)
    why = [
        f"“{words.plain(action.note, 300)}”" if action.note else "",
        words.plain(by if action.kind == "import" else f"filter: {by}", 300) if by else "",
        words.plain(params_words(action.params)) if action.params else "",
    ]
    undone = ' <span class="cfbd-tag">undone</span>' if action.undone else ""
    return (
        f'<div class="cfbd-action{" cfbd-undone" if action.undone else ""}">'
        f'<div class="cfbd-when">#{action.id} · {_when(action.time, zone)} · {words.plain(action.who, 60)}</div>'
        f'<div><span class="cfbd-what">{words.plain(action_words(action))}</span>{undone} '
        f'<span class="cfbd-pairs">{pairs}</span></div>'
        f'<div class="cfbd-why">{" · ".join(part for part in why if part)}</div></div>'
    )


def _when(time: datetime, zone: tzinfo) -> str:
    return f"{time.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"


def _zone() -> tzinfo:
    """Return the browser's time zone, else UTC."""
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def _turn(action: int, pairs: int, back: bool) -> None:
    with toasts.report_errors():
        explorer = state.explorer()
        done = (explorer.undo if back else explorer.redo)(action, who=who.name())
        undo.turned(done, pairs)


page()
