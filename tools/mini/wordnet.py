"""WordNet 3.0 as Debian's ``wordnet-base`` installs it: names, glosses and kinds of everything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path("/usr/share/wordnet")
# Lexicographer files of nouns that a picture can show.
CONCRETE = {5: "animal", 6: "artifact", 8: "body", 13: "food", 17: "object", 18: "person", 20: "plant"}
_TOO_GENERAL = {"entity", "physical entity", "object", "whole", "matter", "thing", "abstraction", "unit"}


@dataclass
class Synset:
    """One meaning: its names, its definition, example sentences, and the ids of what it is a kind of."""

    wnid: str
    lexical_file: int
    names: list[str]
    gloss: str
    examples: list[str] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)


def read_wordnet(folder: Path = FOLDER) -> dict[str, Synset]:
    """All synsets by id: part of speech letter and the eight digits of ImageNet's ids (``n02084071``)."""
    if not (folder / "data.noun").is_file():
        raise SystemExit(
            f"{folder}: no WordNet there; install Debian's wordnet-base or give --wordnet FOLDER"
        )
    return {
        synset.wnid: synset
        for part in ("noun", "verb", "adj", "adv")
        for line in (folder / f"data.{part}").read_text(encoding="utf-8").splitlines()
        if not line.startswith("  ")
        for synset in [_parse(line, part[0])]
    }


def _parse(line: str, part: str) -> Synset:
    data, _, gloss = line.partition(" | ")
    fields = data.split()
    count = int(fields[3], 16)
    names = [re.sub(r"\(\w+\)$", "", fields[4 + 2 * i]).replace("_", " ") for i in range(count)]
    pointers = fields[4 + 2 * count :]
    first, total = 1, int(pointers[0])
    parents = [
        part + pointers[first + 4 * i + 1] for i in range(total) if pointers[first + 4 * i] in ("@", "@i")
    ]
    examples = [e for e in re.findall(r'"([^"]+)"', gloss) if len(e.split()) > 2]
    definition = re.sub(r';?\s*"[^"]*"[^;]*', "", gloss).strip(" ;")
    return Synset(part + fields[0], int(fields[1]), names, definition, examples, parents)


def kinds(synsets: dict[str, Synset], wnid: str) -> Iterator[str]:
    """Names of what a synset is a kind of, nearest first, without the most general ones."""
    while synsets[wnid].parents:
        wnid = synsets[wnid].parents[0]
        if synsets[wnid].names[0] in _TOO_GENERAL:
            return
        yield synsets[wnid].names[0]
