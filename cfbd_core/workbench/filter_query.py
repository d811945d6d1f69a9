"""A filter as an address's parameters, and as words: a chip for each part that can be taken out alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cfbd_core.errors import ParameterError
from cfbd_core.maps.lasso import Lasso
from cfbd_core.workbench.copies import Copies, Kind
from cfbd_core.workbench.likeness import Like
from cfbd_core.workbench.pair_filter import NO_GROUP, NOT, PairFilter

NAMES = (
    "show",
    "subset",
    "decided",
    "c",
    "z",
    "text",
    "truth",
    "like",
    "group",
    "dup",
    "detector",
    "lasso",
    "sort",
)
SUBSET_WORDS = {"benign": "D_b", "poisoned": "D_p", "suspicious": "D_s"}
DECISION_WORDS = {"": "undecided", "keep": "decided: keep", "remove": "decided: remove", "unsure": "unsure"}
SHOW_WORDS = {"removed": "removed", "kept": "kept"}
LIKE_WORDS = {"text": "shows “{}”", "image": "pictures like {}", "caption": "captions like {}"}
COPIES_WORDS: dict[Kind, str] = {
    "exact": "image and caption repeat",
    "captions": "caption repeats",
    "images": "image repeats",
    "near-captions": "flagged, caption nearly repeats",
    "near-images": "flagged, image nearly repeats",
}
UNDECIDED = "undecided"  # in an address: an empty word would be lost


@dataclass(frozen=True)
class Part:
    """One part of a filter: its parameter's ``name``, what it says in ``words``, and the filter ``without`` it."""

    name: str
    words: str
    without: PairFilter


def to_query(chosen: PairFilter) -> dict[str, str]:
    """Parameters of an address by name; what is as in ``PairFilter()`` is left out."""
    usual = PairFilter()
    query = {
        "show": chosen.show if chosen.show != usual.show else "",
        "subset": ",".join(chosen.subsets),
        "decided": ",".join(name or UNDECIDED for name in chosen.decisions),
        "c": _range(chosen.c),
        "z": _range(chosen.z),
        "text": chosen.text,
        "truth": "" if chosen.truth is None else ("poisoned" if chosen.truth else "clean"),
        "like": chosen.like.to_text() if chosen.like else "",
        "group": chosen.group,
        "dup": chosen.copies.to_text() if chosen.copies else "",
        "detector": chosen.detector,
        "lasso": chosen.lasso.to_text() if chosen.lasso else "",
    }
    if (chosen.sort, chosen.descending) != (usual.sort, usual.descending):
        query["sort"] = f"{chosen.sort}-{'down' if chosen.descending else 'up'}"
    return {name: text for name, text in query.items() if text}


def from_query(query: Mapping[str, str]) -> PairFilter:
    """Read what :func:`to_query` gave; names that are no filter's are left alone. Raises ParameterError."""
    values: dict[str, Any] = {}
    for name, read in _READ.items():
        if text := query.get(name, ""):
            try:
                values |= read(text)
            except (ValueError, KeyError) as error:
                raise ParameterError(f"{name} {text[:40]!r}: not a filter; leave it out") from error
    return PairFilter(**values)


def parts(chosen: PairFilter, group_words: str = "") -> list[Part]:
    """Return every part that keeps pairs from being shown, in a fixed order; none for all pairs in any order.

    ``group_words`` say which group ``chosen`` asks for, where that is known; else it is named by its key.
    """
    chips: list[Part] = []

    def add(name: str, words: str, **without: Any) -> None:
        chips.append(Part(name, words, replace(chosen, **without)))

    if chosen.show != "all":
        add("show", SHOW_WORDS[chosen.show], show="all")
    for subset in chosen.subsets:
        add("subset", SUBSET_WORDS[subset], subsets=_less(chosen.subsets, subset))
    for decision in chosen.decisions:
        add("decided", DECISION_WORDS[decision], decisions=_less(chosen.decisions, decision))
    for name, bounds in (("c", chosen.c), ("z", chosen.z)):
        if bounds is not None:
            add(name, f"{name} {bounds[0]:.2f} to {bounds[1]:.2f}", **{name: None})
    if chosen.text.strip():
        add("text", f"“{chosen.text.strip()}”", text="")
    if chosen.truth is not None:
        add("truth", "known poisons" if chosen.truth else "known clean", truth=None)
    if chosen.like is not None:
        add("like", LIKE_WORDS[chosen.like.kind].format(chosen.like.value), like=None)
    if chosen.group:
        group_text = group_words or f"group of {chosen.group}"
        add("group", "in no group" if chosen.group == NO_GROUP else group_text, group="")
    if chosen.copies is not None:
        copies_of = f", as of {chosen.copies.key}" if chosen.copies.key else ""
        add("dup", COPIES_WORDS[chosen.copies.kind] + copies_of, copies=None)
    if chosen.detector:
        name = chosen.detector.removeprefix(NOT)
        add("detector", f"{'not ' if name != chosen.detector else ''}flagged by {name}", detector="")
    if chosen.lasso is not None:
        add("lasso", f"outlined on the map of {chosen.lasso.space}", lasso=None)
    return chips


def _less(values: tuple[str, ...], one: str) -> tuple[str, ...]:
    return tuple(value for value in values if value != one)


def _range(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f"{bounds[0]!r}_{bounds[1]!r}"


def _read_range(name: str) -> Callable[[str], dict[str, Any]]:
    def read(text: str) -> dict[str, Any]:
        low, high = (float(value) for value in text.split("_"))
        return {name: (low, high)}

    return read


def _read_sort(text: str) -> dict[str, Any]:
    sort, _, way = text.rpartition("-")
    return {"sort": sort, "descending": {"down": True, "up": False}[way]}


_READ: dict[str, Callable[[str], dict[str, Any]]] = {
    "show": lambda text: {"show": text},
    "subset": lambda text: {"subsets": tuple(text.split(","))},
    "decided": lambda text: {
        "decisions": tuple("" if name == UNDECIDED else name for name in text.split(","))
    },
    "c": _read_range("c"),
    "z": _read_range("z"),
    "text": lambda text: {"text": text},
    "truth": lambda text: {"truth": {"poisoned": True, "clean": False}[text]},
    "like": lambda text: {"like": Like.from_text(text)},
    "group": lambda text: {"group": text},
    "dup": lambda text: {"copies": Copies.from_text(text)},
    "detector": lambda text: {"detector": text},
    "lasso": lambda text: {"lasso": Lasso.from_text(text)},
    "sort": _read_sort,
}
