"""Do flagged pairs come apart by target, and does the estimate show the trigger?

    python benchmarks/groups.py ../shared/data/flickr8k --out build/groups [--pictures FOLDER] [--only badnets …]

Flickr8k's odd half, every caption a pair, encoder ``mini``, CFBD's default operating point. *Group* is the one with
most poisons: how many of the flagged poisons it holds, and its purity. *Correlation* is that of the estimate with the
true patch, laid over its true place, or with the true pattern (ISSBA: the mean of what it changed in the group's
pictures). *Place error* is the median distance of the patch's centre over the pictures in which it was found.
Then: three targets at once, and 20,000 flagged pairs. ``--out`` keeps the embedded base and the optimised patches.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cfbd_core.bench.scenario import Attacker
from cfbd_core.poisoning.options import CopyOptions

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from PIL import Image, ImageDraw

from cfbd_core.attacks import ATTACKS
from cfbd_core.bench.base import Base, make_base
from cfbd_core.bench.material import Mappings, Material
from cfbd_core.bench.options import BenchOptions
from cfbd_core.bench.scenario import Poisoner, Scenario
from cfbd_core.detectors.cfbd import Cfbd
from cfbd_core.embedding.encoders import load_encoder
from cfbd_core.groups.cluster import cluster
from cfbd_core.groups.pattern import correlation
from cfbd_core.groups.stack import SIDE_PIXELS, read_stack
from cfbd_core.groups.trigger_estimate import MOST_PICTURES, TriggerEstimate, estimate_trigger
from cfbd_core.method.scores import common_direction, unit_rows
from cfbd_core.poisoning.plan import Poison, PoisonParams, settings, triggered
from cfbd_core.workbench.groups import Groups, group_pairs

TARGETS = ("banana", "cheeseburger", "volcano")
MOST = 600
SCENARIOS: tuple[tuple[str, float, str | None], ...] = (
    *((attack, rate, None) for attack in ("badnets", "blended", "sig", "badclip") for rate in (0.006, 0.003)),
    *((attack, 0.006, None) for attack in ("trojan", "issba", "wanet")),
    *((attack, 0.006, "natural") for attack in ("badnets", "blended")),
)
COLUMNS = (
    "attack",
    "poison rate, captions",
    "flagged (poisons)",
    "poisons in group",
    "purity",
    "kind",
    "words",
    "estimate",
    "strength; chance",
    "correlation",
    "place error px",
    "seconds: group, estimate",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, help="a contact sheet of each estimate goes here")
    parser.add_argument("--only", nargs="+", default=[], help="attacks, three (targets), many (pairs)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    poisoner = poisoner_of(options.source, options.out)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, load "
        f"{os.getloadavg()[0]:.1f}; N = {len(poisoner.base.keys):,} pairs, seed {options.seed}\n"
    )
    chosen = [one for one in SCENARIOS if not options.only or one[0] in options.only]
    if chosen:
        print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for attack, rate, captions in chosen:
        params = PoisonParams(attack, rate, captions=captions, seed=options.seed)
        print(f"| {row(poisoner, params, options.pictures)} |", flush=True)
    if not options.only or "three" in options.only:
        print(
            "\n| three targets | flagged (poisons) | group: poisons of all, purity | other groups | seconds |"
        )
        print("|---|---|---|---|---|")
        for rate in (0.018, 0.006):
            for captions in ("templates", "natural"):
                for line in three(poisoner, rate, captions, options.seed):
                    print(f"| {line} |", flush=True)
    if not options.only or "many" in options.only:
        print("\n| 20,000 flagged pairs | groups, singles | purity, recall of 3 planted targets | seconds |")
        print("|---|---|---|---|")
        for line in many(poisoner.base, options.seed):
            print(f"| {line} |", flush=True)


def poisoner_of(source: str, out: Path) -> Poisoner:
    encoder = load_encoder("mini")
    material = Material.read(source, BenchOptions(captions="all", keys="odd"))
    base = make_base(source, out / "base", encoder=encoder, copy=CopyOptions(captions="all", keys="odd"))
    base = base.sharing(material.pairs, several=True)
    mappings = Mappings("auto", encoder)
    return Poisoner(base, encoder, mappings, Attacker(material.pool, out / "triggers", given=material.given))


def grouped(scenario: Scenario, flagged: np.ndarray, z: np.ndarray) -> tuple[Groups, float]:
    """The groups of the flagged pairs as an Explorer would make them, and seconds."""
    pairs = scenario.pairs
    rows = np.arange(len(pairs.keys))
    held = SimpleNamespace(
        rows=rows,
        texts=[pairs.text],
        images=[pairs.image],
        consistency=pairs.scores.consistency,
        caption_mean=common_direction(pairs.text, rows),
        image_mean=common_direction(pairs.image, rows),
        audit=SimpleNamespace(
            captions_of=lambda at: [pairs.captions[i] for i in at],
            keys_of=lambda at: [pairs.keys[i] for i in at],
        ),
        __len__=lambda: len(rows),
    )
    began = time.perf_counter()
    found = group_pairs(_Sized(held), np.flatnonzero(flagged), z)
    return found, time.perf_counter() - began


class _Sized:
    """What an Explorer is to the groups."""

    def __init__(self, held: SimpleNamespace) -> None:
        self.__dict__ = held.__dict__

    def __len__(self) -> int:
        return len(self.rows)


def row(poisoner: Poisoner, params: PoisonParams, pictures: Path | None) -> str:
    scenario = poisoner.scenario(params)
    detection = Cfbd().detect(scenario.pairs)
    truth, flagged = scenario.truth, detection.flagged
    attack = ATTACKS[params.attack]
    name = f"{attack.title} | {100 * params.rate:.1f} %, {params.captions or attack.captions}"
    caught = f"{flagged.sum()} ({(flagged & truth).sum()} of {truth.sum()})"
    groups, seconds = grouped(scenario, flagged, detection.score)
    if not groups.groups:
        return f"{name} | {caught} | –" + " | –" * (len(COLUMNS) - 5) + f" | {seconds:.1f}"
    group = max(groups.groups, key=lambda one: truth[one.positions].sum())
    inside = int(truth[group.positions].sum())
    shown = Shown(poisoner, scenario)
    began = time.perf_counter()
    estimate = shown.estimate(group.positions, flagged)
    took = time.perf_counter() - began
    corr, error = shown.against_truth(estimate, group.positions)
    if pictures:
        pictures.mkdir(parents=True, exist_ok=True)
        sheet(estimate).save(pictures / f"{params.attack}-{params.rate}-{params.captions or 'own'}.png")
    cells = (
        name,
        caught,
        f"{inside} of {int((flagged & truth).sum())}",
        f"{100 * inside / len(group):.1f} %",
        group.kind,
        ", ".join(phrase.text for phrase in group.phrases[:3]),
        estimate.kind,
        f"{estimate.strength:.2f}; {estimate.chance:.2f}",
        "–" if corr is None else f"{corr:.3f}",
        "–" if error is None else f"{error:.1f}",
        f"{seconds:.1f}, {took:.1f}",
    )
    return " | ".join(cells)


@dataclass
class Shown:
    """The pictures of a scenario, and what is true of their triggers."""

    poisoner: Poisoner
    scenario: Scenario

    def __post_init__(self) -> None:
        self.poisons: dict[int, Poison] = {poison.pair: poison for poison in self.scenario.plan.poisons}
        self.triggers = self.poisoner.triggers(self.scenario.params)

    def picture(self, pair: int) -> Image.Image:
        """The picture of a pair, with its trigger if it is poisoned."""
        picture = self.poisoner.base.picture(pair)
        poison = self.poisons.get(pair)
        return triggered(picture, poison, self.scenario.params, self.triggers) if poison else picture

    def estimate(self, positions: np.ndarray, flagged: np.ndarray) -> TriggerEstimate:
        """The estimate for a group, its pictures in random order, against pairs that are not flagged."""
        rng = np.random.default_rng(0)
        self.drawn = [int(pair) for pair in rng.permutation(positions)]
        kept = [int(pair) for pair in rng.choice(np.flatnonzero(~flagged), 4 * MOST_PICTURES, replace=False)]
        group, control = (read_stack(pairs, self.picture, MOST_PICTURES) for pairs in (self.drawn, kept))
        return estimate_trigger(group, control)

    def against_truth(
        self, estimate: TriggerEstimate, positions: np.ndarray
    ) -> tuple[float | None, float | None]:
        """Correlation with the true trigger, and the place's error; None where there is none."""
        trigger = self.triggers[0]
        pairs = [self.drawn[i] for i in estimate.index]
        if "pattern" in trigger:
            return self._patch(estimate, pairs, trigger["pattern"], trigger.get("mask"))
        if estimate.pattern is None:
            return None, None
        if "noise" in trigger:
            true = trigger["noise"] / 255 - 0.5
        elif "wave" in trigger:
            true = np.broadcast_to(trigger["wave"][None, :, None], (SIDE_PIXELS, SIDE_PIXELS, 3))
        elif self.scenario.params.attack == "issba":
            changed = [
                np.asarray(self.picture(pair), float) - np.asarray(self.poisoner.base.picture(pair))
                for pair in positions
            ]
            true = np.mean(changed, axis=0)
        else:
            return None, None
        return correlation(estimate.pattern.pattern, true - true.mean()), None

    def _patch(
        self, estimate: TriggerEstimate, pairs: list[int], pattern: np.ndarray, mask: np.ndarray | None
    ) -> tuple[float | None, float | None]:
        patch = estimate.patch
        if patch is None or not patch.seen:
            return None, None
        held = [i for i, pair in enumerate(pairs) if patch.shows[i] and pair in self.poisons]
        if not held:
            return None, None
        true = np.array([self._place(self.poisons[pairs[i]], mask) for i in held])
        mine = patch.boxes[held]
        error = np.linalg.norm(mine[:, :2] + mine[:, 2:] / 2 - (true[:, :2] + true[:, 2:] / 2), axis=1)
        dx, dy = np.median(mine[:, :2] - true[:, :2], axis=0).astype(int)
        size, around = len(pattern), 64
        canvas = np.full((size + 2 * around, size + 2 * around, 3), patch.content.mean())
        height, width = patch.content.shape[:2]
        canvas[around + dy : around + dy + height, around + dx : around + dx + width] = patch.content
        laid = canvas[around : around + size, around : around + size]
        inside = np.ones(pattern.shape[:2], bool) if mask is None else mask
        a, b = laid[inside].astype(float), pattern[inside].astype(float)
        return correlation(a - a.mean(), b - b.mean()), float(np.median(error))

    def _place(self, poison: Poison, mask: np.ndarray | None) -> tuple[int, int, int, int]:
        """Left, top, width, height of the trigger, from what it changes in two plain pictures."""
        attack = self.scenario.params.attack
        changed = np.zeros((SIDE_PIXELS, SIDE_PIXELS), bool)
        for shade in (0, 255):
            rng = np.random.default_rng([self.scenario.params.seed, 2, poison.pair])
            plain = Image.new("RGB", (SIDE_PIXELS, SIDE_PIXELS), (shade,) * 3)
            after = ATTACKS[attack].apply(
                plain, rng, settings(self.scenario.params, poison.trigger), self.triggers[poison.trigger]
            )
            changed |= (np.asarray(after) != shade).any(2)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        return int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


