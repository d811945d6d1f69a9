"""Pieces that several pages use: sliders with their sentences, the strip of counts, charts, plain text."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
import streamlit as st

from app import hints, state
from app.charts import HEIGHT, Chart, Columns
from app.words import escaped
from cfbd_core.audit.report import evidence_sentence
from cfbd_core.config import SplitParams
from cfbd_core.errors import CfbdError
from cfbd_core.export import spreadsheet_safe
from cfbd_core.machine.registry import Registry
from cfbd_core.workbench.preview import Preview

LEVELS: dict[str, tuple[Literal["green", "orange", "red"], str]] = {
    "none": ("green", ":material/check_circle:"),
    "weak": ("orange", ":material/help:"),
    "strong": ("red", ":material/warning:"),
}
T = TypeVar("T")
PREVIEW = ":orange-badge[:material/edit: Preview]"
UNMARKED = ("Audits", "Attack lab")  # pages that show nothing of what the sliders find
SENTENCES = {
    "k": "How many bell curves are fitted to c. More of them make D_b smaller and purer: **higher is stricter**.",
    "gamma": "How much of the lowest bell curve counts as surely benign. **Lower is stricter**: D_b shrinks.",
    "q": "How many pairs with the largest c serve as the probe D_p. **Lower is stricter**: a purer probe, "
    "but one that a few odd captions can lead astray.",
    "gamma_z": "Pairs whose caption resembles D_p's more than this are flagged. **Lower is stricter**: "
    "more pairs are removed.",
}


def head(title: str, sentence: str) -> None:
    """A page's title, what it is for, and at first what to do on it."""
    with st.container(gap="small"):
        st.title(title, anchor=False)
        st.markdown(sentence)
        if title not in UNMARKED:
            with suppress(CfbdError):  # the page reports it
                _mark()
        hints.show(title)


def _mark() -> None:
    """Say whether a page shows what the audit holds or a preview of this session; at one height, for sliders move."""
    folder = state.audit_folder()
    if folder is None or not state.is_scored(folder):
        return
    if state.is_read_only():
        st.caption(
            f"{PREVIEW if state.is_preview() else ''} :material/lock: Read-only: this audit's folder may not be "
            "written, so nothing can be stored in it."
        )
    elif not state.is_preview():
        st.caption(":material/check: As stored in the audit.")
    elif state.applied() is None:
        st.caption(f"{PREVIEW} No split is stored in this audit yet; *Apply* in the sidebar stores one.")
    else:
        st.caption(
            f"{PREVIEW} Sliders of this session, not what the audit holds; *Apply* in the sidebar stores them, *Reset* "
            "goes back."
        )


def empty(icon: str, title: str, text: str, page: str | None = None, label: str = "Open the audits") -> None:
    """A calm page that says why there is nothing here, and what to do."""
    with st.container(border=True, horizontal_alignment="center", gap="small"):
        st.markdown(f"### {icon} {title}", text_alignment="center", width="content")
        st.markdown(text, text_alignment="center", width="content")
        if page is not None:
            st.page_link(page, label=label, icon=":material/arrow_forward:")


def no_audit() -> None:
    """What a page shows before an audit is opened."""
    sentence = "Open one, or make one of your own pairs."
    empty(":material/folder_open:", "No audit is open", sentence, page="views/audits.py")


def problem(error: Exception) -> None:
    """An error the user can mend: its one line, and a way to try again."""
    st.error(escaped(str(error)), icon=":material/error:")
    st.button("Try again", icon=":material/refresh:", key="try_again")


def evidence_badge(level: str) -> None:
    """How strong the evidence is, in a word and a colour."""
    colour, icon = LEVELS[level]
    st.badge(f"Evidence: {level}", color=colour, icon=icon)


def strip(preview: Preview) -> None:
    """Counts of every subset, what is flagged, and how strong the evidence is."""
    counts, evidence = preview.counts, preview.evidence
    with st.container(horizontal=True, gap="medium", key="strip"):
        for label, number, help_text in (
            ("Pairs", counts.pairs, "All scored pairs of this audit."),
            ("Benign D_b", counts.benign, "Surely benign by the coarse stage: low consistency gap c."),
            ("Suspicious D_s", counts.suspicious, "Neither surely benign nor among the top q."),
            ("Top-q D_p", counts.poisoned, "The probe: the q pairs with the largest c. Not yet a verdict."),
            ("Flagged", counts.flagged, "Pairs that the verdict removes."),
        ):
            st.metric(label, f"{number:,}", help=help_text, width="content")
        with st.container(width=340, gap="xxsmall"):
            evidence_badge(evidence.level)
            st.caption(evidence_sentence(evidence.to_dict()))
    for warning in preview.warnings:
        st.caption(f":material/info: {escaped(warning)}")


