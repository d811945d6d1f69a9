"""The rows of Tables 1 and 2: on which pairs each trains, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

On = Literal["clean", "poisoned", "kept", "coarse", "held out"]


@dataclass(frozen=True)
class Row:
    """One way to train.

    ``on``: the pairs before the attack, after it, what CFBD keeps of these, D_b alone, or clean pairs held out,
    with which the model of the row "none" is fine-tuned. ``defense`` is the registry's name.
    """

    name: str
    title: str
    on: On
    defense: str = "plain"


ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row("clean", "Train on clean", "clean"),
        Row("none", "No defense", "poisoned"),
        Row("cleanclip", "CleanCLIP", "held out", "cleanclip"),
        Row("roclip", "RoCLIP", "poisoned", "roclip"),
        Row("abl", "ABL", "poisoned", "abl"),
        Row("safeclip", "SafeCLIP-like", "poisoned", "safeclip"),
        Row("coarse", "CFBD (coarse)", "coarse"),
        Row("cfbd", "CFBD (coarse to fine)", "kept"),
    )
}
