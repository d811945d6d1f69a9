"""``manifest.json``: all that decided a poisoned copy, what was poisoned, and the versions of what made it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import NotRequired, TypedDict

from cfbd_core import __version__
from cfbd_core.attacks import ATTACKS
from cfbd_core.errors import AuditError
from cfbd_core.machine.checked_files import read_object
from cfbd_core.poisoning.options import CopyOptions
from cfbd_core.poisoning.place import MANIFEST
from cfbd_core.poisoning.poison_params import PoisonSettings, settings
from cfbd_core.poisoning.records import CopyPlan

_CHANGING = ("finished", "versions", "later_versions")  # from call to call of the same copy
_SHAPE = {"finished?": bool, "versions?": {str: str}, "later_versions?": [{str: str}]}


class PoisonedPair(TypedDict):
    """A pair that was poisoned: its record in the copy, what was put there, and where it comes from."""

    key: str
    caption: str
    target: str
    trigger: int
    origin_key: str
    origin_caption: str


class Manifest(TypedDict):
    """The content of ``manifest.json``; ``later_versions`` are of calls that went on with the copy."""

    made_by: str
    source: str
    source_format: str
    source_fingerprint: str
    params: PoisonSettings
    attack_params: dict[str, object]
    options: dict[str, object]
    records: int
    pairs: int
    skipped: dict[str, int]
    poisoned_before: int
    poisons: list[PoisonedPair]
    traps: dict[str, int]
    versions: dict[str, str]
    finished: bool
    later_versions: NotRequired[list[dict[str, str]]]


def new_manifest(source: str | Path, copy: CopyPlan, options: CopyOptions) -> Manifest:
    """List all that decides a copy, in plain JSON; not yet ``finished``."""
    pairs, params, plan = copy.pairs, copy.params, copy.plan
    captions = pairs.table["caption"]
    settings_given: dict[str, object] = {
        "captions": options.captions,
        "keys": options.keys,
        "format": options.format,
    }
    settings_given |= {"reencode": options.reencode, "read": options.read.to_dict()}
    if options.captions_file is not None:
        digest = hashlib.sha256(options.captions_file.read_bytes()).hexdigest()
        settings_given["captions_file"] = {"name": options.captions_file.name, "sha256": digest}
    attack = ATTACKS.get(params.attack)
    if attack is not None and attack.optimised:
        settings_given |= {"encoder": options.encoder, "pool": options.pool and Path(options.pool).name}
    return {
        "made_by": "CFBD Auditor",
        "source": Path(os.path.abspath(source)).name,
        "source_format": pairs.format,
        "source_fingerprint": pairs.fingerprint,
        "params": params.to_dict(),
        "attack_params": dataclasses.asdict(settings(params)) if attack is not None else {},
        "options": settings_given,
        "records": len(pairs.record_keys),
        "pairs": pairs.table.num_rows,
        "skipped": pairs.skipped,
        "poisoned_before": pairs.table["poisoned"].fill_null(False).to_pylist().count(True),
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


def read_manifest(out: Path, manifest: Manifest) -> Manifest | None:
    """Return the manifest of this copy, or part of it, in ``out``; None where there is nothing.

    Raises AuditError where ``out`` holds something else.
    """
    if not out.exists() or not any(out.iterdir()):
        return None
    if not (out / MANIFEST).exists():
        raise AuditError(f"{out}: is not empty and holds no copy of ours; give a new folder")
    earlier: Manifest = read_object(out / MANIFEST, _SHAPE, "give a new folder, or delete this one")
    if _lasting(earlier) != _lasting(manifest):
        raise AuditError(f"{out}: holds a copy made otherwise; give a new folder or delete this one")
    return earlier


def resumed_manifest(earlier: Manifest, manifest: Manifest) -> Manifest:
    """Return the manifest of a copy that is gone on with: ``versions`` are of the call that began it.

    ``later_versions`` lists any others that made parts of it.
    """
    versions, later = earlier.get("versions", manifest["versions"]), earlier.get("later_versions", [])
    if not earlier.get("finished") and manifest["versions"] not in (versions, *later):
        later = [*later, manifest["versions"]]
    resumed: Manifest = {**manifest, "versions": versions, "finished": earlier.get("finished", False)}
    if later:
        resumed["later_versions"] = later
    return resumed


def _lasting(manifest: Manifest) -> dict[str, object]:
    return {name: value for name, value in manifest.items() if name not in _CHANGING}
