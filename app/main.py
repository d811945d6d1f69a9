"""The app's entry: login, navigation, the sidebar that stands beside every page."""

from __future__ import annotations

import shlex
from pathlib import Path

import streamlit as st

from app import address, state, toasts, widgets, words
from app.deciding import who
from app.login import require_login
from app.pages import PAGES
from app.waiting import background, previews
from cfbd_core.audit.audit import Audit
from cfbd_core.errors import CfbdError
from cfbd_core.machine.assets import BRAND_DIR
from cfbd_core.workbench.preview import Preview

WITHOUT_AUDIT = tuple(page.name for page in PAGES if not page.needs_audit)
ABOUT = "CFBD Auditor finds backdoor-poisoned image–caption pairs before a CLIP model is trained on them."


def main() -> None:
    """Draw the page that the browser asks for."""
    st.set_page_config(
        page_title="CFBD Auditor",
        page_icon=str(BRAND_DIR / "icon.png"),
        layout="wide",
        menu_items={"About": ABOUT},
    )
    st.html(Path(__file__).with_name("style.css"))
    st.logo(str(BRAND_DIR / "wordmark.svg"), size="large", icon_image=str(BRAND_DIR / "mark.svg"))
    require_login()
    toasts.show()
    address.begin()
    background.begin()
    previews.begin()
    pages = [
        st.Page(f"views/{one.name}.py", title=one.title, icon=one.icon, url_path=one.name) for one in PAGES
    ]
    # The bare address leads to the open audit, or to the list of them; each page has an address of its own.
    home = st.Page(lambda: None, title="CFBD Auditor", url_path="home", default=True, visibility="hidden")
    page = st.navigation([home, *pages], expanded=True)
    folder = _folder()
    if page == home:
        st.switch_page(pages[0] if folder is None else pages[1], query_params=dict(address.given()))
    place, unread = st.sidebar.container(), _addressed(page.url_path)
    is_reported = False
    try:
        if page.url_path in WITHOUT_AUDIT:
            page.run()
        elif unread is not None:
            raise unread
        elif _is_ready(folder):
            page.run()
    except CfbdError as error:
        widgets.problem(error)
        unread, is_reported = error, True
    with place:
        _sidebar(unread, is_reported)
    if unread is None:
        _addressed(page.url_path)
    toasts.show()
    background.tidy()


def _addressed(page: str) -> CfbdError | None:
    """Keep the page's address up; returns why the audit cannot be read.

    Before the page, so that the address does not wait for it, and after it, where the page has changed it. What is
    read here is not asked for again: of a busy audit that would take as long again.
    """
    try:
        address.show(state.query(), page)
    except CfbdError as error:
        return error
    return None


def _folder() -> Path | None:
    """Return the open audit; a link to one that may not be opened is reported, and opens what the server began with."""
    try:
        return state.audit_folder()
    except CfbdError as error:
        address.forget()
        toasts.add(words.escaped(str(error)), ":material/error:")
        return state.audit_folder()


def _is_ready(folder: Path | None) -> bool:
    """Return whether there is something to show; else a calm page that says what to do."""
    if folder is None:
        widgets.no_audit()
        return False
    if not state.is_scored(folder):
        source = Audit.open(folder).state.source() or "SOURCE"
        command = f"cfbd run {shlex.quote(source)} --audit {shlex.quote(str(folder))}"
        widgets.empty(
            ":material/hourglass_empty:",
            "Not scored yet",
            "This audit's embeddings or scores are not complete. The page Audits shows its job or goes on with "
            f"it, and so does {words.code(command)}.",
            page="views/audits.py",
        )
        return False
    return True


def _sidebar(unread: CfbdError | None, is_reported: bool) -> None:
    """The open audit and its result, or ``unread``, why it cannot be read, unless that ``is_reported`` by the page."""
    folder = state.audit_folder()
    if folder is None:
        st.caption("No audit is open.")
        return
    st.markdown(f"**{words.escaped(state.settings().name(folder))}**")
    if unread is None:
        try:
            _of_audit(folder)
        except CfbdError as error:
            unread = error
    if unread is not None and not is_reported:
        st.caption(f":material/error: {words.escaped(str(unread))}")
    with st.expander("You", icon=":material/person:"):
        who.ask()
    with st.expander("Charts", icon=":material/image:"):
        widgets.picture_format()


def _of_audit(folder: Path) -> None:
    """What the sliders find in the open audit, and whether that is what it holds."""
    if not state.is_scored(folder):
        st.caption("Not scored yet.")
    elif previews.are_awaited():
        st.caption(f":material/hourglass_top: {previews.WORDS} …")
    elif (preview := previews.shown()) is not None:
        _write_result(preview)


def _write_result(preview: Preview) -> None:
    counts = preview.counts
    widgets.evidence_badge(preview.evidence.level)
    st.markdown(f"**{counts.flagged:,}** of {counts.pairs:,} pairs flagged")
    st.caption(widgets.described(preview.params, preview.gamma_z.value))
    _apply_or_reset()


def _apply_or_reset() -> None:
    if not state.is_preview():
        st.caption(":material/check: stored in the audit")
        return
    st.caption(":material/edit: a preview, not stored in the audit")
    with st.container(horizontal=True, gap="small"):
        if st.button(
            "Apply",
            type="primary",
            help="Store this split's verdicts in the audit.",
            disabled=state.is_read_only(),
        ):
            _apply()
        if state.applied() is not None:
            st.button("Reset", on_click=state.follow, help="Back to the split that the audit holds.")


def _apply() -> None:
    with toasts.report_errors():
        with st.spinner("Storing the verdicts …"):
            state.apply()
        state.follow()
        toasts.add("The split is stored in the audit.", ":material/check:")
    st.rerun()


main()
