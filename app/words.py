"""Text from strangers, shown letter by letter: as HTML, and as the Markdown that Streamlit reads."""

from __future__ import annotations

import html
import re

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|~<>$:&])")
# Streamlit and its Markdown parser look for these in the finished text, where an escape no longer shows:
# icons, emoji, arrows, web and e-mail addresses.
_REPLACED = re.compile(
    r":(?=//|material[/_]|streamlit:|[\w+-]+:)|\bwww(?=\.)|@(?=[-\w]+\.)"
    r"|(?<!\S)[<>~-](?=[=>-](?:\s|$))|(?<!\S)<(?=->(?:\s|$))",
    re.IGNORECASE,
)
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_ISOLATE, _END_ISOLATE, _JOINER = "\u2068", "\u2069", "\u2060"  # none of them has a width


def plain(text: str, limit: int = 400) -> str:
    """Return text as HTML that shows it letter by letter; cut after ``limit`` letters."""
    return (
        '<span dir="auto" style="overflow-wrap:anywhere;white-space:pre-wrap">'
        f"{html.escape(cut(text, limit))}</span>"
    )


def escaped(text: str, limit: int = 1000) -> str:
    """Return text as Markdown that shows it letter by letter, on one line; cut after ``limit`` letters."""
    line = " ".join(cut(text, limit).split())
    shown = _SPECIAL.sub(r"\\\1", _REPLACED.sub(lambda match: match[0] + _JOINER, line))
    # Text that turns the reading direction must not turn what stands after it.
    return f"{_ISOLATE}{shown}{_END_ISOLATE}" if _DIRECTIONS.search(line) else shown


def code(text: str) -> str:
    """Return text as a span of code in Markdown, whatever backticks it holds."""
    line = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    room = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{room}{line}{room}{fence}"


def cut(text: str, limit: int) -> str:
    """Return text of at most ``limit`` letters; an ellipsis stands for what is left out."""
    return text if len(text) <= limit else text[:limit].rstrip() + " …"
