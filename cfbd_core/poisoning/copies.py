"""Poisoned copies of any source with pictures, with their ground truth; the source is only read.

A copy is a folder: its pairs (:mod:`cfbd_core.poisoning.formats`), ``manifest.json`` with all that decided them,
``trigger.npz``, and ``contact_sheet.png`` with some of what was changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from cfbd_core.attacks import ATTACKS
from cfbd_core.attacks.base import Trigger
from cfbd_core.errors import CfbdError, ParameterError, SourceError
from cfbd_core.machine.checked_files import read_object, report_damage
from cfbd_core.machine.files import write_json, written_beside
from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.machine.workers import ordered_map
from cfbd_core.pictures.images import BadImage
from cfbd_core.poisoning.captions import read_captions
from cfbd_core.poisoning.contact_sheet import Example, contact_sheet, examples
from cfbd_core.poisoning.formats import FORMATS, CopyFormat, Encoded
from cfbd_core.poisoning.manifest import Manifest, new_manifest, read_manifest, resumed_manifest
from cfbd_core.poisoning.options import CopyOptions
from cfbd_core.poisoning.place import MANIFEST, check_beside, check_place, clear, clear_halves, report_for
from cfbd_core.poisoning.plan import CONTROL, PoisonParams, make_plan, make_triggers
from cfbd_core.poisoning.poison_params import check_picture_size
from cfbd_core.poisoning.records import CopyPlan
from cfbd_core.poisoning.source_pairs import SourcePairs, picture_pool, read_pairs, read_picture
from cfbd_core.poisoning.trigger_files import TRIGGERS_NAME, load_or_make_triggers, read_triggers, search_of
from cfbd_core.poisoning.workshops import named_encoder, workshops
from cfbd_core.sources import SourceOptions
from cfbd_core.wording import counted

__all__ = [
    "MOST_EXAMPLES",
    "SHEET_NAME",
    "CopyOptions",
    "attack_copy",
    "load_triggers",
    "plan_copy",
    "plan_pairs",
    "title_of",
    "with_triggers",
]

SHEET_NAME = "contact_sheet.png"
PART_RECORDS = 1000  # of the source in a shard of the copy
MOST_EXAMPLES = 10
DEMO = "cfbd demo"  # what its scenes' manifest says that made them
_RECORDS_A_CHUNK = 8  # records a worker handles at a time


def attack_copy(
    source: str | Path,
    out: str | Path,
    params: PoisonParams,
    options: CopyOptions | None = None,
    progress: Progress = no_progress,
    *,
    processes: int | None = None,
) -> Manifest:
    """Write a poisoned copy of ``source`` to the folder ``out``; returns its manifest.

    Called again after it was stopped, it keeps the triggers and the parts that are there. ``progress`` counts
    records of the source ("copy") and the steps of an attack that optimises its triggers ("trigger").

    Raises SourceError (nothing to read, no pictures), ParameterError (what the plan refuses; ``out`` lies in the
    source or in an audit), AuditError (``out`` holds something else), EncoderError. Nothing of it is left behind
    then, but what earlier calls made stays.
    """
    options, out = options or CopyOptions(), Path(out)
    check_place(out, source)
    copy = plan_copy(source, params, options)
    check_beside(out, copy.pairs)
    manifest = new_manifest(source, copy, options)
    earlier = read_manifest(out, manifest)
    if earlier is not None:
        manifest = resumed_manifest(earlier, manifest)
    form = FORMATS[options.format](out, options.captions == "all")
    with report_for(out):
        was_made = not out.exists()
        out.mkdir(parents=True, exist_ok=True)
        written = _written(copy, form)
        if earlier is not None:
            clear_halves(written)
        with _undone(partial(clear, out, written, was_made) if earlier is None else None):
            if manifest != earlier:
                write_json(out / MANIFEST, manifest)
            copy = with_triggers(copy, options, progress, out / TRIGGERS_NAME)
            shown = examples(copy, MOST_EXAMPLES)
            _write_sheet(title_of(copy), shown, out / SHEET_NAME)
            _write_parts(copy, form, progress, processes)
            manifest["finished"] = True
            write_json(out / MANIFEST, manifest)
    return manifest


def plan_copy(source: str | Path, params: PoisonParams, options: CopyOptions) -> CopyPlan:
    """Read the source and choose what is done to its pairs; nothing is written, no trigger is made yet.

    Raises what reading and :func:`cfbd_core.poisoning.plan.make_plan` raise.
    """
    check_picture_size(params)
    given = _given_captions(params, options.captions_file)  # refuses a bad file before all is read
    pairs = read_pairs(source, options.read, options.keys)
    return _planned(pairs, params, options, given, cache(lambda pair: _is_readable(pairs, pair)))


def plan_pairs(pairs: SourcePairs, params: PoisonParams, options: CopyOptions) -> CopyPlan:
    """Choose what is done to pairs that were read already, as :func:`plan_copy` does, but look at no picture.

    Quick at any rate. It is the plan of the copy itself unless a picture that it chose cannot be read.
    """
    check_picture_size(params)
    return _planned(pairs, params, options, _given_captions(params, options.captions_file), lambda _: True)


def with_triggers(
    copy: CopyPlan,
    options: CopyOptions,
    progress: Progress = no_progress,
    file: Path | None = None,
) -> CopyPlan:
    """Make the triggers, which takes minutes where they are optimised; they are kept in ``file``.

    Those that it holds are not made again. Raises ParameterError, EncoderError, and SourceError (``file``, the pool).
    """
    if options.pool is None:
        places = copy.pairs.left_out or copy.pairs.places()
    else:
        places = read_pairs(options.pool, SourceOptions()).places()
    workshop = workshops(
        copy.params,
        picture_pool(places, copy.params.seed),
        named_encoder(options.encoder, options.device),
        _given_captions(copy.params, options.captions_file),
        progress,
    )
    if file is None:
        return dataclasses.replace(copy, triggers=make_triggers(copy.params, workshop))
    return dataclasses.replace(copy, triggers=load_or_make_triggers(file, copy.params, workshop))


def load_triggers(folder: str | Path) -> tuple[PoisonParams, list[Trigger]]:
    """Read from a copy, or from the demo's scenes, how it was poisoned, to put its triggers on other pictures.

    Raises SourceError where the folder is no copy of ours, or is damaged.
    """
    folder = Path(folder)
    way_out = f"`cfbd attack NAME SOURCE --out {folder}` makes one"
    try:
        with report_damage(folder / MANIFEST, way_out, SourceError):
            manifest = read_object(folder / MANIFEST, {"params": dict}, way_out, SourceError)
            given = manifest["params"]
            params = (
                _of_demo(manifest, given)
                if manifest.get("made_by") == DEMO
                else PoisonParams.from_dict(given)
            )
    except FileNotFoundError:
        raise SourceError(f"{folder}: no poisoned copy here; {way_out}") from None
    return params, read_triggers(folder / TRIGGERS_NAME)


def _of_demo(manifest: Mapping[str, Any], given: Mapping[str, Any]) -> PoisonParams:
    if manifest["attack"] is None:
        return PoisonParams(CONTROL, seed=given["seed"])
    return PoisonParams(manifest["attack"], given["rate"], (manifest["target"],), seed=given["seed"])


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


def _written(copy: CopyPlan, form: CopyFormat) -> list[Path]:
    """Return all that a copy may have written to its folder."""
    triggers = form.out / TRIGGERS_NAME
    searches = [search_of(triggers, number) for number in range(copy.params.trigger_count)]
    return [form.out / MANIFEST, triggers, *searches, form.out / SHEET_NAME, *form.written(len(_parts(copy)))]


@contextmanager
def _undone(clears: Callable[[], None] | None) -> Iterator[None]:
    """Call ``clears`` where something cannot be done that the user can mend."""
    try:
        yield
    except CfbdError:
        if clears is not None:
            clears()
        raise


def _write_sheet(title: str, shown: Sequence[Example], path: Path) -> None:
    if shown and not path.exists():
        with written_beside(path) as beside:
            contact_sheet(title, shown).save(beside, "PNG")


def title_of(copy: CopyPlan) -> str:
    """Say what a copy is, in one line."""
    params, pairs, poisons = copy.params, copy.pairs.table.num_rows, len(copy.plan.poisons)
    if params.attack == CONTROL:
        return f"No attack: {len(copy.plan.traps):,} of {counted(pairs, 'pair')} in benign traps"
    attack = ATTACKS[params.attack].title
    return f"{attack}: {poisons:,} of {counted(pairs, 'pair')} poisoned, target {', '.join(params.targets)}"


def _write_parts(copy: CopyPlan, form: CopyFormat, progress: Progress, processes: int | None) -> None:
    """Write the parts that are missing, in order, made by ``processes``."""
    parts, records = _parts(copy), len(copy.pairs.record_keys)
    missing = {number: part for number, part in enumerate(parts) if not form.has(number)}
    chunks = {
        number: [part[i : i + _RECORDS_A_CHUNK] for i in range(0, len(part), _RECORDS_A_CHUNK)]
        for number, part in missing.items()
    }
    done = records - sum(map(len, missing.values()))
    progress("copy", done, records)
    made = ordered_map(
        partial(_encoded, copy), [chunk for part in chunks.values() for chunk in part], processes
    )

    def counted(part: Sequence[range]) -> Iterator[Encoded]:
        nonlocal done
        for chunk, encoded in zip(part, islice(made, len(part)), strict=True):
            yield from encoded
            done += len(chunk)
            progress("copy", done, records)

    for number, part in chunks.items():
        form.write(number, counted(part))
    form.finish(copy.records(part.start, part.stop) for part in parts)


def _parts(copy: CopyPlan) -> list[range]:
    """Return the records of the source in each part."""
    records = len(copy.pairs.record_keys)
    return [range(first, min(first + PART_RECORDS, records)) for first in range(0, records, PART_RECORDS)]


def _encoded(copy: CopyPlan, chunk: range) -> list[Encoded]:
    return [(record, *copy.encoded(record)) for record in copy.records(chunk.start, chunk.stop)]
