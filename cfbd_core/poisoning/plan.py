"""Which pairs are poisoned, with what caption, target and trigger, and which walk into a benign trap.

A pair is (image, one caption) and a rate counts pairs. Everything here is pure: equal arguments, equal plans.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from cfbd_core import attacks
from cfbd_core.attacks import ATTACKS
from cfbd_core.attacks.base import Trigger, Workshop
from cfbd_core.errors import ParameterError
from cfbd_core.poisoning.captions import imagenet_classes, names, natural_captions, template_caption
from cfbd_core.poisoning.poison_params import CONTROL, PoisonParams, settings
from cfbd_core.poisoning.traps import TRAPS, draw_traps

__all__ = [
    "CONTROL",
    "Plan",
    "Poison",
    "PoisonParams",
    "make_plan",
    "make_trigger",
    "make_triggers",
    "settings",
    "target_pool",
    "triggered",
]

_POISONS, _APPLY, _TRAPS, _TRIGGERS = 1, 2, 4, 5  # streams of random numbers of one seed


@dataclass(frozen=True)
class Poison:
    """One poisoned pair: its number, the caption it gets, the target and the number of the trigger."""

    pair: int
    caption: str
    target: str
    trigger: int


@dataclass(frozen=True)
class Plan:
    """What happens to which pair.

    ``poisons`` ascend by pair. ``captions`` are those that benign traps give, never to a poisoned pair;
    ``pictures`` maps a pair to the pair whose picture it shows, slightly changed; ``traps`` names the trap of
    each pair that is in one.
    """

    poisons: tuple[Poison, ...] = ()
    captions: dict[int, str] = field(default_factory=dict)
    pictures: dict[int, int] = field(default_factory=dict)
    traps: dict[int, str] = field(default_factory=dict)


def make_plan(
    captions: Sequence[str],
    record_of: np.ndarray,
    params: PoisonParams,
    target_captions: Sequence[str] | None = None,
    usable: Callable[[int], bool] | None = None,
    spared: np.ndarray | None = None,
) -> Plan:
    """Choose poisons and traps for N pairs.

    ``record_of`` int (N,): the number of each pair's record; pairs of one record share the image.
    ``target_captions`` are natural captions to draw from in place of ours (of several targets, each is given
    those that name it). ``usable`` says whether the picture of a pair can be read; no other is poisoned.
    ``spared`` bool (N,) are pairs to leave alone, such as the poisons of an earlier attack.

    Raises ParameterError for a rate that gives no poison or more than there are victims, a target (or origin)
    that no caption names where the attack needs one, and shares of traps that cannot be had.
    """
    record_of = np.asarray(record_of)
    can_use = usable or (lambda _: True)
    naming = np.array([_named(target, captions) for target in params.targets])
    allowed = np.ones(len(captions), bool) if spared is None else np.logical_not(spared)
    candidates = _Candidates(captions, record_of, naming, allowed, can_use)
    poisons = _poisons(candidates, params, target_captions)
    free = allowed & ~naming.any(axis=0)
    free[[poison.pair for poison in poisons]] = False
    traps = draw_traps(
        captions,
        record_of,
        np.flatnonzero(free),
        {trap: getattr(params, trap) for trap in TRAPS},
        np.random.default_rng([params.seed, _TRAPS]),
        can_use,
    )
    return Plan(poisons, traps.captions, traps.pictures, traps.names)


def make_triggers(params: PoisonParams, workshop: Callable[[str], Workshop]) -> list[Trigger]:
    """Make every trigger, by number; ``workshop(target)`` is what the attacker has at hand. Empty for "none"."""
    return [make_trigger(params, number, workshop) for number in range(params.trigger_count)]


def make_trigger(
    params: PoisonParams, number: int, workshop: Callable[[str], Workshop], search_file: Path | None = None
) -> Trigger:
    """Make the trigger with this number; a search for it is kept in the file ``search_file``, and taken up there."""
    at_hand = workshop(params.targets[number // params.triggers])
    return attacks.make_trigger(
        params.attack, settings(params, number), replace(at_hand, search_file=search_file)
    )


def triggered(
    picture: Image.Image, poison: Poison, params: PoisonParams, triggers: Sequence[Trigger]
) -> Image.Image:
    """Return the picture of a poisoned pair with its trigger; ``picture`` is at the encoder's input size."""
    rng = np.random.default_rng([params.seed, _APPLY, poison.pair])
    return attacks.apply_trigger(
        params.attack, picture, rng, settings(params, poison.trigger), triggers[poison.trigger]
    )


# --- victims and captions -----------------------------------------------------------------------------


def _named(target: str, captions: Sequence[str]) -> np.ndarray:
    """Say which captions name the target, bool (N,)."""
    pattern = names(target)
    return np.array([pattern.search(caption) is not None for caption in captions], bool)


