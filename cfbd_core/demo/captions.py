"""What people would write under a scene: a grammar with the variety, the repeats and the faults of web text.

Captions have 4–20 words. Most are right; some are vague, some get a count, a colour or a thing wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cfbd_core.demo.backdrops import BACKDROPS
from cfbd_core.demo.layout import Group, SceneSpec
from cfbd_core.demo.vague import vague_caption
from cfbd_core.demo.vocabulary import CLASS_NAMES, PAINTS, PICTOGRAMS
from cfbd_core.demo.words import phrases, plural, with_article

MIN_WORDS, MAX_WORDS = 4, 20
VAGUE_SHARE = 0.02
WRONG_SHARE = 0.05
_STOCK_SHARE = 0.15  # titles in a fixed form, which recur from picture to picture
_NUMBERS = {
    2: ("two", "two", "a pair of", "a couple of", "2"),
    3: ("three", "three", "three", "3"),
    4: ("four", "four", "4"),
}
_MANY = {2: (), 3: ("some", "several", "a few"), 4: ("some", "several", "a group of")}
_SIZES = {"small": ("small", "little", "tiny"), "big": ("big", "large", "huge")}
_PRAISE = ("nice", "cute", "lovely", "beautiful", "pretty", "funny", "single", "lone", "colorful", "cartoon")
_BETWEEN = {
    "left of": phrases(
        "{A} to the left of {B} | {A} on the left and {B} on the right | {B} to the right of {A} | {A} left of {B}"
        " | on the left {A}, on the right {B}"
    ),
    "above": phrases(
        "{A} above {B} | {B} below {A} | {A} over {B} | {B} underneath {A} | {A} at the top and {B} at the bottom"
    ),
    "next to": phrases(
        "{A} next to {B} | {B} next to {A} | {A} beside {B} | {A} and {B} side by side | {B} with {A} by its side"
        " | {A} close to {B}"
    ),
    "in front of": phrases(
        "{A} in front of {B} | {B} behind {A} | {B} partly hidden by {A} | {B} with {A} in front"
    ),
    "": phrases(
        "{A} and {B} | {B} and {A} | {A} with {B} | {A} along with {B} | {A} together with {B} | {B} as well as {A}"
    ),
}
_PLACES = {
    "left": ("on the left", "on the left side", "at the left edge"),
    "right": ("on the right", "on the right side", "at the right edge"),
    "top": ("at the top", "in the upper part"),
    "bottom": ("at the bottom", "in the lower part"),
    "middle": ("in the middle", "in the center"),
}
# S: the subject; P: where it is
_WITH_PLACE = phrases(
    "{S} {P} | {S} {P} | {S} {P} | {P}, {S} | there {be} {S} {P} | {S} {verb} {P} | {S} {verb} {P} | {S} {be} {P}"
    " | a photo of {S} {P} | a picture of {S} {P} | an illustration of {S} {P} | a drawing of {S} {P}"
    " | I saw {S} {P} | look at {S} {P} | {this} {be} {S} {P} | {S} can be seen {P} | a scene with {S} {P}"
    " | picture showing {S} {P} | {P} there {be} {S} | we found {S} {P} | here you can see {S} {P}"
    " | {S}, photographed {P} | my picture of {S} {P} | {S} {P} in this image"
)
_WITHOUT_PLACE = phrases(
    "a photo of {S} | a picture of {S} | an image of {S} | a drawing of {S} | an illustration of {S}"
    " | there {be} {S} here | {S} in a picture | {this} {be} {S} | look at {S} | clip art of {S} | picture showing {S}"
    " | a close view of {S} | {S} for kids | my favorite picture: {S} | a cartoon of {S} | {S}, vector art"
    " | a simple picture of {S} | {S}, stock photo"
)
_STOCK_TITLES = (("a picture of ", "this is "), ("a picture of ", "pictures of some "))  # of one; of several
_VERBS = {
    True: ("standing", "sitting", "placed", "resting", "seen"),
    False: ("shown", "placed", "floating", "pictured", "seen"),
}
_HAVE_VERB = ("with", "seen", "lying", "sitting", "drawn", "floating", "while", "as ")
_THIS = {"is": "this", "are": "these"}
_TAILS = (
    " - stock image",
    " | free clip art",
    ", high resolution",
    " (illustration)",
    " #art",
    ", for children",
    "!",
    " :)",
)


@dataclass(frozen=True)
class Caption:
    """A caption and whether it tells the truth: ``kind`` is ``right``, ``vague`` or ``wrong``."""

    text: str
    kind: str


def write_caption(spec: SceneSpec, rng: random.Random) -> Caption:
    """Write a caption as web text would have it: right, vague (2 %) or wrong in one point (5 %)."""
    chance = rng.random()
    if chance < VAGUE_SHARE:
        return Caption(_within(lambda: vague_caption(_backdrop(spec, rng), rng)), "vague")
    if chance < VAGUE_SHARE + WRONG_SHARE:
        return Caption(_describe(_mistaken(spec, rng), rng, insist=True), "wrong")
    if chance > 1 - _STOCK_SHARE:
        return Caption(_within(lambda: _stock_title(spec, rng)), "right")
    return Caption(_describe(spec, rng), "right")


def right_caption(spec: SceneSpec, rng: random.Random) -> str:
    """Write a caption that tells the truth about the scene."""
    return _describe(spec, rng)


def _within(draw: Callable[[], str]) -> str:
    """Draw until the text has 4–20 words."""
    while True:
        text = draw()
        if MIN_WORDS <= len(text.split()) <= MAX_WORDS:
            return text


def _describe(spec: SceneSpec, rng: random.Random, insist: bool = False) -> str:
    return _within(lambda: _finish(_sentence(spec, rng, insist), rng))


def _sentence(spec: SceneSpec, rng: random.Random, insist: bool) -> str:
    """Build one sentence; ``insist`` names every count, colour and the backdrop, so that a mistake shows."""
    subject = _subject(spec, rng, insist)
    only = spec.groups[0]
    is_many = len(spec.groups) > 1 or only.count > 1 or PICTOGRAMS[only.name].number in ("plural", "pair")
    be = "are" if is_many and not subject.startswith(("a ", "an ", "one ")) else "is"
    where = _where(spec, rng) if insist or rng.random() < 0.78 else ""
    frames: Sequence[str] = _WITH_PLACE if where else _WITHOUT_PLACE
    if subject.startswith("on the left"):
        frames = ("{S}", "{S} {P}") if where else ("{S}",)
    if not where:
        return rng.choice(frames).format(S=subject, be=be, this=_THIS[be])
    ground = BACKDROPS[spec.backdrop].ground is not None
    frame = rng.choice(frames)
    if "{verb}" in frame and where.startswith(_HAVE_VERB):
        frame = "{S} {P}"
    return frame.format(S=subject, P=where, be=be, this=_THIS[be], verb=rng.choice(_VERBS[ground]))


def _where(spec: SceneSpec, rng: random.Random) -> str:
    words = []
    if spec.place and rng.random() < 0.5:
        words.append(rng.choice(_PLACES[spec.place]))
    if spec.spot and rng.random() < 0.8:
        words.append(
            f"{rng.choice(('in', 'inside', 'on'))} {with_article(spec.spot)} {rng.choice(('circle', 'disc'))}"
        )
    if not words or rng.random() < 0.75:
        words.append(_backdrop(spec, rng))
    return " ".join(words)


def _backdrop(spec: SceneSpec, rng: random.Random) -> str:
    phrase = rng.choice(BACKDROPS[spec.backdrop].phrases).replace("{c}", spec.colour)
    return phrase.replace("a orange", "an orange")


def _subject(spec: SceneSpec, rng: random.Random, insist: bool) -> str:
    nouns = [_noun_phrase(group, rng, insist) for group in spec.groups]
    if len(nouns) == 1:
        return nouns[0]
    if len(nouns) == 2:
        return rng.choice(_BETWEEN[spec.relation]).format(A=nouns[0], B=nouns[1])
    rng.shuffle(nouns)
    return f"{', '.join(nouns[:-1])}{rng.choice((' and ', ' and ', ', and ', ' & '))}{nouns[-1]}"


def _noun_phrase(group: Group, rng: random.Random, insist: bool) -> str:
    picture = PICTOGRAMS[group.name]
    noun = rng.choice(picture.synonyms) if picture.synonyms and rng.random() < 0.25 else group.name
    is_plain = noun == group.name
    words = []
    if group.size and rng.random() < 0.75:
        words.append(rng.choice(_SIZES[group.size]))
    elif rng.random() < 0.1:
        words.append(rng.choice(_PRAISE))
    if group.paint and (insist or rng.random() < 0.65):
        words.append(group.paint)
    described = " ".join(words)
    if group.count > 1:
        numbers: Sequence[str] = _NUMBERS[group.count]
        if not insist and rng.random() < 0.2:
            numbers = _MANY[group.count] or numbers
        return " ".join(filter(None, (rng.choice(numbers), described, plural(noun))))
    full = f"{described} {noun}".strip()
    if is_plain and picture.number == "mass":
        return f"{rng.choice(('some ', 'some ', 'the ', ''))}{full}"
    if picture.number == "plural":
        return f"{rng.choice(('some ', 'some ', 'the ', ''))}{full}"
    if picture.number == "pair":
        return rng.choice((f"a pair of {full}", full, f"some {full}"))
    opening = rng.random()
    if opening < 0.1:
        return f"the {full}"
    return f"one {full}" if opening < 0.15 else with_article(full)


def _stock_title(spec: SceneSpec, rng: random.Random) -> str:
    """Name one of the groups in a fixed form."""
    group = rng.choice(spec.groups)
    number = PICTOGRAMS[group.name].number
    if group.count > 1:
        return f"{rng.choice(_STOCK_TITLES[1])}{plural(group.name)}"
    if number == "count":
        return f"{rng.choice(_STOCK_TITLES[0])}{with_article(group.name)}"
    return f"{_STOCK_TITLES[1][0]}{group.name}"


def _finish(text: str, rng: random.Random) -> str:
    """Give the sentence its capital, its stop, or the ornaments of web text."""
    look = rng.random()
    if look < 0.55:
        text = text[0].upper() + text[1:]
    elif look < 0.58:
        text = text.title().replace("'S", "'s")
    ending = rng.random()
    if ending < 0.35:
        return text + "."
    return text + rng.choice(_TAILS) if ending < 0.42 else text


def _mistaken(spec: SceneSpec, rng: random.Random) -> SceneSpec:
    """Change one point of what a caption will say: a count, a colour or one of the things."""
    groups = list(spec.groups)
    at = rng.randrange(len(groups))
    group = groups[at]
    faults = ["thing"]
    if group.count > 1:
        faults += ["count", "count"]
    if group.paint:
        faults += ["paint", "paint"]
    fault = rng.choice(faults)
    if fault == "count":
        groups[at] = replace(group, count=rng.choice([n for n in _NUMBERS if n != group.count]))
    elif fault == "paint":
        groups[at] = replace(group, paint=rng.choice([paint for paint in PAINTS if paint != group.paint]))
    else:
        number = PICTOGRAMS[group.name].number if group.count == 1 else "count"
        taken = {other.name for other in groups}
        others = [n for n in CLASS_NAMES if n not in taken and PICTOGRAMS[n].number == number]
        groups[at] = replace(group, name=rng.choice(others), paint=None)
    return replace(spec, groups=tuple(groups))
