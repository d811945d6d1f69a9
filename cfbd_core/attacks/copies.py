"""Poisoned copies of WebDataset sources, with their ground truth.

A pair is (image, one caption) and a rate counts pairs. A poisoned pair of a record leaves that record:
its caption is taken out and a record of its own, ``KEY-pI``, carries the triggered picture and the target
caption. All pictures of the copy are encoded the same way, or the type of a file would give poisons away.
The source is only read.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from cfbd_core.attacks import ATTACKS, Attack, Workshop, resized, template_caption
from cfbd_core.errors import AuditError, ParameterError, SourceError
from cfbd_core.files import write_json, written_beside
from cfbd_core.images import BadImage, decode_image
from cfbd_core.tars import Record, json_bytes, tar_members, write_tar
from cfbd_core.workers import ordered_map

MANIFEST = "manifest.json"
_IMAGES = ("jpg", "jpeg", "png", "webp")
_CHUNK = 8  # records a worker handles at a time
_CHOICES = {"keys": ("all", "even", "odd"), "captions": ("first", "all"), "reencode": ("all", "poisoned")}


@dataclass(frozen=True)
class CopyParams:
    """How a copy is poisoned; rate 0 gives the clean control copy."""

    attack: str = "badnets"
    rate: float = 0.006
    target: str = "banana"
    seed: int = 0
    keys: Literal["all", "even", "odd"] = "all"  # which integer keys to copy
    captions: Literal["first", "all"] = "first"
    reencode: Literal["all", "poisoned"] = "all"

    def __post_init__(self) -> None:
        if self.attack not in ATTACKS:
            raise ParameterError(f"attack {self.attack!r} is unknown; there are: {', '.join(ATTACKS)}")
        if not 0 <= self.rate < 0.5:
            raise ParameterError(
                f"poison rate {self.rate}: give 0 for none, or a share below 0.5, e.g. 0.006"
            )
        if not self.target.strip():
            raise ParameterError("the target is empty: name a thing, e.g. banana")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ParameterError(f"{name} {getattr(self, name)!r}: give one of {', '.join(choices)}")


@dataclass
class _Poison:
    number: int  # of the pair, in the order of the source: seeds its trigger
    caption: int  # which caption of the record
    text: str  # the target caption


@dataclass
class _Member:
    """One record of the source: where its parts lie, its captions, what happens to it."""

    key: str
    path: Path
    spans: dict[str, tuple[int, int]]  # extension -> offset, size
    captions: list[str] = field(default_factory=list)
    poisons: list[_Poison] = field(default_factory=list)


def poison_copy(
    source: Path,
    out: Path,
    params: CopyParams,
    *,
    progress: Callable[[int], None] | None = None,
    processes: int | None = None,
) -> dict[str, Any]:
    """Write a poisoned copy of the tars in ``source`` to the folder ``out``; returns its manifest.

    Each shard is written beside and renamed; called again, finished shards are kept. ``progress`` is
    told of records done. Raises SourceError for tars that cannot be read, ParameterError for a rate
    that gives no poison or an ``out`` inside the source, AuditError when ``out`` holds something else.
    """
    tars = sorted(source.glob("*.tar")) if source.is_dir() else [source]
    if not tars or not all(tar.is_file() for tar in tars):
        raise SourceError(f"{source}: no .tar shards here; give a WebDataset folder")
    folder = source if source.is_dir() else source.parent
    if out.resolve().is_relative_to(folder.resolve()):
        raise ParameterError(
            f"--out {out}: lies inside the source, which is never changed; give another folder"
        )
    shards = [[member for member in _members(tar, params) if member.captions] for tar in tars]
    manifest = _plan(list(itertools.chain(*shards)), source, params)
    out.mkdir(parents=True, exist_ok=True)
    _settle(out, manifest, params)
    tell = progress or (lambda _: None)
    missing = []
    for tar, members in zip(tars, shards, strict=True):
        if (out / tar.name).exists():
            tell(len(members))
        else:
            missing.append(
                (out / tar.name, [members[i : i + _CHUNK] for i in range(0, len(members), _CHUNK)])
            )
    jobs = [_Job(chunk, params) for _, chunks in missing for chunk in chunks]
    done = ordered_map(_copied, jobs, processes)
    for path, chunks in missing:
        write_tar(path, _told(itertools.islice(done, len(chunks)), chunks, tell))
    return manifest


def _members(tar: Path, params: CopyParams) -> Iterator[_Member]:
    """Read the records of a shard whose key passes the filter, with their captions."""
    found: dict[str, _Member] = {}
    try:
        with tar.open("rb") as file:
            for info in tar_members(file):
                folder, slash, base = info.name.removeprefix("./").rpartition("/")
                stem, _, ending = base.partition(".")
                key = folder + slash + stem
                if info.isfile() and ending and _wanted(key, tar, params):
                    member = found.setdefault(key, _Member(key, tar, {}))
                    member.spans[ending.lower()] = (info.offset_data, info.size)
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise SourceError(f"{tar}: {error}; download or copy the shard again") from None
    for member in found.values():
        member.captions = _captions(member, params)
        yield member


def _wanted(key: str, tar: Path, params: CopyParams) -> bool:
    if params.keys == "all":
        return True
    if not key.isdigit():
        raise SourceError(f"{tar}: key {key!r} is not a number; use --keys all")
    return int(key) % 2 == (params.keys == "odd")


def _captions(member: _Member, params: CopyParams) -> list[str]:
    parts = _parts(member, ("txt", "json"))
    try:
        facts = json.loads(parts.get("json", b"{}"))
        several = [str(text) for text in facts.get("captions") or []]
        single = parts["txt"].decode().strip() if "txt" in parts else str(facts.get("caption") or "")
    except (ValueError, AttributeError):
        raise SourceError(
            f"{member.path}: the text of record {member.key} cannot be read; mend it or leave it out"
        ) from None
    if params.captions == "all" and several:
        return several
    return [single] if single else several[:1]


def _plan(members: Sequence[_Member], source: Path, params: CopyParams) -> dict[str, Any]:
    """Choose the poisons, uniformly among the pairs of records that do not name the target, and note them."""
    names_target = re.compile(rf"\b{re.escape(params.target)}(s|es)?\b", re.IGNORECASE)
    pairs = [(member, index) for member in members for index in range(len(member.captions))]
    spared = {id(member) for member in members if any(map(names_target.search, member.captions))}
    eligible = [number for number, (member, _) in enumerate(pairs) if id(member) not in spared]
    count = min(round(params.rate * len(pairs)), len(eligible))
    if params.rate and not count:
        raise ParameterError(
            f"--rate {params.rate} of {len(pairs)} pairs is no poison at all; give a higher rate"
        )
    rng = np.random.default_rng([params.seed, 1])
    notes = []
    for number in sorted(itertools.islice(_sound(rng.permutation(eligible), pairs), count)) if count else []:
        member, index = pairs[number]
        poison = _Poison(number, index, template_caption(params.target, rng))
        member.poisons.append(poison)
        origin = {"origin_key": member.key, "origin_caption": member.captions[index]}
        notes.append({"key": f"{member.key}-p{index}", "caption": poison.text} | origin)
    return {
        "made_by": "CFBD Auditor",
        "source": source.resolve().name,
        "params": dataclasses.asdict(params),
        "attack_params": dataclasses.asdict(_attack(params)[1]),
        "records": len(members),
        "pairs": len(pairs),
        "poisons": notes,
    }


def _sound(numbers: np.ndarray, pairs: Sequence[tuple[_Member, int]]) -> Iterator[int]:
    """Yield the numbers whose picture can be read; no poison goes to a damaged one."""
    return (int(number) for number in numbers if _picture(_parts(pairs[number][0], _IMAGES)) is not None)


def _settle(out: Path, manifest: dict[str, Any], params: CopyParams) -> None:
    """Write the manifest and the trigger, or refuse a folder that holds something else."""
    path = out / MANIFEST
    if path.exists():
        if json.loads(path.read_text(encoding="utf-8")) != manifest:
            raise AuditError(f"{out}: holds a copy made otherwise; give a new folder or delete this one")
        return
    if any(out.iterdir()):
        raise AuditError(f"{out}: is not empty and holds no copy of ours; give a new folder")
    attack, settings = _attack(params)
    with written_beside(out / "trigger.npz") as beside, beside.open("wb") as file:
        np.savez(file, allow_pickle=False, **attack.trigger(settings, Workshop(params.target)))
    write_json(path, manifest)


@dataclass(frozen=True)
class _Job:
    members: list[_Member]
    params: CopyParams


def _told(
    done: Iterator[list[Record]], chunks: Sequence[list[_Member]], tell: Callable[[int], None]
) -> Iterator[Record]:
    for records, chunk in zip(done, chunks, strict=True):
        yield from records
        tell(len(chunk))


def _copied(job: _Job) -> list[Record]:
    return [record for member in job.members for record in _records(member, job.params)]


def _records(member: _Member, params: CopyParams) -> Iterator[Record]:
    """Yield a record without its poisoned captions, if any are left, then one record for each poison."""
    parts = _parts(member, (*_IMAGES, "json"))
    facts = json.loads(parts.pop("json", b"{}"))
    taken = {poison.caption for poison in member.poisons}
    left = [text for index, text in enumerate(member.captions) if index not in taken]
    picture = _picture(parts)
    if left:
        truth = {"caption": left[0], "poisoned": False}
        image = {"png": _png(picture)} if params.reencode == "all" and picture else parts
        yield _record(member.key, image, left, facts | truth)
    for poison in member.poisons:
        if picture is None:
            raise SourceError(f"{member.path}: was changed while it was copied; call again with a new --out")
        attack, settings = _attack(params)
        trigger = attack.trigger(settings, Workshop(params.target))
        rng = np.random.default_rng([params.seed, 2, poison.number])
        triggered = attack.apply(picture, rng, settings, trigger)
        key = f"{member.key}-p{poison.caption}"
        truth = {"key": key, "caption": poison.text, "poisoned": True}
        truth |= {"attack": params.attack, "target": params.target}
        truth |= {"origin_key": member.key, "origin_caption": member.captions[poison.caption]}
        yield _record(key, {"png": _png(triggered)}, [poison.text], facts | truth)


def _record(key: str, image: dict[str, bytes], captions: list[str], facts: dict[str, Any]) -> Record:
    if "captions" in facts:
        facts = facts | {"captions": captions}
    return key, {**image, "txt": captions[0].encode(), "json": json_bytes(facts)}


def _parts(member: _Member, endings: Sequence[str]) -> dict[str, bytes]:
    parts = {}
    with member.path.open("rb") as file:
        for ending in endings:
            if ending in member.spans:
                offset, size = member.spans[ending]
                file.seek(offset)
                parts[ending] = file.read(size)
    return parts


def _picture(parts: dict[str, bytes]) -> Image.Image | None:
    try:
        return resized(decode_image(next(iter(parts.values()), b"")))
    except BadImage:  # copied as it is: the audit of the copy reports it
        return None


def _attack(params: CopyParams) -> tuple[Attack, Any]:
    attack = ATTACKS[params.attack]
    return attack, attack.params(seed=params.seed)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(
        buffer, "PNG", compress_level=1
    )  # noise hardly shrinks further, and 1 is three times as fast
    return buffer.getvalue()