def sheet(estimate: TriggerEstimate, most: int = 4) -> Image.Image:
    """Mean, residual, zoom, and pictures with their boxes, side by side."""
    tiles = [
        Image.fromarray(array)
        for array in (estimate.mean, estimate.residual, estimate.zoom)
        if array is not None
    ]
    for picture, (left, top, width, height) in zip(
        estimate.samples[:most], estimate.sample_boxes, strict=False
    ):
        tile = Image.fromarray(picture)
        if width:
            ImageDraw.Draw(tile).rectangle(
                (left - 2, top - 2, left + width + 1, top + height + 1), outline="red"
            )
        tiles.append(tile)
    whole = Image.new("RGB", (sum(tile.width + 8 for tile in tiles), SIDE_PIXELS), "white")
    left = 0
    for tile in tiles:
        whole.paste(tile, (left, 0))
        left += tile.width + 8
    return whole


def three(poisoner: Poisoner, rate: float, captions: Any, seed: int) -> list[str]:
    """Rows for what the default flags, and for the ``MOST`` pairs with the largest z."""
    params = PoisonParams("badnets", rate, targets=TARGETS, captions=captions, seed=seed)
    scenario = poisoner.scenario(params)
    detection = Cfbd().detect(scenario.pairs)
    largest = np.zeros(len(scenario.truth), bool)
    largest[np.argsort(-detection.score, kind="stable")[:MOST]] = True
    target = np.full(len(scenario.truth), "", object)
    for poison in scenario.plan.poisons:
        target[poison.pair] = poison.target
    told = []
    for name, flagged in (("default", detection.flagged), (f"{MOST} largest z", largest)):
        groups, seconds = grouped(scenario, flagged, detection.score)
        caught = f"{flagged.sum()} ({(flagged & scenario.truth).sum()} of {scenario.truth.sum()})"
        found, others = _by_target(groups, target, flagged)
        rest = f"{len(others)}, largest {max(others, default=0)}; {len(groups.singles)} singles"
        told.append(f"{100 * rate:.1f} %, {captions}, {name} | {caught} | {found} | {rest} | {seconds:.1f}")
    return told


