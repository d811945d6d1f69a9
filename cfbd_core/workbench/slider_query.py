"""The sliders of both stages as an address's parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cfbd_core.config import SplitParams
from cfbd_core.errors import ParameterError

NAMES = ("k", "gamma", "q", "gamma_z", "rule", "recheck", "collapse_duplicates")


def to_query(params: SplitParams) -> dict[str, str]:
    """Parameters of an address by name; what is as in ``SplitParams()`` is left out where it is no number."""
    query = {"k": str(params.k), "gamma": repr(params.gamma), "q": str(params.q)}
    query["gamma_z"] = params.gamma_z_rule if params.gamma_z is None else repr(params.gamma_z)
    query |= {"rule": params.rule} if params.rule != "quantile" else {}
    query |= {} if params.recheck else {"recheck": "0"}
    return query | ({"collapse_duplicates": "1"} if params.collapse_duplicates else {})


def from_query(query: Mapping[str, str], others: SplitParams) -> SplitParams | None:
    """Read what :func:`to_query` gave; None where ``query`` names no slider. Raises ParameterError.

    κ and the seed, which no slider sets, are those of ``others``.
    """
    given = {name: query[name] for name in NAMES if name in query}
    if not given:
        return None
    values: dict[str, Any] = {"kappa": others.kappa, "seed": others.seed}
    for name, text in given.items():
        try:
            values |= {name: _READ[name](text)} if name != "gamma_z" else {}
        except ValueError as error:
            raise ParameterError(f"{name} {text[:40]!r}: give a number") from error
    return SplitParams.with_gamma_z(given.get("gamma_z", "auto"), **values)


_READ: dict[str, Callable[[str], Any]] = {
    "k": int,
    "gamma": float,
    "q": int,
    "rule": str,
    "recheck": lambda text: text != "0",
    "collapse_duplicates": lambda text: text == "1",
}