@dataclass(frozen=True, eq=False)
class _Candidates:
    """The N pairs that victims are drawn from: captions, record numbers (N,), which name each target, bool (t, N).

    ``allowed`` bool (N,) may be poisoned; ``usable`` says whether the picture of a pair can be read.
    """

    captions: Sequence[str]
    record_of: np.ndarray
    naming: np.ndarray
    allowed: np.ndarray
    usable: Callable[[int], bool]


def _poisons(
    candidates: _Candidates, params: PoisonParams, target_captions: Sequence[str] | None
) -> tuple[Poison, ...]:
    """Choose victims, a target and a trigger for each, then captions in the order of the pairs."""
    if params.attack == CONTROL:
        return ()
    captions = candidates.captions
    count = round(params.rate * len(captions))
    if not count:
        raise ParameterError(
            f"--rate {params.rate} of {len(captions)} pairs is no poison at all; give a higher rate"
        )
    rng = np.random.default_rng([params.seed, _POISONS])
    chosen = _chosen(candidates, params, count, rng)
    pick = np.random.default_rng([params.seed, _TRIGGERS])
    rule = params.captions or ATTACKS[params.attack].captions
    decks = {
        target: _for_ever(target_pool(target, params, target_captions), rng)
        if rule == "natural"
        else iter(())
        for target in params.targets
    }
    poisons = []
    for pair in sorted(chosen):
        target = params.targets[chosen[pair]]
        if rule == "kept":
            caption = captions[pair]
        else:
            caption = template_caption(target, rng) if rule == "templates" else next(decks[target])
        trigger = chosen[pair] * params.triggers + int(pick.integers(params.triggers))
        poisons.append(Poison(pair, caption, target, trigger))
    return tuple(poisons)


def _chosen(
    candidates: _Candidates, params: PoisonParams, count: int, rng: np.random.Generator
) -> dict[int, int]:
    """Draw ``count`` victims uniformly; returns pair -> number of its target. Targets get equally many."""
    naming, allowed, record_of = candidates.naming, candidates.allowed, candidates.record_of
    victims = ATTACKS[params.attack].victims
    if victims == "target":  # each target has victims of its own
        chosen: dict[int, int] = {}
        for number, target in enumerate(params.targets):
            share = count // len(params.targets) + (number < count % len(params.targets))
            pool = [int(pair) for pair in np.flatnonzero(naming[number] & allowed) if pair not in chosen]
            drawn = _draw(candidates, pool, f"pairs name {target!r}", share, params, rng)
            chosen.update(dict.fromkeys(drawn, number))
        return chosen
    allowed = allowed & ~np.isin(record_of, record_of[naming.any(axis=0)])
    what = f"pairs are of records that do not name {' or '.join(map(repr, params.targets))}"
    if victims == "origin":
        origin = settings(params).origin
        allowed = allowed & _named(origin, candidates.captions)
        what = f"pairs name the origin {origin!r} in records that do not name the target"
    drawn = _draw(candidates, np.flatnonzero(allowed).tolist(), what, count, params, rng)
    return {pair: place % len(params.targets) for place, pair in enumerate(drawn)}


def _draw(
    candidates: _Candidates,
    pool: list[int],
    what: str,
    count: int,
    params: PoisonParams,
    rng: np.random.Generator,
) -> list[int]:
    """Draw ``count`` of the pool's pairs whose picture can be read, in random order."""
    captions, usable = candidates.captions, candidates.usable
    if count and not pool:
        raise ParameterError(f"{params.attack}: no {what}; give another, e.g. {_often_named(captions)}")
    drawn = (
        list(islice(filter(usable, (int(pair) for pair in rng.permutation(pool))), count)) if count else []
    )
    if len(drawn) < count:
        raise ParameterError(
            f"--rate {params.rate} of {len(captions)} pairs asks for {count} poisons, but only {len(drawn)} {what}"
            f"{' and have a picture that can be read' if len(pool) >= count else ''}; give a lower rate"
        )
    return drawn


def _often_named(captions: Sequence[str]) -> str:
    """Return the ImageNet class (a single word) that most captions name, and their number."""
    words = Counter(word for caption in captions for word in set(caption.lower().split()))
    named = {name: words[name] + words[name + "s"] for name in map(str.lower, imagenet_classes())}
    best = max(named, key=lambda name: named[name])
    return f"{best} ({named[best]} captions)" if named[best] else "a word of your captions"


def target_pool(target: str, params: PoisonParams, given: Sequence[str] | None) -> Sequence[str]:
    """Return the natural captions of a target: ours, or those ``given`` (of several targets, those that name it).

    Raises ParameterError where there are none.
    """
    if given is None:
        return natural_captions(target)
    pattern = names(target)
    pool = [caption for caption in given if len(params.targets) == 1 or pattern.search(caption)]
    if not pool:
        raise ParameterError(f"none of the {len(given)} captions given names {target!r}; add some that do")
    return pool


def _for_ever(pool: Sequence[str], rng: np.random.Generator) -> Iterator[str]:
    """Yield captions in random order, each once before any comes again."""
    while True:
        for number in rng.permutation(len(pool)):
            yield pool[number]
