"""The members of a tar, put together as records: which of them are one pair, and what no record needs."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, NamedTuple

from cfbd_core.machine.tars import BLOCK, DamagedTar, begins_tar, next_data, tar_members
from cfbd_core.sources.base import Skip
from cfbd_core.sources.endings import IMAGES
from cfbd_core.sources.unread import Unread

TEXTS = ("txt", "caption", "json", "cls")
CAPTIONS = frozenset(("txt", "caption", "json"))
PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)  # files whose bytes lie there as they are


class Member(NamedTuple):
    """A file in a tar: its name there, its first byte and how many there are."""

    name: str
    offset: int
    size: int


@dataclass(slots=True)
class Group:
    """The members of one record: extension -> member. ``image`` is the one that is shown."""

    key: str
    members: dict[str, Member] = field(default_factory=dict)
    image: Member | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it has a picture and something that may hold a caption."""
        return self.image is not None and not CAPTIONS.isdisjoint(self.members)

    def last_endings(self) -> set[str]:
        """Return what follows the last dot of its members."""
        return {ending.rpartition(".")[2] for ending in self.members}


class TarRecords:
    """Iterates over the records of a tar; ``wanted`` are the extensions of pictures, the best first.

    What is wrong with the tar goes to ``trouble``, what no record needs to ``unread``.
    """

    def __init__(self, file: IO[bytes], name: str, wanted: Sequence[str], unread: Unread) -> None:
        self.trouble: list[Skip] = []
        self._file, self._name, self._wanted, self._unread = file, name, wanted, unread
        self._start: int | None = 0  # of the archive that is read
        self._originals: dict[str, Member] | None = None  # its files by name: what hard links stand for

    def __iter__(self) -> Iterator[Group]:
        """Yield records as they end; those whose members stand apart, at the end of their archive."""
        while self._start is not None:  # tars may be put behind each other
            apart: dict[str, list[Group]] = {}
            archive = _Archive(self._file, self._start, self._name, self.trouble)
            for members in self._together(archive):
                for group in self._split(members):
                    if group.is_whole:
                        yield group
                    else:
                        apart.setdefault(group.key, []).append(group)
            for groups in apart.values():
                yield from self._joined(groups)
            self._start, self._originals = archive.next_start(), None
        if archive.rest:
            self._unread.add("bytes after the end of a tar", f"{self._name}: {archive.rest:,} bytes")

    def _together(self, archive: Iterable[tarfile.TarInfo]) -> Iterator[Group]:
        """Yield what has one key and stands together, with members by all that follows the first dot."""
        group, usual = Group(""), set[str]()  # `usual` are the extensions of the record before
        for info in archive:
            member = self._member(info)
            folder, slash, base = info.name.removeprefix("./").rpartition("/")
            stem, dot, ending = base.partition(".")
            if member is None or not stem or not dot:
                self._count_odd(info, member, base)
                continue
            key, ending = folder + slash + stem, ending.lower()
            if key != group.key or ending in group.members:
                if group.members:
                    yield group
                    usual = group.last_endings()
                group = Group(key)
            group.members[ending] = member
        lost = sorted(usual - group.last_endings()) if self.trouble else []
        if group.members and lost:
            detail = f"the record lacks its {', '.join(lost)}"
            self.trouble.append(Skip(group.key, f"{self._name} record {group.key}", "truncated tar", detail))
        elif group.members:
            yield group

    def _split(self, group: Group) -> Iterable[Group]:
        """Return the records among members ``KEY.ENDING``, where a key may have a dot itself: ``cat.2.jpg``."""
        if any("." in ending for ending in group.members):
            return self._split_at_last(group)
        group.image = self._image(group.members)
        self._count_unused(group)
        return (group,)

    def _split_at_last(self, group: Group) -> Iterator[Group]:
        parts: dict[str, dict[str, Member]] = {}
        for ending, member in group.members.items():
            prefix, _, last = ("", "", ending) if ending in self._wanted else ending.rpartition(".")
            parts.setdefault(prefix, {})[last] = member
        plain = self._group(group.key, parts.pop("", {}))
        others = [self._group(f"{group.key}.{prefix}", part) for prefix, part in parts.items()]
        whole = [group for group in others if group.is_whole]
        yield from whole
        fields = [group for group in others if not group.is_whole]
        if whole and not plain.members:
            self._count(member for group in fields for member in group.members.items())
            return
        self._fill(plain, fields)
        self._count_unused(plain)
        yield plain

    def _group(self, key: str, members: dict[str, Member]) -> Group:
        return Group(key, members, self._image(members))

    def _image(self, members: dict[str, Member]) -> Member | None:
        for ending in self._wanted:
            if ending in members:
                return members[ending]
        return None

    def _fill(self, plain: Group, fields: list[Group]) -> None:
        """Let ``KEY.input.jpg`` and ``KEY.output.txt`` stand for the picture and the text that a record lacks.

        Not where the field holds a digit: ``cat.2.jpg`` may be another picture that lost its text.
        """
        named = [one for one in fields if not any(map(str.isdigit, one.key.removeprefix(plain.key)))]
        images = [one.image for one in named if one.image is not None]
        texts = [
            (ending, one.members[ending]) for one in named for ending in CAPTIONS if ending in one.members
        ]
        used: list[Member] = []
        if plain.image is None and len(images) == 1:
            plain.image = images[0]
            used.append(images[0])
        if CAPTIONS.isdisjoint(plain.members) and len(texts) == 1:
            plain.members |= dict(texts)
            used.append(texts[0][1])
        for one in fields:
            self._count([item for item in one.members.items() if item[1] not in used])

    def _joined(self, groups: list[Group]) -> Iterator[Group]:
        """Put the parts of one record together that stand apart; where two have the same part, none belongs to it."""
        endings = [ending for group in groups for ending in group.members]
        if len(groups) == 1 or len(set(endings)) < len(endings):
            yield from groups
            return
        members = {ending: member for group in groups for ending, member in group.members.items()}
        image = next((group.image for group in groups if group.image is not None), None)
        yield Group(groups[0].key, members, image)

    def _member(self, info: tarfile.TarInfo) -> Member | None:
        if info.type in PLAIN:
            return Member(info.name, info.offset_data, info.size)
        if not info.islnk():
            return None
        if self._originals is None:
            archive = _Archive(self._file, self._start or 0, self._name, [])
            self._originals = {
                one.name: Member(one.name, one.offset_data, one.size) for one in archive if one.type in PLAIN
            }
        return self._originals.get(info.linkname)

    def _count_odd(self, info: tarfile.TarInfo, member: Member | None, base: str) -> None:
        if info.isdir():
            return
        hidden = "hidden file" if base.startswith(".") else "member without an ending"
        self._unread.add(
            "link or device in a tar" if member is None else hidden, f"{self._name} member {info.name}"
        )

    def _count_unused(self, group: Group) -> None:
        for ending, member in group.members.items():
            if ending not in TEXTS and member is not group.image:
                self._count([(ending, member)])

    def _count(self, members: Iterable[tuple[str, Member]]) -> None:
        for ending, member in members:
            is_text = ending in CAPTIONS
            kind = "further picture of a record" if ending in IMAGES else "other member of a record"
            self._unread.add(
                "further text of a record" if is_text else kind, f"{self._name} member {member.name}"
            )


