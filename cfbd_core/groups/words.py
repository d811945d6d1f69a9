"""The words that set a group's captions apart from the rest."""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log, sqrt

MOST_CHARACTERS = 2_000  # characters of a caption that are read
MOST_TOKENS = 100
PRIOR_CAPTIONS = 0.5  # captions, of each set: what is seen once is no sign
LEAST_STANDARD_ERRORS = 2.0  # standard errors by which log odds must exceed 0
LEAST_COVERED_SHARE = 0.2  # of the group's captions, at least
MOST_PHRASES = 6

_TAG = re.compile(r"<[^<>]{0,500}>")
_TOKEN = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "a an the of in on at to and or with by for from is are be as it its this that there i my one some two his her"
        " their",
    )
)


@dataclass(frozen=True)
class Phrase:
    """One to three words; ``captions`` of the group's hold them; ``log_odds`` against the rest's captions."""

    text: str
    captions: int
    log_odds: float


def tokens(caption: str) -> list[str]:
    """Return the words of a caption in lower case, without markup and invisible characters; an emoji is a word."""
    text = unicodedata.normalize("NFKC", html.unescape(caption[:MOST_CHARACTERS]))
    text = _TAG.sub(" ", text)
    kinds = [(char, unicodedata.category(char)) for char in text]
    text = "".join(" " if kind == "Cc" else char for char, kind in kinds if kind not in ("Cf", "Mn", "Cs"))
    parts: list[str] = []
    at = 0
    for match in _TOKEN.finditer(text.casefold()):
        parts += _pictograms(text[at : match.start()])
        parts.append(match.group().replace("’", "'"))
        at = match.end()
        if len(parts) >= MOST_TOKENS:
            break
    else:
        parts += _pictograms(text[at:])
    return parts[:MOST_TOKENS]


def phrases_of(caption: str) -> set[str]:
    """Return every phrase of 1–3 words in a caption that does not begin or end with a word like "the"."""
    words = tokens(caption)
    phrases = set()
    for length in (1, 2, 3):
        for start in range(len(words) - length + 1):
            part = words[start : start + length]
            if part[0] not in _COMMON and part[-1] not in _COMMON:
                phrases.add(" ".join(part))
    return phrases


def counted(captions: Iterable[str]) -> Counter[str]:
    """Return how many of the captions hold each phrase."""
    count: Counter[str] = Counter()
    for caption in captions:
        count.update(phrases_of(caption))
    return count


def defining_phrases(
    group: Counter[str], n: int, rest: Counter[str], m: int, most: int = MOST_PHRASES
) -> list[Phrase]:
    """Return the phrases of ``n`` captions that are likelier there than in ``m`` others, surest first.

    Log odds with a small prior (Monroe et al. 2008, without the common prior). A phrase that holds another, or is held
    by one, and is in nearly the same captions is listed once, the longer unless it loses a tenth of them.
    """
    judged = []
    for text, count in group.items():
        if count < max(min(2, n), LEAST_COVERED_SHARE * n):
            continue
        there, elsewhere = count + PRIOR_CAPTIONS, rest.get(text, 0) + PRIOR_CAPTIONS
        odds = log(there / (n - count + PRIOR_CAPTIONS)) - log(
            elsewhere / (m - rest.get(text, 0) + PRIOR_CAPTIONS)
        )
        error = sqrt(1 / there + 1 / elsewhere)
        if n == 1 or odds > LEAST_STANDARD_ERRORS * error:
            judged.append((odds / error * sqrt(count), len(text.split()), text, count, odds))
    judged.sort(key=lambda one: (-one[0], -one[1], one[2]))
    chosen: list[tuple[str, int, float]] = []
    for _, _, text, count, odds in judged:
        clash = [i for i, (other, _, _) in enumerate(chosen) if _holds(other, text) or _holds(text, other)]
        if not clash:
            if len(chosen) < most:
                chosen.append((text, count, odds))
            continue
        first = clash[0]
        other, other_count, _ = chosen[first]
        if len(clash) == 1 and len(text) > len(other) and count >= 0.9 * other_count:
            chosen[first] = (text, count, odds)
    return [Phrase(*one) for one in chosen]


def words_of_groups(
    groups: Sequence[Sequence[str]], rest: Sequence[str], most: int = MOST_PHRASES
) -> list[list[Phrase]]:
    """Return the defining phrases of each group of captions against the captions of all other groups and ``rest``."""
    counts = [counted(captions) for captions in groups]
    every = counted(rest)
    for count in counts:
        every.update(count)
    total = len(rest) + sum(map(len, groups))
    phrases = []
    for captions, count in zip(groups, counts, strict=True):
        others = Counter({text: every[text] - count[text] for text in count})
        phrases.append(defining_phrases(count, len(captions), others, total - len(captions), most))
    return phrases


def _holds(longer: str, shorter: str) -> bool:
    return f" {shorter} " in f" {longer} "


def _pictograms(text: str) -> list[str]:
    return [char for char in text if unicodedata.category(char) == "So"]
