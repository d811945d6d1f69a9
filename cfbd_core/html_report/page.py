"""The report as a page: verdict, parameters, charts, groups, decisions, what is left, versions and hashes."""

from __future__ import annotations

import html
import json
import os
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from cfbd_core.audit.report import evidence_sentence, unread_lines
from cfbd_core.errors import ParameterError
from cfbd_core.groups.group import Group
from cfbd_core.html_report.decided import decisions_part, left_part
from cfbd_core.html_report.drawing import histogram, listed, picture, png, text
from cfbd_core.machine.files import report_in_one_line, written_beside
from cfbd_core.machine.places import check_outside
from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.pictures.thumbnails import Thumbnails
from cfbd_core.wording import counted, decimal, percentage
from cfbd_core.workbench.explorer import Explorer
from cfbd_core.workbench.preview import Preview

if TYPE_CHECKING:
    from cfbd_core.audit.audit import Audit
    from cfbd_core.audit.report import Report
    from cfbd_core.method.metrics import DetectionMetrics

MARKER = '<meta name="generator" content="CFBD Auditor: report">'  # how a report is known again
HEAD_BYTES = 1000
MOST_GROUPS, MOST_ESTIMATES = 20, 5  # groups shown, and of how many the pictures are compared
SUBSETS = ("D_b, benign", "D_p, the top q", "D_s, the rest")
PACKAGES = ("duckdb", "numpy", "open_clip_torch", "scikit-learn", "torch")
STYLE = """
:root { color-scheme: light dark; } body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
padding: 0 1rem; } h1 { margin-bottom: .2rem; } h2 { margin-top: 2.2rem; } table { border-collapse: collapse; }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #8884; }
.t { overflow-wrap: anywhere; white-space: pre-wrap; } figure { margin: 1rem 0; } svg { width: 100%; font-size: 11px;
fill: currentColor; } figcaption { font-weight: 600; } .k { font-weight: 400; margin-left: .8rem; } .k i { display:
inline-block; width: .7rem; height: .7rem; margin-right: .3rem; } .g { border: 1px solid #8886; border-radius: 8px;
padding: 1rem; margin: 1rem 0; } .s { display: grid; grid-template-columns: repeat(auto-fill, minmax(90px, 1fr));
gap: 6px; margin: .6rem 0; } .p { aspect-ratio: 1; background: #8882; border-radius: 6px; overflow: hidden;
display: flex; align-items: center; justify-content: center; } .p img { width: 100%; height: 100%; object-fit: cover; }
small { opacity: .7; } .big { font-size: 1.15rem; }
"""


class WrittenPage(TypedDict):
    """A page that was written: to ``out``, with so many groups, of so many bytes."""

    out: str
    groups: int
    bytes: int


def write_html_report(
    explorer: Explorer,
    out: str | Path,
    progress: Progress = no_progress,
    split: str | None = None,
) -> WrittenPage:
    """Write what the audit's own split and people's decisions say to the HTML file ``out``.

    Returns ``out``, ``groups`` shown and ``bytes``. ``progress("report", done, total)`` counts the groups, whose
    pictures take the longest. The file loads nothing and runs nothing. Raises ParameterError for
    a name that is not ``.html``, a place in the audit's source, a file that is no such report, and where the audit's
    split is not of the settings with the id ``split``; AuditError before the first split.
    """
    out = Path(out)
    check_place(out, explorer.audit)
    params = explorer.audit.state.applied_params()
    report = explorer.audit.report(split if params is None else split or params.id)
    assert params is not None  # the report has one
    preview = explorer.preview(params)
    parts = [
        _verdict(explorer, report),
        _parameters(report),
        _charts(preview),
        _groups(preview, progress),
        decisions_part(preview),
        left_part(preview),
        _origin(explorer, report),
    ]
    whole = _document(f"Audit of {explorer.audit.folder.name}", "\n".join(parts))
    try:
        with report_in_one_line(out.parent):
            out.parent.mkdir(parents=True, exist_ok=True)
            with written_beside(out) as beside:
                beside.write_text(whole, encoding="utf-8")
    except OSError as error:  # a file in the folder's place, a name that is too long
        raise ParameterError(
            f"--html {out}: cannot be written ({error.strerror}); give another place"
        ) from error
    return {
        "out": str(out),
        "groups": min(len(preview.groups), MOST_GROUPS),
        "bytes": len(whole.encode()),
    }


