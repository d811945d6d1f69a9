"""An action of the log in words, as plain text: what was done, and by which filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cfbd_core.pair_filter import PairFilter
from cfbd_core.store.log import Action

DONE = {"keep": "keep", "remove": "remove", "unsure": "unsure", "": "take back", None: "decide"}
SUBSETS = {"benign": "D_b", "poisoned": "D_p", "suspicious": "D_s"}


def action_words(action: Action) -> str:
    """What was done, and to how many pairs: "remove, 1,234 pairs", "undo #3"."""
    if action.target is not None:
        return f"{action.kind} #{action.target}, {_pairs(action.pairs)} changed"
    read = "import: " if action.kind == "import" else ""
    return f"{read}{DONE.get(action.decision, action.decision)}, {_pairs(action.pairs)}"


def filter_words(chosen: Mapping[str, Any] | None) -> str:
    """Which pairs were chosen at once: "removed pairs; z 0.500 to 1.000; text “banana”"; empty for one pair."""
    if not chosen:
        return ""
    return "; ".join(filter(None, (_part(name, value) for name, value in chosen.items())))


def params_words(params: Mapping[str, Any] | None) -> str:
    """The split's settings in one line: "K 5 · γ 0.9 · q 50 · γ_z auto"; empty where there was no split."""
    if not params:
        return ""
    cut = params.get("gamma_z") if params.get("gamma_z") is not None else params.get("gamma_z_rule")
    return f"K {params.get('k')} · γ {params.get('gamma')} · q {params.get('q')} · γ_z {cut}"


def filter_json(chosen: PairFilter) -> dict[str, Any]:
    """A filter as the log holds it: plain JSON values, without what asks for all pairs and without the order."""
    held = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(chosen).items()}
    asks = {name: value for name, value in held.items() if value not in ([], None, "")}
    return {name: value for name, value in asks.items() if name not in ("sort", "descending")}


def _part(name: str, value: Any) -> str:
    if name in ("c", "z") and isinstance(value, list | tuple) and len(value) == 2:
        return f"{name} {value[0]:.3f} to {value[1]:.3f}"
    told = _TOLD.get(name)
    return told(value) if told else f"{name} {value}"


_TOLD: dict[str, Callable[[Any], str]] = {
    "before_the_log": lambda _: "decided before there was a log",
    "file": lambda value: f"from the file {value}",
    "show": lambda value: "all pairs" if value == "all" else f"{value} pairs",
    "text": lambda value: f"text “{value}”",
    "subsets": lambda names: " or ".join(SUBSETS.get(one, str(one)) for one in names),
    "decisions": lambda names: "decided " + " or ".join(one or "not yet" for one in names),
    "truth": lambda value: "known poisons" if value else "known clean",
}


def _pairs(count: int) -> str:
    return f"{count:,} pair{'' if count == 1 else 's'}"
