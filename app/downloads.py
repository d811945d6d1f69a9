"""Files to take home: a button for one that lies on the server, and the pairs that the filter selects as one."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import streamlit as st

from app import background, filters, state
from app.settings import AUDITS, EXPORTS
from app.words import escaped
from cfbd_core import slider_query
from cfbd_core.preview import Preview
from cfbd_core.selection import export_selection

MOST = 500_000_000  # bytes; more is not for a browser's memory


def place(folder: Path, name: str) -> str:
    """Where files called ``name`` of the audit in ``folder`` go if nobody says otherwise, as a person would type it."""
    audit = state.settings().name(folder).removeprefix(f"{AUDITS}/").lstrip("/")
    return f"{EXPORTS}/{audit}/{name}"


def file_button(out: Path, key: str, mime: str = "application/octet-stream", primary: bool = True) -> None:
    """Offer a file that lies on the server, if a browser can hold it; it is read when the button is pressed."""
    if not os.path.isfile(out):
        st.caption("It lies on the server.")
    elif out.stat().st_size > MOST:
        st.caption("The file is too large for a browser; fetch it from the server.")
    else:
        st.download_button(
            f"Download {escaped(out.name)}", out.read_bytes, out.name, mime, icon=":material/download:",
            on_click="ignore", key=key, type="primary" if primary else "secondary",
        )  # fmt: skip


def selection(preview: Preview, positions: np.ndarray) -> None:
    """Offer the pairs at ``positions`` (m,), those of the filter in its order, as a CSV."""
    with st.popover(
        f"Download these {len(positions):,}", icon=":material/download:", disabled=not len(positions)
    ):
        if not len(positions):
            return
        st.markdown(
            f"**{len(positions):,}** pairs as a CSV with the columns of an export, as the sliders stand."
        )
        safe = st.toggle(
            "Spreadsheet-safe",
            key="selection_safe",
            help="Puts a quote before cells that a spreadsheet would run as a formula. Leave it off for training.",
        )
        audit = preview.explorer.audit
        query = slider_query.to_query(preview.params) | filters.address()
        wanted = (
            str(audit.folder),
            preview.explorer.version,
            preview.params.id,
            *query.items(),
            audit.stamp(),
            safe,
        )
        if st.button("Prepare the file", key="selection_prepare", type="primary"):
            st.session_state["selection_wanted"] = wanted
        if st.session_state.get("selection_wanted") != wanted:
            return
        name = f"selection-{hashlib.sha256(repr(wanted).encode()).hexdigest()[:12]}.csv"
        with state.told():
            out = state.settings().target(place(audit.folder, name), audit.folder)
            made = background.made(
                ("selection", wanted),
                lambda: export_selection(preview, positions, query, out, spreadsheet_safe=safe),
                "Writing the file",
            )
            if made is not None:
                file_button(out, "selection_download", "text/csv")
                st.caption(f"On the server: {escaped(state.settings().name(out))}")