def check_place(out: Path, audit: Audit) -> None:
    """Raise ParameterError where a report must not be written to ``out``."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise ParameterError(f"--html {out}: give a name that ends in .html")
    check_outside(f"--html {out}", [out], audit.files.source_places())
    if os.path.lexists(out) and not _is_report(out):
        raise ParameterError(f"--html {out}: would overwrite what is no report; give another name")


def _is_report(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return MARKER.encode() in file.read(HEAD_BYTES)
    except OSError:
        return False


def _document(title: str, body: str) -> str:
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"{MARKER}"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title>"
        f"<style>{STYLE}</style></head><body>\n<h1>{text(title)}</h1>\n{body}\n</body></html>\n"
    )


def _verdict(explorer: Explorer, report: Report) -> str:
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"<p><small>CFBD Auditor {version('cfbd-auditor')}, {made}</small></p>"
        f'<p class="big">{text(evidence_sentence(report["evidence"]))}</p>'
        f"<p><b>{report['flagged']:,}</b> of {report['pairs']:,} pairs are removed, {report['kept']:,} kept"
        + (f", {report['skipped']:,} were skipped" if report["skipped"] else "")
        + (f", {report['unscored']:,} have no score" if report["unscored"] else "")
        + ".</p>"
        + "".join(f"<p>{text(line)}</p>" for line in [*unread_lines(report), *report["warnings"]])
        + _truth(report["truth_final"])
    )


def _truth(truth: DetectionMetrics | None) -> str:
    if not truth:
        return ""
    shares = {
        "poisons known": f"{truth['poisons']:,}",
        "of them removed (TPR)": percentage(truth["tpr"]),
        "clean pairs removed (FPR)": percentage(truth["fpr"]),
        "poisons kept": f"{truth['poisons_kept']:,}",
    }
    return "<h2>Against the known truth</h2>" + listed(shares)


def _parameters(report: Report) -> str:
    params, evidence = report["params"], report["evidence"]
    return "<h2>Parameters</h2>" + listed(
        {
            "K": params["k"],
            "γ": f"{params['gamma']:g}",
            "q": params["q"],
            "γ_z": f"{params['gamma_z']:.4f} ({params['gamma_z_rule']})"
            if params["gamma_z"] is not None
            else "–",
            "recheck": "yes" if params["recheck"] else "no, as published",
            "duplicates": "counted one by one"
            if not report["duplicates"]
            else f"collapsed: {report['duplicates']['hidden']:,} pairs take the verdict of their like",
            "cohesion of D_p": decimal(evidence["cohesion"]),
            "random draws' at most": decimal(evidence["null_max"]),
            "D_b / D_p / D_s": " / ".join(
                f"{report[name]:,}" for name in ("benign", "poisoned", "suspicious")
            ),
        }
    )


def _charts(preview: Preview) -> str:
    c, z, subset = preview.pairs.consistency_column, preview.z, preview.coarse.subset
    return (
        "<h2>Scores</h2>"
        + histogram("Consistency gap c of all pairs", c.edges, c.histogram(subset, 3), SUBSETS)
        + histogram(
            "Textual correlation z; pairs right of the line are flagged",
            z.edges,
            z.histogram(subset, 3),
            SUBSETS,
            preview.gamma_z.value,
        )
    )


def _groups(preview: Preview, progress: Progress) -> str:
    groups = preview.groups
    limit = f"<p>{groups.limit}</p>" if groups.limit else ""
    if not len(groups):
        return f"<h2>Suspected targets</h2><p>No flagged pairs are alike enough to form a group.</p>{limit}"
    shown = groups.groups[:MOST_GROUPS]
    compared = [group for group in shown if group.kind == "poison-like"][:MOST_ESTIMATES]
    cards = []
    for done, group in enumerate(shown):
        progress("report", done, len(shown))
        cards.append(_card(preview, group, groups.number(group), any(group is one for one in compared)))
    progress("report", len(shown), len(shown))
    more = len(groups) - len(cards)
    count = counted(len(groups), "group")
    count += f", the largest {len(cards)} are shown" if more > 0 else ""
    return (
        f"<h2>Suspected targets</h2><p>{count}; {len(groups.singles):,} flagged pairs are like no other.</p>{limit}"
        + "".join(cards)
    )


def _card(preview: Preview, group: Group, number: int, compare: bool) -> str:
    decided = preview.pairs.decisions[group.positions]
    by_hand = int((decided > 0).sum())
    trigger = ""
    if compare:
        estimate = preview.trigger_estimate(group)
        pictures = [
            ("mean picture", estimate.mean),
            ("residual", estimate.residual),
            ("what repeats", estimate.zoom),
        ]
        trigger = f"<p>{text(estimate.reason)}</p>" + (
            '<div class="s">'
            + "".join(picture(png(array), words, "png") for words, array in pictures if array is not None)
            + "</div>"
            if estimate.seen
            else ""
        )
    return (
        f'<div class="g"><b>{number}. {text(group.name, 120)}</b> – {len(group):,} pairs, {group.kind}<br>'
        f"<small>{group.numbers}{f' · {by_hand:,} decided by hand' if by_hand else ''}</small>"
        f"<p>{text(group.sentence)} Typical: <i>{text(group.caption, 200)}</i></p>"
        f'<div class="s">{_samples(preview, group.samples[:8])}</div>{trigger}</div>'
    )


def _samples(preview: Preview, positions: np.ndarray) -> str:
    pairs = preview.pairs.pairs_at(positions).to_pylist()
    thumbnails = Thumbnails(preview.pairs.audit.folder).of_pairs(preview.pairs.audit.shards, pairs)
    return "".join(
        picture(thumbnail.data, pair["caption"]) for pair, thumbnail in zip(pairs, thumbnails, strict=True)
    )


def _origin(explorer: Explorer, report: Report) -> str:
    source = report["source"] or {}
    embedding, mapping = report["embedding"] or {}, report["mapping"] or {}
    values: dict[str, object] = {
        "audit": explorer.audit.folder.resolve(),
        "source": source.get("source") or source.get("path") or "–",
        "source's fingerprint": source.get("fingerprint", "–"),
        "encoder": f"{embedding.get('encoder', '–')}, SHA-256 {embedding.get('sha256', '–')}",
        "mapping F": f"{mapping.get('name', '–')}, trained on {_training_pairs(mapping.get('trained_on', '–'))}",
        "versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "split": json.dumps(report["params"]),
    }
    return "<h2>Where this comes from</h2>" + listed(values)


def _training_pairs(trained_on: str) -> str:
    """Say which pairs F was trained on: "self" is the word for those under audit."""
    return "the audited pairs, cross-fitted" if trained_on == "self" else trained_on
