"""Export: what will be written, a look at it, the file."""

from __future__ import annotations

import os
from pathlib import Path

import streamlit as st

from app import downloads, state, widgets, words
from app.audits import running
from app.pairs import left
from app.waiting import previews
from cfbd_core import Audit
from cfbd_core.errors import CfbdError
from cfbd_core.export import Format, Style, Subset
from cfbd_core.html_report import check_place
from cfbd_core.jobs.jobs import Job
from cfbd_core.store.columns import KEEP, REMOVE
from cfbd_core.wording import plural
from cfbd_core.workbench.export_look import first_rows, look
from cfbd_core.workbench.preview import Preview

SUBSETS: dict[Subset, str] = {"kept": "Kept – the clean set", "removed": "Removed", "all": "All"}
FORMATS: dict[Format, str] = {"csv": "CSV", "parquet": "Parquet", "webdataset": "WebDataset tars"}
PREVIEW_ROWS = 5
SAFE = "Puts a quote before cells that a spreadsheet would run as a formula. Leave it off for training."
PANDAS_SAFE = (
    "Puts a space before captions that pandas, and so open_clip's CSV loader, takes for missing values or numbers, "
    "such as NA. Tokenizers drop it."
)
RELATIVE = "Names pictures from the file's folder, so that both can move together. Start open_clip there."


def page() -> None:
    """Draw the page."""
    widgets.head(
        "Export",
        "Take the clean set home. The file loads in open_clip as it is; a `.json` beside it says how it was "
        "made. Your source is never changed.",
    )
    preview = previews.shown()
    if preview is None:
        return
    _summary(preview)
    subset = widgets.choice("Pairs", SUBSETS, default="kept", key="subset")
    kind = widgets.choice("Format", FORMATS, default="csv", key="format")
    style = _style(kind)
    _write(preview, subset, kind, style)
    _report()
    left.panel(preview, "export", needed=True)


def _summary(preview: Preview) -> None:
    removed = preview.removed()
    decisions = preview.pairs.decisions
    by_hand = int((removed & ~preview.flagged).sum())
    spared = int((preview.flagged & ~removed).sum())
    with st.container(horizontal=True, gap="medium"):
        st.metric("Kept", f"{len(look(preview, 'kept').rows):,}", width="content")
        st.metric("Removed", f"{len(look(preview, 'removed').rows):,}", width="content")
        st.metric("Kept though flagged", f"{spared:,}", width="content", help="By hand, against the verdict.")
        st.metric(
            "Removed though clean", f"{by_hand:,}", width="content", help="By hand, against the verdict."
        )
    decided = int(((decisions == KEEP) | (decisions == REMOVE)).sum())
    st.caption(
        f"{decided:,} decision{' counts' if decided == 1 else 's count'}; {by_hand + spared:,} "
        f"overrule{'s' if by_hand + spared == 1 else ''} the verdict."
        + ("" if state.params() == state.applied() else " The sliders' split is stored in the audit first.")
    )
    if decided:
        st.page_link("views/log.py", label="Who decided what, and when", icon=":material/history:")


def _style(kind: Format) -> Style:
    """Ask how the cells of a table are to be written."""
    with st.container(horizontal=True, gap="medium"):
        return Style(
            spreadsheet_safe=kind == "csv" and st.toggle("Spreadsheet-safe", key="safe", help=SAFE),
            pandas_safe=kind == "csv" and st.toggle("pandas-safe", key="pandas_safe", help=PANDAS_SAFE),
            relative_paths=kind != "webdataset"
            and st.toggle("Relative paths", key="relative_paths", help=RELATIVE),
        )


def _look(preview: Preview, subset: Subset, kind: Format, style: Style, out: Path) -> None:
    """How many pairs will be written, which are not, and the first as they will be."""
    contents = look(preview, subset)
    pairs = len(contents.rows)
    parts = [f"**{pairs:,}** {plural(pairs, 'pair')} will be written as {FORMATS[kind]}"]
    parts += [f"{contents.without_score:,} of them without a score"] if contents.without_score else []
    parts += [f"{contents.without_picture:,} of them without a picture"] if contents.without_picture else []
    st.markdown(", ".join(parts) + ".")
    if contents.neither and subset != "all":
        st.warning(
            f"{contents.neither:,} more have neither a score nor a decision: they are neither kept nor removed. "
            "**All** has them, too.",
            icon=":material/warning:",
        )
    if not pairs:
        widgets.empty(":material/inbox:", "No such pairs", "Nothing would be written.")
        return
    try:
        table = first_rows(preview, contents.rows[:PREVIEW_ROWS], out, kind, style)
    except CfbdError as error:  # a picture is gone: the export would stop at it
        st.error(words.escaped(str(error)), icon=":material/error:")
        return
    shown = len(next(iter(table.values()), []))
    st.caption(f"{'Some records' if kind == 'webdataset' else f'The first {shown} rows'}, as they will be")
    st.dataframe(table, hide_index=True, key="look")


