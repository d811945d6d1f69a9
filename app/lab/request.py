"""The attack lab without its page: what was asked for, what it would do, ten examples, where the copy goes."""

from __future__ import annotations

import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import streamlit as st
from PIL import Image

from app import state, words
from app.settings import AUDITS
from cfbd_core import Audit
from cfbd_core.attacks import ATTACKS
from cfbd_core.demo.audit import SOURCE_NAME
from cfbd_core.errors import CfbdError, ParameterError
from cfbd_core.jobs.jobs import Job
from cfbd_core.machine.json_shapes import parse
from cfbd_core.machine.places import DATABASE_NAME
from cfbd_core.pictures.images import data_url
from cfbd_core.poisoning.contact_sheet import Example, examples
from cfbd_core.poisoning.copies import MOST_EXAMPLES, CopyOptions, plan_pairs, with_triggers
from cfbd_core.poisoning.place import MANIFEST, check_beside, check_place
from cfbd_core.poisoning.plan import CONTROL, PoisonParams
from cfbd_core.poisoning.records import CopyPlan
from cfbd_core.poisoning.source_pairs import SourcePairs, read_pairs
from cfbd_core.poisoning.traps import TRAPS
from cfbd_core.sources import SourceOptions, fingerprint, open_source
from cfbd_core.wording import counted

COPIES = "copies"  # new copies go to this folder of the first root
KIND = "attack"  # of job
LABELS = {
    "rate": "Poison rate",
    "target": "Targets",
    "target-captions": "Captions of the poisons",
    "captions-file": "File of natural captions",
    "triggers": "Triggers a target",
    "seed": "Seed",
    "mismatched": "Mismatched captions",
    "duplicate-captions": "Duplicate captions",
    "boilerplate": "Boilerplate captions",
    "near-duplicates": "Near-duplicate pictures",
    "out": "Folder of the copy",
}
RULES = {
    "templates": "one of 80 templates with the target",
    "natural": "a caption of the target as people write them",
    "kept": "stays as it is",
}


@dataclass(frozen=True)
class CopyRequest:
    """What the form says; ``source`` is a whole path or pattern inside the roots."""

    source: str
    params: PoisonParams
    options: CopyOptions

    @property
    def is_optimised(self) -> bool:
        """Whether the trigger takes minutes to make."""
        return self.params.attack != CONTROL and ATTACKS[self.params.attack].optimised

    def arguments(self, out: Path, kind: str) -> list[str]:
        """Return the command that writes the copy in the format ``kind``."""
        params, options, read = self.params, self.options, self.options.read
        given: dict[str, Any] = {"captions": options.captions, "seed": params.seed, "format": kind}
        given |= {"source-format": read.format, "image-col": read.image_col, "caption-col": read.caption_col}
        given |= {trap: getattr(params, trap) or None for trap in TRAPS}
        if params.attack != CONTROL:
            given |= {"rate": params.rate, "target": ",".join(params.targets), "triggers": params.triggers}
            given |= {"target-captions": params.captions, "captions-file": options.captions_file}
            given |= {"encoder": options.encoder} if self.is_optimised else {}
            given |= params.options
        flags = [_flag(name.replace("_", "-"), value) for name, value in given.items() if value is not None]
        return ["attack", params.attack, self.source, "--out", str(out), *flags]


@dataclass(frozen=True)
class Shown:
    """An example as a page shows it: WebP pictures as ``data:`` addresses, captions, key."""

    before: str
    after: str
    difference: str
    caption_before: str
    caption_after: str
    key: str


# --- what it would do ----------------------------------------------------------------------------------


def pairs(source: str, read: SourceOptions) -> SourcePairs:
    """Return the pairs of a source, read once while its files stay as they are. Raises SourceError."""
    stamp = fingerprint(open_source(source, read))
    return _pairs(source, json.dumps(read.to_dict()), stamp, read)


@st.cache_resource(max_entries=2, show_spinner="Reading the source …")
def _pairs(source: str, how: str, stamp: str, _read: SourceOptions) -> SourcePairs:
    return read_pairs(source, _read)


def planned(request: CopyRequest) -> CopyPlan:
    """Return what the copy would be. Raises ParameterError for what these pairs cannot have, SourceError."""
    read = pairs(request.source, request.options.read)
    return _planned(_key(request, read), read, request)


@st.cache_resource(max_entries=4, show_spinner=False)  # each holds the pairs of its source
def _planned(key: str, _pairs: SourcePairs, _request: CopyRequest) -> CopyPlan:
    return plan_pairs(_pairs, _request.params, _request.options)


def shown(request: CopyRequest, copy: CopyPlan) -> list[Shown]:
    """Ten examples, for an attack whose trigger is quickly made. Raises ParameterError where it does not fit."""
    return _shown(_key(request, copy.pairs), copy, request)


@st.cache_data(max_entries=32, show_spinner="Poisoning ten examples …")
def _shown(key: str, _copy: CopyPlan, _request: CopyRequest) -> list[Shown]:
    return [_as_shown(example) for example in examples(with_triggers(_copy, _request.options), MOST_EXAMPLES)]


def _as_shown(example: Example) -> Shown:
    before, after, difference = map(_address, (example.before, example.after, example.difference))
    return Shown(before, after, difference, example.caption_before, example.caption_after, example.key)


def _address(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=90)
    return data_url(buffer.getvalue())


def _key(request: CopyRequest, read: SourcePairs) -> str:
    """Return what a plan depends on, besides the code."""
    file = request.options.captions_file
    stamp = file.stat().st_mtime_ns if file is not None and file.exists() else None
    how = request.options.read.to_dict()
    return json.dumps([request.source, how, read.fingerprint, request.params.to_dict(), str(file), stamp])


