"""The app's entry: login, navigation, the sidebar that stands beside every page."""

from __future__ import annotations

import shlex
from pathlib import Path

import streamlit as st

from app import background, previews, state, who, widgets, words
from app.login import require_login
from cfbd_core.audit import Audit
from cfbd_core.errors import CfbdError
from cfbd_core.preview import Preview

PAGES = (
    ("audits", "Audits", ":material/folder_open:"),
    ("coarse", "Coarse", ":material/filter_1:"),
    ("fine", "Fine", ":material/filter_2:"),
    ("groups", "Suspected targets", ":material/target:"),
    ("review", "Review", ":material/rate_review:"),
    ("pairs", "Suspicious pairs", ":material/photo_library:"),
    ("duplicates", "Duplicates", ":material/content_copy:"),
    ("map", "Map", ":material/scatter_plot:"),
    ("evaluate", "Evaluate", ":material/monitoring:"),
    ("log", "Log", ":material/history:"),
    ("export", "Export", ":material/download:"),
    ("train", "Train", ":material/model_training:"),
    ("lab", "Attack lab", ":material/science:"),
)
WITHOUT_AUDIT = ("audits", "train", "lab")  # pages that need none
BRAND = Path(__file__).resolve().parents[1] / "assets" / "brand"
ABOUT = "CFBD Auditor finds backdoor-poisoned image–caption pairs before a CLIP model is trained on them."


def main() -> None:
    """Draw the page that the browser asks for."""
    st.set_page_config(
        page_title="CFBD Auditor",
        page_icon=str(BRAND / "icon.png"),
        layout="wide",
        menu_items={"About": ABOUT},
    )
    st.html(Path(__file__).with_name("style.css"))
    st.logo(str(BRAND / "wordmark.svg"), size="large", icon_image=str(BRAND / "mark.svg"))
    require_login()
    background.begin()
    previews.begin()
    pages = [
        st.Page(f"views/{name}.py", title=title, icon=icon, url_path=name) for name, title, icon in PAGES
    ]
    # The bare address leads to the open audit, or to the list of them; each page has an address of its own.
    home = st.Page(lambda: None, title="CFBD Auditor", url_path="home", default=True, visibility="hidden")
    page = st.navigation([home, *pages], expanded=True)
    folder = _folder()
    if page == home:
        st.switch_page(pages[0] if folder is None else pages[1])
    place = st.sidebar.container()
    try:
        if page.url_path in WITHOUT_AUDIT or _is_ready(folder):
            page.run()
    except CfbdError as error:
        widgets.problem(error)
    with place:
        _sidebar()
    background.tidy()


def _folder() -> Path | None:
    """The open audit; a link to one that may not be opened is told, and opens what the server began with."""
    try:
        return state.audit_folder()
    except CfbdError as error:
        st.query_params.clear()
        st.toast(words.escaped(str(error)), icon=":material/error:")
        return state.audit_folder()


def _is_ready(folder: Path | None) -> bool:
    """Whether there is something to show; else a calm page that says what to do."""
    if folder is None:
        widgets.empty(
            ":material/folder_open:", "No audit is open", "Open one, or make one of your own pairs.",
            page="views/audits.py",
        )  # fmt: skip
        return False
    if not state.is_scored(folder):
        source = Audit.open(folder).source() or "SOURCE"
        command = f"cfbd run {shlex.quote(source)} --audit {shlex.quote(str(folder))}"
        widgets.empty(
            ":material/hourglass_empty:", "Not scored yet",
            "This audit's embeddings or scores are not complete. The page Audits shows its job or goes on with "
            f"it, and so does {words.code(command)}.",
            page="views/audits.py",
        )  # fmt: skip
        return False
    return True


def _sidebar() -> None:
    """The open audit, what the sliders find in it, and whether that is what the audit holds."""
    try:
        folder = state.audit_folder()
        if folder is None:
            st.caption("No audit is open.")
            return
        st.markdown(f"**{words.escaped(state.settings().name(folder))}**")
        if not state.is_scored(folder):
            st.caption("Not scored yet.")
            return
        state.write_url()
        if previews.are_awaited():
            st.caption(f":material/hourglass_top: {previews.WORDS} …")
        elif (preview := previews.shown()) is not None:
            state.write_url()  # the sliders may have been fitted
            _found(preview)
    except CfbdError as error:
        st.caption(f":material/error: {words.escaped(str(error))}")
    with st.expander("You", icon=":material/person:"):
        who.ask()
    with st.expander("Charts", icon=":material/image:"):
        widgets.picture_format()


def _found(preview: Preview) -> None:
    counts = preview.counts
    widgets.evidence_badge(preview.evidence.level)
    st.markdown(f"**{counts.flagged:,}** of {counts.pairs:,} pairs flagged")
    st.caption(widgets.described(preview.params, preview.gamma_z.value))
    _apply_or_reset()


def _apply_or_reset() -> None:
    held, applied = state.params(), state.applied()
    if held == applied:
        st.caption(":material/check: applied to the audit")
        return
    st.caption(":material/edit: a preview, not applied to the audit")
    with st.container(horizontal=True, gap="small"):
        st.button("Apply", on_click=_apply, type="primary", help="Store this split's verdicts in the audit.")
        if applied is not None:
            st.button("Reset", on_click=_reset, help="Back to the split that the audit holds.")


def _apply() -> None:
    with state.told():
        with st.spinner("Storing the verdicts …"):
            state.apply()
        st.toast("The split is stored in the audit.", icon=":material/check:")


def _reset() -> None:
    with state.told():
        applied = state.applied()
        if applied is not None:
            state.change(**applied.to_dict())


main()