def _write(preview: Preview, subset: Subset, kind: Format, style: Style) -> None:
    folder = state.audit_folder()
    if folder is None:
        return
    ending = "" if kind == "webdataset" else f".{kind}"
    usual = downloads.place(folder, f"{subset}{ending}")
    typed = st.text_input(
        "File on the server",
        usual,
        key=f"out_{subset}_{kind}",
        help="Relative to the server's first folder.",
    )
    try:
        out = state.settings().inside(typed)
    except CfbdError:  # reported when it is to be written
        out = state.settings().inside(usual)
    _look(preview, subset, kind, style, out)
    wanted = ["--subset", subset, "--format", kind, *style.options()]
    if st.button("Write", type="primary", icon=":material/save:", key="write"):
        try:
            out = state.settings().target(typed, folder)
            with st.spinner("Storing the split …"):
                state.apply()
            command = ["export", "--audit", str(folder), "--out", str(out), *wanted]
            # Someone else may apply another split before the job reads it.
            command += ["--split", state.params().id]
            state.jobs().start("export", folder, command)
        except CfbdError as error:
            st.error(words.escaped(str(error)), icon=":material/error:")
    running.latest(folder, "export", lambda job: _download(job, wanted))


def _is_newest(job: Job) -> bool:
    """Whether the job's file is of the sliders as they stand, and nothing was decided or scored since it began."""
    changed = Audit.open(job.audit).log.changed()
    return _option_of(job, "--split") == state.params().id and (changed is None or changed <= job.started)


def _option_of(job: Job, flag: str) -> str:
    """Return what a job was given for an option; empty where it was not given."""
    return job.arguments[job.arguments.index(flag) + 1] if flag in job.arguments else ""


def _download(job: Job, wanted: list[str]) -> None:
    """The finished export: where it lies, what its reader has to know, and the file where a browser can hold it."""
    is_chosen = list(job.arguments[5:-2]) == wanted
    is_newest = _is_newest(job)
    fresh = is_chosen and is_newest
    out = Path(job.arguments[job.arguments.index("--out") + 1])
    pairs = (job.result or {}).get("pairs", 0)
    message = f"{pairs:,} pairs written to {words.escaped(str(out))}"
    if fresh:
        st.success(message, icon=":material/check:")
    else:
        which = "An earlier export" if is_chosen else "Your last export"
        before = "" if is_newest else ", of before the last changes"
        st.info(f"{which}{before}: {message}", icon=":material/history:")
    downloads.warnings(out)
    downloads.file_button(out, "download", primary=fresh)
    sidecar = out.with_name(f"{out.name}.json")
    if os.path.isfile(sidecar):
        st.download_button(
            "How it was made (JSON)",
            sidecar.read_bytes,
            sidecar.name,
            "application/json",
            type="tertiary",
            icon=":material/description:",
            on_click="ignore",
            key="download_sidecar",
        )


def _report() -> None:
    """The report to hand on: made by a job of its own, then offered."""
    folder = state.audit_folder()
    if folder is None:
        return
    with st.container(border=True, gap="small", key="report"):
        st.markdown("#### The report")
        st.markdown(
            "All that this audit found as one page to hand on: verdict, parameters, charts, groups with pictures, "
            "decisions, what may be left, versions and hashes. The page loads nothing from elsewhere."
        )
        if st.button("Make the report", icon=":material/description:", key="make_report"):
            try:
                out = state.settings().inside(downloads.place(folder, "report.html"))
                check_place(out, Audit.open(folder))
                with st.spinner("Storing the split …"):
                    state.apply()
                command = ["report", "--audit", str(folder), "--html", str(out), "--split", state.params().id]
                state.jobs().start("report", folder, command)
            except CfbdError as error:
                st.error(words.escaped(str(error)), icon=":material/error:")
        running.latest(folder, "report", _made)


def _made(job: Job) -> None:
    fresh = _is_newest(job)
    if not fresh:
        st.caption(":material/history: Made before the last changes; make it anew to have them.")
    out = Path(job.arguments[job.arguments.index("--html") + 1])
    downloads.file_button(out, "download_report", "text/html", primary=fresh)


page()
