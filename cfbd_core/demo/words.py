"""English in small: plurals, articles, lists of phrases."""

from __future__ import annotations

_IRREGULAR = {
    "mouse": "mice",
    "sheep": "sheep",
    "deer": "deer",
    "wolf": "wolves",
    "grey wolf": "grey wolves",
    "octopus": "octopuses",
    "hippopotamus": "hippos",
    "jellyfish": "jellyfish",
    "tropical fish": "tropical fish",
    "angelfish": "angelfish",
    "cactus": "cacti",
    "tomato": "tomatoes",
    "volcano": "volcanoes",
    "scarf": "scarves",
    "snowman": "snowmen",
    "bar of chocolate": "bars of chocolate",
}


def plural(noun: str) -> str:
    """English plural of a class name or synonym."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def with_article(phrase: str) -> str:
    """``a`` or ``an`` before a phrase, by its sound."""
    vowel = phrase[0].lower() in "aeiou" and not phrase.startswith(("uni", "ewe", "one"))
    return f"{'an' if vowel else 'a'} {phrase}"


def phrases(text: str) -> tuple[str, ...]:
    """Split a list written as ``one | two | three``."""
    return tuple(text.split(" | "))
