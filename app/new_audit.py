"""The ways to a new audit: the demo, or a source of one's own; each is a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from app import state, words
from app.settings import AUDITS
from cfbd_core.audit import DATABASE_NAME
from cfbd_core.config import MAX_K, SplitParams
from cfbd_core.errors import CfbdError, ParameterError
from cfbd_core.sources import FORMATS

DEMO = f"{AUDITS}/demo"
FIRST = SplitParams()  # what the sliders begin at


def offer_demo(folders: list[Path]) -> None:
    """Offer to make the demo, unless it is there or being made."""
    folder = state.settings().home / DEMO
    if folder in folders or any(job.state != "done" for job in state.jobs().of(folder, "demo")[:1]):
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(
            "**The demo**: 3,000 drawn scenes, 60 of them poisoned. About two minutes.", width="stretch"
        )
        if st.button("Make the demo", icon=":material/play_arrow:"):
            _start("demo", folder, ["demo", "--audit", str(folder)])


def form() -> None:
    """Ask for a source, and start the job that makes its audit."""
    st.subheader("Audit your own pairs", anchor=False)
    with st.form("new", border=True):
        source = st.text_input(
            "Source",
            placeholder="data/pairs.csv, data/photos/, data/shards/*.tar …",
            help="A CSV, TSV or Parquet file, WebDataset or img2dataset tars, a folder of images with .txt "
            "captions, a COCO captions file, or a clip-retrieval folder. Inside: " + roots(),
        )
        name = st.text_input("Name of the audit", placeholder="mine", max_chars=80)
        with st.expander("Options"):
            left, right = st.columns(2)
            kind = left.selectbox("Format", ["auto", *FORMATS])
            captions = right.selectbox("Captions of a record", ["first", "all"])
            left, right = st.columns(2)
            image = left.text_input("Image column", placeholder="guessed")
            caption = right.text_input("Caption column", placeholder="guessed")
            encoder = st.text_input("Encoder", placeholder="mini, or NAME/PRETRAINED of open_clip")
            left, right = st.columns(2)
            q = left.number_input(
                "q, pairs in D_p",
                1,
                value=FIRST.q,
                help="At most as many as there are pairs; a slider later.",
            )
            k = right.number_input(
                "K, curves fitted to c", 1, MAX_K, value=FIRST.k, help="A slider later, as are γ and γ_z."
            )
        if st.form_submit_button("Start", type="primary", icon=":material/play_arrow:"):
            options = {"--format": kind, "--captions": captions, "--image-col": image, "--caption-col": caption,
                       "--encoder": encoder, "--q": str(q), "--k": str(k)}  # fmt: skip
            _run(source, name, {flag: value.strip() for flag, value in options.items() if value.strip()})


def go_on(folder: Path, status: dict[str, Any]) -> None:
    """Start the job that finishes a half-made audit, with the source and the options that it was begun with."""
    with state.told():
        held, pairs = status["source"], status["pairs"]
        found = state.settings().source(held["source"])
        options = {f"--{name.replace('_', '-')}": value for name, value in held["options"].items() if value}
        if pairs < FIRST.q:
            options["--q"] = str(max(1, pairs // 10))
        flags = [f"{flag}={value}" for flag, value in options.items()]
        state.jobs().start("run", folder, ["run", found, "--audit", str(folder), *flags])


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


def roots() -> str:
    """The folders that the server was started with, as Markdown."""
    return ", ".join(words.escaped(str(root)) for root in state.settings().roots)
