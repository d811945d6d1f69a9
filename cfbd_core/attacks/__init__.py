"""The attack lab: one file an attack, one line in the registry."""

from cfbd_core.attacks import badclip, badnets, blended, issba, label_consistent, mmpoison, sig, trojan, wanet
from cfbd_core.attacks.base import INPUT_SIZE, Attack, Trigger, Workshop, resized

ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for attack in (
        badnets.ATTACK,
        blended.ATTACK,
        sig.ATTACK,
        wanet.ATTACK,
        trojan.ATTACK,
        issba.ATTACK,
        label_consistent.ATTACK,
        mmpoison.ATTACK,
        badclip.ATTACK,
    )
}  # fmt: skip

__all__ = [
    "ATTACKS",
    "INPUT_SIZE",
    "Attack",
    "Trigger",
    "Workshop",
    "resized",
]
