"""Audits: open one, make one from a source, follow the job that makes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from app import running, state, widgets, words
from app.settings import AUDITS, DEPTH
from cfbd_core import Audit
from cfbd_core.audit import DATABASE_NAME
from cfbd_core.errors import CfbdError, ParameterError
from cfbd_core.jobs import Job
from cfbd_core.sources import FORMATS

DEMO = f"{AUDITS}/demo"


def page() -> None:
    """Draw the page."""
    widgets.head(
        "Audits",
        "An audit is a folder: the pairs of one source, their embeddings, scores, and your decisions.",
    )
    folders = state.settings().audits()
    making = [job for job in state.jobs().all() if job.kind in ("run", "demo")]
    unfinished = _newest_unfinished(making)
    for job in unfinished:
        _job(job)
    for folder in folders:
        if folder not in [job.audit for job in unfinished if job.state == "running"]:
            _audit(folder)
    if not folders and not unfinished:
        widgets.empty(
            ":material/folder_off:",
            "No audits yet",
            f"Looked {DEPTH} folders deep in {_roots()}. Start with the demo, or with your own pairs below.",
        )
    _demo(folders)
    _new()


def _roots() -> str:
    return ", ".join(words.escaped(str(root)) for root in state.settings().roots)


def _newest_unfinished(jobs: list[Job]) -> list[Job]:
    """The newest job of each audit, where it is not done."""
    newest = {job.audit: job for job in reversed(jobs)}
    return [job for job in newest.values() if job.state != "done"]


def _job(job: Job) -> None:
    with st.container(border=True):
        st.markdown(f"**{words.escaped(state.settings().name(job.audit))}**")
        running.latest(job.audit, job.kind, lambda _: None)


def _audit(folder: Path) -> None:
    is_open = folder == state.audit_folder()
    with st.container(border=True):
        try:
            status = Audit.open(folder).status()
        except CfbdError as error:
            st.markdown(f"**{words.escaped(state.settings().name(folder))}**")
            st.caption(f":material/error: {words.escaped(str(error))}")
            return
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            with st.container(gap=None, width="content"):
                st.markdown(f"**{words.escaped(state.settings().name(folder))}**")
                st.caption(_line(status))
            if status["mapping"] is None:
                st.badge("half made: run it again to go on", color="orange", icon=":material/pause_circle:")
            elif is_open:
                st.badge("open", color="blue", icon=":material/visibility:")
            else:
                st.button("Open", key=f"open_{folder}", on_click=state.open_audit, args=[folder])
        _details(folder, status)


def _line(status: dict[str, Any]) -> str:
    parts = [f"{status['pairs']:,} pairs"]
    if status["embedding"]:
        parts.append(f"encoder {status['embedding']['encoder']}")
    if status["split"]:
        parts.append(f"evidence {status['split']['evidence']['level']}")
    return words.escaped(" · ".join(parts))


def _details(folder: Path, status: dict[str, Any]) -> None:
    with st.expander("What was read, and what was skipped"):
        if status["source"] is None:
            st.caption("Nothing has been read yet.")
            return
        found = Audit.open(folder).validation_report()
        st.markdown(
            f"**{found['pairs']:,}** pairs from {words.escaped(found['source']['source'])} "
            f"({found['source']['format']}), **{found['skipped']:,}** skipped"
        )
        if found["reasons"]:
            st.dataframe(
                {
                    "step": [reason["stage"] for reason in found["reasons"]],
                    "reason": [reason["reason"] for reason in found["reasons"]],
                    "pairs": [reason["pairs"] for reason in found["reasons"]],
                    "for example": [
                        "; ".join(f"{e['position']} {e['detail'] or ''}" for e in reason["examples"])
                        for reason in found["reasons"]
                    ],
                },
                hide_index=True,
            )
        for warning in (status["health"] or {}).get("warnings", []):
            st.caption(f":material/info: {words.escaped(warning)}")


def _demo(folders: list[Path]) -> None:
    folder = state.settings().home / DEMO
    if folder in folders or any(job.state != "done" for job in state.jobs().of(folder, "demo")[:1]):
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(
            "**The demo**: 3,000 drawn scenes, 60 of them poisoned. About two minutes.", width="stretch"
        )
        if st.button("Make the demo", icon=":material/play_arrow:"):
            _start("demo", folder, ["demo", "--audit", str(folder)])


def _new() -> None:
    st.subheader("Audit your own pairs", anchor=False)
    with st.form("new", border=True):
        source = st.text_input(
            "Source",
            placeholder="data/pairs.csv, data/photos/, data/shards/*.tar …",
            help="A CSV, TSV or Parquet file, WebDataset or img2dataset tars, a folder of images with .txt "
            "captions, a COCO captions file, or a clip-retrieval folder. Inside: " + _roots(),
        )
        name = st.text_input("Name of the audit", placeholder="mine", max_chars=80)
        with st.expander("Options"):
            left, right = st.columns(2)
            kind = left.selectbox("Format", ["auto", *FORMATS])
            captions = right.selectbox("Captions of a record", ["first", "all"])
            image = left.text_input("Image column", placeholder="guessed")
            caption = right.text_input("Caption column", placeholder="guessed")
            encoder = left.text_input("Encoder", placeholder="mini, or NAME/PRETRAINED of open_clip")
        if st.form_submit_button("Start", type="primary", icon=":material/play_arrow:"):
            options = {"--format": kind, "--captions": captions, "--image-col": image, "--caption-col": caption,
                       "--encoder": encoder}  # fmt: skip
            _run(source, name, {flag: value.strip() for flag, value in options.items() if value.strip()})


def _run(source: str, name: str, options: dict[str, str]) -> None:
    try:
        if not name.strip() or Path(name.strip()).name != name.strip() or name.strip().startswith("."):
            raise ParameterError("Name of the audit: give a plain name, such as mine")
        folder = state.settings().inside(f"{AUDITS}/{name.strip()}")
        if (folder / DATABASE_NAME).exists():
            raise ParameterError(f"{name.strip()}: this audit exists already; give another name")
        if "--encoder" in options:
            options["--encoder"] = state.settings().encoder(options["--encoder"])
        found = state.settings().source(source)
    except CfbdError as error:
        st.error(words.escaped(str(error)), icon=":material/error:")
        return
    flags = [f"{flag}={value}" for flag, value in options.items()]
    _start("run", folder, ["run", found, "--audit", str(folder), *flags])


def _start(kind: str, folder: Path, arguments: list[str]) -> None:
    try:
        state.jobs().start(kind, folder, arguments)
    except CfbdError as error:
        st.error(words.escaped(str(error)), icon=":material/error:")
        return
    st.rerun()


page()
