"""The ways to a new audit: the demo, or a source of one's own; each is a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from app import state, words
from app.settings import AUDITS
from cfbd_core.config import MAX_K, SplitParams
from cfbd_core.errors import CfbdError, ParameterError
from cfbd_core.machine.places import DATABASE_NAME
from cfbd_core.sources import FORMATS

DEMO = f"{AUDITS}/demo"
FIRST = SplitParams()  # what the sliders begin at
CHANGED = "changed"  # in the session: the folder of the audit whose options the form changes
OPTIONS: dict[str, Any] = {
    "format": "auto",
    "captions": "first",
    "image_col": "",
    "caption_col": "",
    "label_col": "",
    "image_root": "",
    "encoder": "",
    "q": FIRST.q,
    "k": FIRST.k,
}


def offer_demo(folders: list[Path]) -> None:
    """Offer to make the demo, unless it is there or being made."""
    folder = state.settings().home / DEMO
    if folder in folders or any(job.state != "done" for job in state.jobs().for_audit(folder, "demo")[:1]):
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(
            "**The demo**: 3,000 drawn scenes, 60 of them poisoned. About two minutes.", width="stretch"
        )
        if st.button("Make the demo", icon=":material/play_arrow:"):
            _start("demo", folder, ["demo", "--audit", str(folder)])


def change(folder: Path, source: str, options: dict[str, Any]) -> None:
    """Fill the form with what the audit in ``folder`` was begun with; ``options`` by the names of the command's."""
    st.session_state[CHANGED] = str(folder)
    name = state.settings().name
    st.session_state["new_source"] = name(Path(source)) if source.startswith("/") else source
    for option, default in OPTIONS.items():
        value = options.get(option)
        st.session_state[f"new_{option}"] = default if value is None else type(default)(value)


def is_changing() -> bool:
    """Return whether the form stands for an audit that is there already."""
    return CHANGED in st.session_state


def form() -> None:
    """Ask for a source, or for other options of an unfinished audit, and start the job that makes it."""
    changed = st.session_state.get(CHANGED)
    for option, default in OPTIONS.items():
        st.session_state.setdefault(f"new_{option}", default)
    if changed is None:
        st.subheader("Audit your own pairs", anchor=False)
    else:
        name = words.escaped(state.settings().name(Path(changed)))
        st.subheader(f"Other options for {name}", anchor=False)
    with st.form("new", border=True):
        source = st.text_input(
            "Source",
            key="new_source",
            placeholder="data/pairs.csv, data/photos/, data/shards/*.tar …",
            help="A CSV, TSV or Parquet file, WebDataset or img2dataset tars, a folder of images with .txt "
            "captions, a COCO captions file, or a clip-retrieval folder. Inside: " + roots(),
        )
        if changed is None:
            name = st.text_input("Name of the audit", key="new_name", placeholder="mine", max_chars=80)
        with st.expander("Options", expanded=changed is not None):
            options = _options()
        with st.container(horizontal=True, gap="small"):
            if st.form_submit_button("Start", type="primary", icon=":material/play_arrow:"):
                _run(source, name if changed is None else Path(changed), options)
            if changed is not None:
                st.form_submit_button("Cancel", on_click=_unchanged)


def _options() -> dict[str, Any]:
    """Return the fields of the expander, by the names of the command's options."""
    left, right = st.columns(2)
    left.selectbox("Format", ["auto", *FORMATS], key="new_format")
    right.selectbox("Captions of a record", ["first", "all"], key="new_captions")
    left, right = st.columns(2)
    left.text_input("Image column", key="new_image_col", placeholder="guessed")
    right.text_input("Caption column", key="new_caption_col", placeholder="guessed")
    left, right = st.columns(2)
    left.text_input("Label column", key="new_label_col", placeholder="guessed")
    right.text_input(
        "Folder of the images",
        key="new_image_root",
        placeholder="that of the source",
        help="Where the paths of images start.",
    )
    st.text_input("Encoder", key="new_encoder", placeholder="mini, or NAME/PRETRAINED of open_clip")
    left, right = st.columns(2)
    left.number_input(
        "q, pairs in D_p", 1, key="new_q", help="At most as many as there are pairs; a slider later."
    )
    right.number_input(
        "K, curves fitted to c", 1, MAX_K, key="new_k", help="A slider later, as are γ and γ_z."
    )
    return {option: st.session_state[f"new_{option}"] for option in OPTIONS}


def command(folder: Path, source: str, options: dict[str, Any]) -> list[str]:
    """The run that audits ``source`` in ``folder``. Raises ParameterError where a path lies outside the roots."""
    texts, settings = {option: str(options.get(option) or "").strip() for option in OPTIONS}, state.settings()
    if texts["encoder"]:
        texts["encoder"] = settings.encoder(texts["encoder"])
    if texts["image_root"]:
        texts["image_root"] = str(settings.inside(texts["image_root"]))
    source_path = settings.source(source)
    flags = [f"--{option.replace('_', '-')}={value}" for option, value in texts.items() if value]
    return ["run", source_path, "--audit", str(folder), *flags]


def _run(source: str, audit: str | Path, options: dict[str, Any]) -> None:
    """Start a new audit of this name, or that in this folder again."""
    try:
        folder = _new_folder(audit.strip()) if isinstance(audit, str) else audit
        arguments = command(folder, source, options)
    except CfbdError as error:
        st.error(words.escaped(str(error)), icon=":material/error:")
        return
    _start("run", folder, arguments)


def _new_folder(name: str) -> Path:
    if not name or Path(name).name != name or name.startswith("."):
        raise ParameterError("Name of the audit: give a plain name, such as mine")
    folder = state.settings().inside(f"{AUDITS}/{name}")
    if (folder / DATABASE_NAME).exists():
        raise ParameterError(f"{name}: this audit exists already; give another name")
    return folder


def _unchanged() -> None:
    """The form is that of a new audit again, as it was before."""
    for name in (CHANGED, "new_source", *(f"new_{option}" for option in OPTIONS)):
        st.session_state.pop(name, None)


def _start(kind: str, folder: Path, arguments: list[str]) -> None:
    try:
        state.jobs().start(kind, folder, arguments)
    except CfbdError as error:
        st.error(words.escaped(str(error)), icon=":material/error:")
        return
    st.session_state.pop(CHANGED, None)
    st.rerun()


def roots() -> str:
    """Return the folders that the server was started with, as Markdown."""
    return ", ".join(words.escaped(str(root)) for root in state.settings().roots)