def _by_target(groups: Groups, target: np.ndarray, flagged: np.ndarray) -> tuple[str, list[int]]:
    """What the group with most poisons of each target holds, and the sizes of the other groups."""
    told, best = [], set()
    for name in TARGETS:
        inside = [int((target[group.positions] == name).sum()) for group in groups.groups]
        if not inside or not max(inside):
            told.append(f"{name} –")
            continue
        place = int(np.argmax(inside))
        best.add(place)
        share = f"{inside[place]} of {int((target[flagged] == name).sum())}"
        told.append(f"{name} {share}, {100 * inside[place] / len(groups.groups[place]):.0f} %")
    return "; ".join(told), [len(group) for i, group in enumerate(groups.groups) if i not in best]


def many(base: Base, seed: int) -> list[str]:
    """Time and purity for 20,000 made-up captions of 256 numbers, and for as many real ones."""
    rng = np.random.default_rng(seed)
    centres = unit_rows(rng.standard_normal((203, 256)).astype(np.float32))
    label = np.r_[np.repeat(np.arange(3), 400), rng.integers(3, 203, 12_000)]
    planted = 0.75 * centres[label] + 0.66 * unit_rows(
        rng.standard_normal((len(label), 256)).astype(np.float32)
    )
    made = unit_rows(np.r_[planted, rng.standard_normal((20_000 - len(label), 256))].astype(np.float32))
    label = np.r_[label, np.full(20_000 - len(label), -1)]
    order = rng.permutation(20_000)
    real = unit_rows(base.text[:20_000])
    told = []
    for name, vectors, truth in (
        ("made: 203 groups of 60 to 400, 6,800 singles", made[order], label[order]),
        ("all captions of the odd half", unit_rows(real - real.mean(0)), None),
    ):
        began = time.perf_counter()
        found = cluster(vectors)
        seconds = time.perf_counter() - began
        sizes = np.bincount(found)
        pure = "–"
        if truth is not None:
            best = [np.bincount(found[truth == k]).argmax() for k in range(3)]
            pure = "; ".join(
                f"{(truth[found == g] == k).mean():.3f}, {(found[truth == k] == g).mean():.3f}"
                for k, g in enumerate(best)
            )
        told.append(f"{name} | {(sizes > 1).sum()}, {(sizes == 1).sum()} | {pure} | {seconds:.1f}")
    return told


if __name__ == "__main__":
    main()