def coming() -> None:
    """The room of a chart whose data is still being made."""
    st.skeleton(HEIGHT)


def slider(name: Literal["k", "gamma", "q"], label: str, low: Any, high: Any, step: Any) -> None:
    """One of the coarse stage's sliders, with its sentence; a move changes the shared parameters."""
    key = f"slider_{name}"
    value = getattr(state.params(), name)
    st.session_state[key] = min(max(value, low), high)
    st.slider(label, low, high, step=step, key=key, on_change=_moved, args=[name, key])
    st.caption(SENTENCES[name])


def _moved(name: str, key: str) -> None:
    state.change(**{name: st.session_state[key]})


def chart(drawn: Chart, on_outline: Callable[[], None] | None = None) -> None:
    """A chart, its picture by the camera in its corner (PNG or SVG), its data as CSV.

    With ``on_outline`` places can be outlined; it is called then, and finds what was outlined in the session.
    """
    kind = st.session_state.get("picture_format", "PNG").lower()
    outlines = [] if on_outline else ["select2d", "lasso2d"]
    config = {
        "displaylogo": False,
        "modeBarButtonsToRemove": [*outlines, "autoScale2d", "zoomIn2d", "zoomOut2d"],
        "toImageButtonOptions": {"format": kind, "filename": f"cfbd_{drawn.name}", "scale": 2},
    }
    st.plotly_chart(
        drawn.figure,
        key=f"chart_{drawn.name}",
        config=config,
        alt=drawn.alt,
        on_select=on_outline or "ignore",
        selection_mode=("box", "lasso"),
    )
    with st.container(horizontal=True, horizontal_alignment="right", gap="small"):
        data_button(drawn.name, drawn.data)


def data_button(name: str, columns: Columns) -> None:
    """Offer columns of equal length as a CSV file."""
    st.download_button(
        "Data (CSV)",
        lambda: as_csv(columns),
        f"cfbd_{name}.csv",
        "text/csv",
        key=f"data_{name}",
        type="tertiary",
        icon=":material/table:",
        on_click="ignore",
    )


def choice(label: str, words: Mapping[T, str], *, key: str, default: T | None = None, **how: Any) -> T:
    """Choose one of ``words``, by what each is called; ``how`` are further options of Streamlit's control."""
    chosen: Any = st.segmented_control(
        label, list(words), format_func=words.__getitem__, default=default, required=True, key=key, **how
    )
    value: T = chosen
    return value


def picture_format() -> None:
    """Choose what the camera in a chart's corner saves."""
    st.segmented_control(
        "Charts are saved as",
        ["PNG", "SVG"],
        default="PNG",
        required=True,
        key="picture_format",
        persist_state="session",
        help="Point at a chart and press the camera in its corner.",
    )


def as_csv(columns: Columns) -> bytes:
    """Return columns of equal length as CSV, UTF-8, such that a spreadsheet runs none of their texts."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*map(_cells, columns.values()), strict=True))
    return text.getvalue().encode()


def _cells(values: Sequence[Any] | np.ndarray) -> Iterable[Any]:
    is_text = len(values) > 0 and all(isinstance(value, str) for value in values)
    return spreadsheet_safe(pa.array(values)).to_pylist() if is_text else values


def described(params: SplitParams, gamma_z: float) -> str:
    """Return the sliders in one line."""
    cut = f"{gamma_z:.3f}" if gamma_z < float("inf") else "∞"
    kind = "" if params.gamma_z_rule == "manual" else f" ({params.gamma_z_rule})"
    once = " · duplicates once" if params.collapse_duplicates else ""
    return f"K {params.k} · γ {params.gamma:g} · q {params.q:,} · γ_z {cut}{kind}{once}"


def title_of(offered: Registry[Any], name: str) -> str:
    """An attack or a detector as a list shows it; one of another package that cannot be imported goes by its name."""
    try:
        return str(offered[name].title)
    except CfbdError:
        return name
