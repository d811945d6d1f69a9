"""Files to take home: a button for one that lies on the server, and the pairs that the filter selects as one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import streamlit as st

from app import state, toasts
from app.pairs import filters
from app.settings import AUDITS, EXPORTS
from app.waiting import background
from app.words import escaped
from cfbd_core.machine.files import read_json
from cfbd_core.workbench import slider_query
from cfbd_core.workbench.preview import Preview
from cfbd_core.workbench.selection import Selection, export_selection

MOST_BYTES = 500_000_000  # bytes; more is not for a browser's memory


def place(folder: Path, name: str) -> str:
    """Where files called ``name`` of the audit in ``folder`` go if nobody says otherwise, as a person would type it."""
    audit = state.settings().name(folder).removeprefix(f"{AUDITS}/").lstrip("/")
    return f"{EXPORTS}/{audit}/{name}"


def file_button(out: Path, key: str, mime: str = "application/octet-stream", primary: bool = True) -> None:
    """Offer a file that lies on the server, if a browser can hold it; it is read when the button is pressed."""
    if not os.path.isfile(out):
        st.caption("It lies on the server.")
    elif out.stat().st_size > MOST_BYTES:
        st.caption("The file is too large for a browser; fetch it from the server.")
    else:
        st.download_button(
            f"Download {escaped(out.name)}",
            out.read_bytes,
            out.name,
            mime,
            icon=":material/download:",
            on_click="ignore",
            key=key,
            type="primary" if primary else "secondary",
        )


def warnings(out: Path) -> None:
    """What the reader of the export at ``out`` has to know, as its sidecar says."""
    for warning in (read_json(out.with_name(f"{out.name}.json")) or {}).get("warnings", []):
        st.warning(escaped(warning), icon=":material/warning:")


@dataclass(frozen=True)
class _Request:
    """A selection that was asked for: ``of`` what, after which ``action`` of the log, and where it is written."""

    subject: tuple[Hashable, ...]
    safe: bool
    action: int
    out: Path
    done: bool = False


def selection(preview: Preview, positions: np.ndarray) -> None:
    """Offer the pairs at ``positions`` (m,), those of the filter in its order, as a CSV.

    What was asked for stays on offer while others go on deciding.
    """
    explorer = preview.pairs
    query = slider_query.to_query(preview.params) | filters.query()
    subject = (str(explorer.audit.folder), explorer.version, preview.params.id, *query.items())
    request: _Request | None = st.session_state.get("selection_request")
    usable = len(positions) > 0 or (request is not None and request.subject == subject)
    with st.popover(f"Download these {len(positions):,}", icon=":material/download:", disabled=not usable):
        if not usable:
            return
        st.markdown(
            f"**{len(positions):,}** pairs as a CSV with the columns of an export, as the sliders stand."
        )
        safe = st.toggle(
            "Spreadsheet-safe",
            key="selection_safe",
            help="Puts a quote before cells that a spreadsheet would run as a formula. Leave it off for training.",
        )
        with toasts.report_errors():
            if st.button(
                "Prepare the file", key="selection_prepare", type="primary", disabled=not len(positions)
            ):
                request = _ask(preview, subject, safe)
            if request is not None and (request.subject, request.safe) == (subject, safe):
                _offer(preview, positions, query, request)


def _ask(preview: Preview, subject: tuple[Hashable, ...], safe: bool) -> _Request:
    """Take note of what is asked for now; what this session had written of this audit before is deleted."""
    audit = preview.pairs.audit
    out = state.settings().target(place(audit.folder, f"selection-{uuid4().hex[:12]}.csv"), audit.folder)
    written: list[Path] = st.session_state.setdefault("selection_files", [])
    for old in [old for old in written if old.parent == out.parent]:
        for name in (old, old.with_name(f"{old.name}.json")):
            name.unlink(missing_ok=True)
        shutil.rmtree(old.with_name(f"{old.name}.images"), ignore_errors=True)
    written.append(out)
    request = _Request(subject, safe, preview.pairs.last_action, out)
    st.session_state["selection_request"] = request
    return request


def _offer(preview: Preview, positions: np.ndarray, query: dict[str, str], request: _Request) -> None:
    """Write the file unless it is written, and offer it."""
    if not request.done:
        made = background.made(
            ("selection", request.out),
            lambda: export_selection(
                Selection(preview, positions, query), request.out, spreadsheet_safe=request.safe
            ),
            "Writing the file",
        )
        if made is None:
            return
        st.session_state["selection_request"] = replace(request, done=True)
    file_button(request.out, "selection_download", "text/csv")
    warnings(request.out)
    if preview.pairs.last_action != request.action:
        st.caption(":material/history: It is of before later decisions; prepare it again to have them.")
    st.caption(f"On the server until you prepare another: {escaped(state.settings().name(request.out))}")