class _Archive:
    """The members of one archive in a file, whose bytes are all there; then what comes after its end."""

    def __init__(self, file: IO[bytes], start: int, name: str, trouble: list[Skip]) -> None:
        self.rest = 0  # bytes after the end that are no archive
        self._file, self._start, self._name, self._trouble = file, start, name, trouble
        self._length = file.seek(0, 2)
        self._end: int | None = None  # of the last member, where an end mark follows it

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        file, length = self._file, self._length
        file.seek(self._start)
        end, broken, where = self._start, False, f"{self._name} after its start"
        try:
            for member, end in tar_members(file):
                if (
                    member.offset_data + member.size if member.isreg() and not member.issparse() else end
                ) > length:
                    break
                where = f"{self._name} after {member.name}"
                yield member
        except DamagedTar as error:
            self._skip("damaged tar", where, str(error).removeprefix("damaged tar: "))
            return
        except (tarfile.TarError, ValueError, EOFError):
            broken = True
        file.seek(min(end, length))
        block = file.read(BLOCK)
        if end > length or len(block) < BLOCK or (broken and end > self._start):
            detail = f"the file ends at byte {length}, without an end mark; download or copy it again"
            self._skip("truncated tar", where, detail)
        elif block.strip(b"\0"):
            rest = f"the {length - end:,} bytes from there on are not read"
            self._skip("damaged tar", where, f"no member begins at byte {end}; {rest}")
        else:
            self._end = end

    def next_start(self) -> int | None:
        """Return where another archive begins behind this one, or None; ``rest`` then says what is there instead."""
        data = None if self._end is None else next_data(self._file, self._end)
        if data is None:
            return None
        start = data // BLOCK * BLOCK
        if begins_tar(self._file, start):
            return start
        self.rest = self._length - data
        return None

    def _skip(self, reason: str, where: str, detail: str) -> None:
        self._trouble.append(Skip(None, where, reason, detail))
