"""Numbers in sentences and tables, and the words of others in one line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

NONE = "–"  # stands for a number that there is none of


def counted(number: int, noun: str) -> str:
    """Return "1 pair", "2,000 pairs" for a noun that takes an s."""
    return f"{number:,} {plural(number, noun)}"


def plural(number: int, noun: str) -> str:
    """Return "pair" for one, "pairs" for any other number, of a noun that takes an s."""
    return noun if number == 1 else f"{noun}s"


def is_or_are(number: int) -> str:
    """Return the verb that goes with so many."""
    return "is" if number == 1 else "are"


def has_or_have(number: int) -> str:
    """Return the verb that goes with so many."""
    return "has" if number == 1 else "have"


def by_kind(counts: Mapping[str, int]) -> str:
    """Return "1 gif, 2,000 tif": how many of each kind, by name."""
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))


def decimal(value: float | None, digits: int = 4) -> str:
    """Return "0.1235", a dash for None."""
    return NONE if value is None else f"{value:.{digits}f}"


def percentage(share: float | None) -> str:
    """Return "12.35%" for 0.12345, a dash for None."""
    return NONE if share is None else f"{share:.2%}"


def rounded_percentage(share: float) -> str:
    """Return "12.3 %" for 0.12345: a measured rate, whose interval is wider than what is left out."""
    return f"{100 * share:.1f} %"


def duration(seconds: float) -> str:
    """Return "1:05" for minutes and seconds, "2:01:05" with hours."""
    whole = timedelta(seconds=round(seconds))
    return str(whole) if seconds >= 3600 else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def in_one_line(text: object, letters: int | None = None) -> str:
    """Return the first ``letters`` of a text or of an error's words, without its breaks and runs of spaces."""
    return " ".join(str(text).split())[:letters]