def summary(copy: CopyPlan) -> str:
    """In plain words what will happen, as Markdown."""
    params, plan, total = copy.params, copy.plan, copy.pairs.table.num_rows
    if params.attack == CONTROL:
        parts = [f"No pair is poisoned: a clean copy of **{counted(total, 'pair')}**, for comparison."]
    else:
        rule = params.captions or ATTACKS[params.attack].captions
        ending = "." if rule == "kept" else f", such as: “{words.escaped(plan.poisons[0].caption, 120)}”"
        share = len(plan.poisons) / total
        parts = [
            f"**{len(plan.poisons):,}** of {counted(total, 'pair')} ({share:.2%}) will be poisoned. "
            f"Picture: {ATTACKS[params.attack].summary.partition('; ')[0]}. Caption: {RULES[rule]}{ending}"
        ]
    parts += [
        f"{counted(number, 'pair')} {'falls' if number == 1 else 'fall'} into the benign trap "
        f"*{LABELS[trap.replace('_', '-')].lower()}*."
        for trap, number in Counter(plan.traps.values()).items()
    ]
    earlier = copy.pairs.table["poisoned"].fill_null(False).to_numpy().sum()
    if earlier:
        are = "is poisoned already and stays" if earlier == 1 else "are poisoned already and stay"
        parts += [f"{counted(earlier, 'pair')} of the source {are} so."]
    skipped = ", ".join(
        f"{number:,} {words.escaped(reason)}" for reason, number in copy.pairs.skipped.items()
    )
    return "  \n".join([*parts, *([f"Left out: {skipped}."] if skipped else [])])


def in_words(error: CfbdError) -> str:
    """Return an error's line, with the fields' names in place of the command line's options."""
    return re.sub(r"--([a-z-]+)(?: FILE)?", lambda match: LABELS.get(match[1], match[0]), str(error))


# --- where it goes -------------------------------------------------------------------------------------


def free_place(request: CopyRequest) -> str:
    """Return a name for the copy that nothing has yet, as :meth:`Settings.inside` reads it."""
    path = Path(request.source)
    source = path.parent.name if path.name == SOURCE_NAME else path.name.partition(".")[0]
    rate = "" if request.params.attack == CONTROL else f"-{request.params.rate:g}"
    name = re.sub(r"[^\w.-]+", "-", f"{source}-{request.params.attack}{rate}").strip("-.")
    home = state.settings().home / COPIES
    return f"{COPIES}/{next(one for one in _numbered(name) if not os.path.lexists(home / one))}"


def place(typed: str, request: CopyRequest) -> Path:
    """Return the folder that ``typed`` means, if a copy can go there: new, or this copy half written.

    Raises ParameterError where it lies outside the roots, in an audit or in the source, or holds something.
    """
    out = state.settings().inside(typed)
    check_place(out, request.source)
    check_beside(out, pairs(request.source, request.options.read))
    if os.path.isdir(out) and os.listdir(out) and not _is_half_written(out):
        raise ParameterError(f"{typed.strip()}: is not empty; give another folder")
    return out


def _is_half_written(copy: Path) -> bool:
    try:
        return parse((copy / MANIFEST).read_text(encoding="utf-8"))["finished"] is False
    except (OSError, ValueError, LookupError, TypeError):
        return False


def counts(result: dict[str, Any]) -> dict[str, int]:
    """Return the ground truth of a copy by its job's result."""
    main_counts = {"Pairs": result["pairs"], "Poisoned": result["poisons"]}
    some = {
        "Poisoned before": result.get("poisoned_before", 0),
        "In benign traps": sum(result["traps"].values()),
        "Left out": sum(result["skipped"].values()),
    }
    return main_counts | {name: number for name, number in some.items() if number}


def copies() -> list[Job]:
    """Return the newest job of each copy, newest first."""
    newest = {job.audit: job for job in reversed(state.jobs().all()) if job.kind == KIND}
    return sorted(newest.values(), key=lambda job: job.started, reverse=True)


def demo_source() -> str | None:
    """Return the scenes of a demo in the roots."""
    for folder in state.settings().audits():
        if os.path.isdir(folder / SOURCE_NAME):
            return state.settings().name(folder / SOURCE_NAME)
    return None


def audit_of(copy: Path) -> tuple[Path, bool]:
    """Return the folder of a copy's audit, and whether it is there and scored."""
    home = state.settings().home / AUDITS
    folder = next(home / name for name in _numbered(copy.name) if _may_audit(home / name, copy))
    return folder, os.path.isfile(folder / DATABASE_NAME) and state.is_scored(folder)


def _may_audit(folder: Path, copy: Path) -> bool:
    """Return whether the audit in ``folder`` is this copy's, or there is none."""
    if not os.path.lexists(folder / DATABASE_NAME):
        return True
    try:
        source = Audit.open(folder).state.source()
    except CfbdError:  # busy or damaged: whose it is cannot be said
        return False
    return source is not None and os.path.realpath(source) == os.path.realpath(copy)


def start_audit(job: Job, folder: Path) -> None:
    """Start the job that audits the copy of ``job``. Raises AuditError where another job runs on the folder."""
    captions = (job.result or {})["options"]["captions"]
    command = ["run", str(job.audit), "--audit", str(folder), f"--captions={captions}"]
    state.jobs().start("run", folder, command)


def _numbered(name: str) -> Iterator[str]:
    return (name if number == 1 else f"{name}-{number}" for number in count(1))


def _flag(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name}={value}"
