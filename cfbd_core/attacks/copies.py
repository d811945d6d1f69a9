"""Poisoned copies of any source with pictures, with their ground truth; the source is only read.

A copy is a folder: its pairs (:mod:`cfbd_core.attacks.copy_formats`), ``manifest.json`` with all that decided them,
``trigger.npz``, and ``contact_sheet.png`` with some of what was changed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

from cfbd_core import __version__
from cfbd_core.attacks import ATTACKS
from cfbd_core.attacks.base import Trigger
from cfbd_core.attacks.contact_sheet import Example, contact_sheet, examples
from cfbd_core.attacks.copy_formats import FORMATS, CopyFormat, Encoded, OutFormat
from cfbd_core.attacks.copy_place import MANIFEST, check_beside, check_place, holds, told_of
from cfbd_core.attacks.copy_records import CopyPlan
from cfbd_core.attacks.given_captions import read_captions
from cfbd_core.attacks.plan import CONTROL, PoisonParams, make_plan, make_triggers, settings
from cfbd_core.attacks.source_pairs import Keys, SourcePairs, picture_pool, read_pairs, read_picture
from cfbd_core.attacks.trigger_files import TRIGGERS_NAME, read_triggers, save_triggers
from cfbd_core.attacks.workshops import named_encoder, workshops
from cfbd_core.errors import CfbdError, ParameterError, SourceError
from cfbd_core.files import write_json, written_beside
from cfbd_core.images import BadImage
from cfbd_core.sources import SourceOptions
from cfbd_core.workers import ordered_map

SHEET_NAME = "contact_sheet.png"
PART_RECORDS = 1000  # of the source in a shard of the copy
EXAMPLES = 10
_CHUNK = 8  # records a worker handles at a time
Told = Callable[[str, int, int], None]  # stage ("trigger", "copy"), done, total


@dataclass(frozen=True)
class CopyOptions:
    """How the source is read, which of its integer ``keys`` are copied, and how the copy is written.

    ``reencode`` "changed" writes only changed pictures as PNG at 224 and copies other files. ``captions_file`` holds
    natural captions of the target, one a line. ``pool`` is the source whose pictures optimised attacks work
    with (None: the keys left out, else the source itself), ``encoder`` and ``device`` what they attack.
    """

    captions: Literal["first", "all"] = "first"
    keys: Keys = "all"
    format: OutFormat = "webdataset"
    reencode: Literal["all", "changed"] = "all"
    captions_file: Path | None = None
    encoder: str = "mini"
    device: str = "auto"
    pool: str | None = None
    read: SourceOptions = field(default_factory=SourceOptions)

    def __post_init__(self) -> None:
        for name, choices in (
            ("keys", get_args(Keys)),
            ("format", tuple(FORMATS)),
            ("reencode", ("all", "changed")),
        ):
            if getattr(self, name) not in choices:
                raise ParameterError(f"--{name} {getattr(self, name)!r}: give one of {', '.join(choices)}")
        object.__setattr__(self, "read", dataclasses.replace(self.read, captions=self.captions))


def attack_copy(
    source: str | Path,
    out: str | Path,
    params: PoisonParams,
    options: CopyOptions | None = None,
    told: Told = lambda _stage, _done, _total: None,
    *,
    processes: int | None = None,
) -> dict[str, Any]:
    """Write a poisoned copy of ``source`` to the folder ``out``; returns its manifest.

    Called again after it was stopped, it keeps the parts that are there. ``told`` counts records of the source,
    and the steps of an attack that optimises its triggers.

    Raises SourceError (nothing to read, no pictures), ParameterError (what the plan refuses; ``out`` lies in the
    source or in an audit), AuditError (``out`` holds something else), EncoderError. Nothing is left behind then.
    """
    options, out = options or CopyOptions(), Path(out)
    check_place(out, source)
    copy = plan_copy(source, params, options)
    check_beside(out, copy.pairs)
    manifest = _manifest(source, copy, options)
    held = holds(out, manifest)
    if held and (out / TRIGGERS_NAME).exists():
        copy = dataclasses.replace(copy, triggers=read_triggers(out / TRIGGERS_NAME))
    else:
        copy = with_triggers(copy, options, told)
    shown = examples(copy, EXAMPLES)  # before anything is written: a trigger may not fit the pictures
    with told_of(out):
        try:
            out.mkdir(parents=True, exist_ok=True)
            if not held:
                write_json(out / MANIFEST, manifest)
            if not (out / TRIGGERS_NAME).exists():
                save_triggers(out / TRIGGERS_NAME, copy.triggers)
            _write_sheet(title_of(copy), shown, out / SHEET_NAME)
            _write_parts(copy, FORMATS[options.format](out, options.captions == "all"), told, processes)
            write_json(out / MANIFEST, manifest | {"finished": True})
        except CfbdError:  # the source was changed meanwhile: nothing written so far can be trusted
            shutil.rmtree(out)
            raise
    return manifest | {"finished": True}


def plan_copy(source: str | Path, params: PoisonParams, options: CopyOptions) -> CopyPlan:
    """Read the source and choose what is done to its pairs; nothing is written, no trigger is made yet.

    Raises what reading and :func:`cfbd_core.attacks.plan.make_plan` raise.
    """
    given = _given_captions(params, options.captions_file)  # a bad file is told before all is read
    pairs = read_pairs(source, options.read, options.keys)
    return _planned(pairs, params, options, given, cache(lambda pair: _is_readable(pairs, pair)))


def plan_pairs(pairs: SourcePairs, params: PoisonParams, options: CopyOptions) -> CopyPlan:
    """Choose what is done to pairs that were read already, as :func:`plan_copy` does, but look at no picture.

    Quick at any rate. It is the plan of the copy itself unless a picture that it chose cannot be read.
    """
    return _planned(pairs, params, options, _given_captions(params, options.captions_file), lambda _: True)


def with_triggers(
    copy: CopyPlan, options: CopyOptions, told: Told = lambda _stage, _done, _total: None
) -> CopyPlan:
    """Make the triggers, which takes minutes where they are optimised. Raises ParameterError and EncoderError."""
    if copy.params.attack == CONTROL:
        return copy
    if options.pool is None:
        places = copy.pairs.left_out or copy.pairs.places()
    else:
        places = read_pairs(options.pool, SourceOptions()).places()
    workshop = workshops(
        copy.params,
        picture_pool(places, copy.params.seed),
        named_encoder(options.encoder, options.device),
        _given_captions(copy.params, options.captions_file),
        partial(told, "trigger"),
    )
    return dataclasses.replace(copy, triggers=make_triggers(copy.params, workshop))


def load_triggers(folder: str | Path) -> tuple[PoisonParams, list[Trigger]]:
    """Read from a copy how it was poisoned, to put its triggers on other pictures.

    Raises SourceError where the folder is no copy of ours, or is damaged.
    """
    folder = Path(folder)
    try:
        params = PoisonParams.from_dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["params"])
    except (OSError, ValueError, LookupError, TypeError):
        raise SourceError(
            f"{folder}: no poisoned copy here; `cfbd attack NAME SOURCE --out {folder}` makes one"
        ) from None
    return params, read_triggers(folder / TRIGGERS_NAME)


# --- what goes into it --------------------------------------------------------------------------------


def _given_captions(params: PoisonParams, file: Path | None) -> list[str] | None:
    if file is None:
        return None
    if params.attack == CONTROL or (params.captions or ATTACKS[params.attack].captions) != "natural":
        raise ParameterError("--captions-file: goes with --target-captions natural; give both, or none")
    return read_captions(file)


def _planned(
    pairs: SourcePairs,
    params: PoisonParams,
    options: CopyOptions,
    given: list[str] | None,
    usable: Callable[[int], bool],
) -> CopyPlan:
    captions = pairs.table["caption"].to_pylist()
    earlier = pairs.table["poisoned"].fill_null(False).to_numpy()
    plan = make_plan(captions, pairs.image_of, params, given, usable, earlier)
    return CopyPlan(pairs, params, plan, [], options.reencode)


def _is_readable(pairs: SourcePairs, pair: int) -> bool:
    try:
        read_picture(pairs.place(pair))
    except BadImage:
        return False
    return True


def _manifest(source: str | Path, copy: CopyPlan, options: CopyOptions) -> dict[str, Any]:
    pairs, params, plan = copy.pairs, copy.params, copy.plan
    captions = pairs.table["caption"]
    asked: dict[str, Any] = {"captions": options.captions, "keys": options.keys, "format": options.format}
    asked |= {"reencode": options.reencode, "read": options.read.to_dict()}
    if options.captions_file is not None:
        digest = hashlib.sha256(options.captions_file.read_bytes()).hexdigest()
        asked["captions_file"] = {"name": options.captions_file.name, "sha256": digest}
    attack = ATTACKS.get(params.attack)
    if attack is not None and attack.optimised:
        asked |= {"encoder": options.encoder, "pool": options.pool and Path(options.pool).name}
    return {
        "made_by": "CFBD Auditor",
        "source": Path(os.path.abspath(source)).name,
        "source_format": pairs.format,
        "source_fingerprint": pairs.fingerprint,
        "params": params.to_dict(),
        "attack_params": dataclasses.asdict(settings(params)) if attack is not None else {},
        "options": asked,
        "records": len(pairs.record_keys),
        "pairs": pairs.table.num_rows,
        "skipped": pairs.skipped,
        "poisons": [
            {
                "key": copy.key_of(poison.pair),
                "caption": poison.caption,
                "target": poison.target,
                "trigger": poison.trigger,
                "origin_key": pairs.record_keys[pairs.record_of[poison.pair]],
                "origin_caption": captions[poison.pair].as_py(),
            }
            for poison in plan.poisons
        ],
        "traps": dict(Counter(plan.traps.values())),
        "versions": {"cfbd": __version__, "python": platform.python_version()}
        | {name: version(name) for name in ("numpy", "open_clip_torch", "pillow", "pyarrow", "torch")},
        "finished": False,
    }


def _write_sheet(title: str, shown: Sequence[Example], path: Path) -> None:
    if shown and not path.exists():
        with written_beside(path) as beside:
            contact_sheet(title, shown).save(beside, "PNG")


def title_of(copy: CopyPlan) -> str:
    """Say what a copy is, in one line."""
    params, pairs, poisons = copy.params, copy.pairs.table.num_rows, len(copy.plan.poisons)
    if params.attack == CONTROL:
        return f"No attack: {len(copy.plan.traps):,} of {pairs:,} pairs in benign traps"
    attack = ATTACKS[params.attack].title
    return f"{attack}: {poisons:,} of {pairs:,} pairs poisoned, target {', '.join(params.targets)}"


def _write_parts(copy: CopyPlan, form: CopyFormat, told: Told, processes: int | None) -> None:
    """Write the parts that are missing, in order, made by ``processes``."""
    records = len(copy.pairs.record_keys)
    parts = [range(first, min(first + PART_RECORDS, records)) for first in range(0, records, PART_RECORDS)]
    missing = {number: part for number, part in enumerate(parts) if not form.has(number)}
    chunks = {
        number: [part[i : i + _CHUNK] for i in range(0, len(part), _CHUNK)]
        for number, part in missing.items()
    }
    done = records - sum(map(len, missing.values()))
    told("copy", done, records)
    made = ordered_map(
        partial(_encoded, copy), [chunk for part in chunks.values() for chunk in part], processes
    )

    def counted(part: Sequence[range]) -> Iterator[Encoded]:
        nonlocal done
        for chunk, encoded in zip(part, islice(made, len(part)), strict=True):
            yield from encoded
            done += len(chunk)
            told("copy", done, records)

    for number, part in chunks.items():
        form.write(number, counted(part))
    form.finish(copy.records(part.start, part.stop) for part in parts)


def _encoded(copy: CopyPlan, chunk: range) -> list[Encoded]:
    return [(record, *copy.encoded(record)) for record in copy.records(chunk.start, chunk.stop)]
