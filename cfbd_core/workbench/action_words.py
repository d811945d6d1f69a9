"""An action of the log in words, as plain text: what was done, and by which filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cfbd_core.errors import ParameterError
from cfbd_core.store.log import Action
from cfbd_core.wording import counted
from cfbd_core.workbench.filter_query import NAMES, from_query, parts

DONE = {"": "take back", None: "various"}


def action_words(action: Action) -> str:
    """Return what was done, and to how many pairs: "remove, 1,234 pairs", "undo #3"."""
    if action.target is not None:
        return f"{action.kind} #{action.target}, {counted(action.pairs, 'pair')} changed"
    read = "import: " if action.kind == "import" else ""
    return f"{read}{DONE.get(action.decision, action.decision)}, {counted(action.pairs, 'pair')}"


def filter_words(chosen: Mapping[str, Any] | None) -> str:
    """Which pairs were chosen at once: "removed; z 0.50 to 1.00; “banana”"; empty where a person chose one by one.

    ``chosen`` is a filter's parameters (:func:`cfbd_core.workbench.filter_query.to_query`) or any other JSON object.
    """
    if chosen is None:
        return ""
    if chosen.get("before_the_log"):
        return "decided before there was a log"
    try:
        known = {name: value for name, value in chosen.items() if name in NAMES}
        words_of_filter = [part.words for part in parts(from_query(known))]
        others = [_other(name, value) for name, value in chosen.items() if name not in NAMES]
        return "; ".join(others if others and not known else [*words_of_filter, *others]) or "all pairs"
    except (ParameterError, AttributeError, TypeError):  # of another version, or of one's own program
        return "; ".join(_other(name, value) for name, value in chosen.items())


def _other(name: str, value: Any) -> str:
    return f"from the file {value}" if name == "file" else f"{name} {value}"


def params_words(params: Mapping[str, Any] | None) -> str:
    """Return the split's settings in one line: "K 5 · γ 0.9 · q 50 · γ_z auto"; empty where there was no split."""
    if not params:
        return ""
    cut = params.get("gamma_z") if params.get("gamma_z") is not None else params.get("gamma_z_rule")
    return f"K {params.get('k')} · γ {params.get('gamma')} · q {params.get('q')} · γ_z {cut}"
