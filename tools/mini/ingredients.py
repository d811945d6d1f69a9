"""Everything the training stages read: pictures as cached views, captions, the text mix, the yardsticks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cfbd_core.demo import CLASS_NAMES
from tools.mini import drawn, photos, texts
from tools.mini.features import FrozenTrunk, cache_views
from tools.mini.pairs import Pairs, build_pairs
from tools.mini.stage import Workshop, digest
from tools.mini.texts import TextBank, sentence_bank
from tools.mini.wordnet import read_wordnet

# Cached views of every picture, and how often an epoch draws it (one_each has one picture a class).
VIEWS = {"flickr": 3, "openstax": 2, "one_each": 6, "scenes": 1}
DRAWS = {"flickr": 1.0, "openstax": 1.0, "one_each": 2.0, "scenes": 0.5}
# Of the stages after the teacher: more of the photos whose captions people wrote.
LATER_DRAWS = {"flickr": 1.0, "openstax": 0.5, "one_each": 2.0, "scenes": 0.25}
SCENES, SINGLES = 5000, 8
SPLICED = 60_000
BROAD_SHARE = 0.4  # of WordNet's and the spliced texts in an epoch of the student


@dataclass(frozen=True)
class Sources:
    """Where the ingredients lie."""

    data: Path
    weights: Path
    wordnet: Path


@dataclass
class Ingredients:
    """What the stages share. ``pairs`` point into ``tokens`` (views) and into ``bank`` (texts)."""

    bank: TextBank
    share: np.ndarray  # how likely a text is in an epoch of the student
    pairs: Pairs
    tokens: torch.Tensor  # fp16 (views, 320, 7, 7)
    choosing_tokens: torch.Tensor  # fp16 (images, 320, 7, 7)
    choosing_captions: list[list[str]]
    first_of: dict[str, int]  # the place in ``pairs`` where each group begins
    key: str  # of the pictures and their views
    bank_key: str  # of the texts


def gather(shop: Workshop, sources: Sources) -> Ingredients:
    """Read the photos, draw the scenes, run the frozen trunk and the sentence encoder – or read their caches."""
    groups = photos.training_photos(sources.data)
    choosing = photos.choosing_photos(sources.data)
    synsets = read_wordnet(sources.wordnet)
    for photo in groups["one_each"]:
        photo.captions = texts.class_captions(photo, synsets, shop.seed)
    scenes = drawn.training_scenes(SCENES, SINGLES)
    captions = {name: [photo.captions for photo in group] for name, group in groups.items()}
    drawing = ["scenes", drawn.TRAINING_SEED, SCENES, SINGLES]
    captions["scenes"], _ = shop.cached("captions", drawing, lambda _: drawn.scene_captions(scenes))

    shop.say(f"pictures: { {name: len(group) for name, group in captions.items()} }")
    bank = _text_mix(shop, captions, texts.wordnet_texts(synsets, shop.seed), groups["one_each"])

    trunk = FrozenTrunk(sources.weights, shop.device)
    pictures = {name: [photo.image for photo in group] for name, group in groups.items()}
    pictures["scenes"] = [scene.image for scene in scenes]
    identity = {name: [name] for name in groups} | {"scenes": drawing}
    views = {
        name: [
            cache_views(shop, trunk, name, pictures[name], identity[name], index)
            for index in range(VIEWS[name])
        ]
        for name in pictures
    }
    first_of, place = {}, 0
    for name in pictures:
        first_of[name], place = place, place + len(captions[name])
    pairs, tokens = build_pairs([(views[name], captions[name], DRAWS[name]) for name in pictures], bank)
    whole = cache_views(shop, trunk, "choosing", [p.image for p in choosing], ["choosing"], 0)
    share = np.full(len(bank.texts), BROAD_SHARE)
    share[: bank.paired] = 1.0
    key = digest(VIEWS, DRAWS, identity, {name: len(group) for name, group in captions.items()}, shop.seed)
    return Ingredients(
        bank,
        share,
        pairs,
        tokens,
        whole,
        [photo.captions for photo in choosing],
        first_of,
        key,
        digest(bank.texts, BROAD_SHARE),
    )


def _text_mix(
    shop: Workshop,
    captions: dict[str, list[list[str]]],
    broad: list[str],
    one_each: Sequence[photos.Photo],
) -> TextBank:
    every = {name: [text for group in groups for text in group] for name, groups in captions.items()}
    paired = [text for name in every if name != "scenes" for text in every[name]]
    names = [photo.label or "" for photo in one_each] + CLASS_NAMES + list(RESERVED_NAMES)
    return TextBank.joined(
        [
            sentence_bank(shop, "pairs", paired),
            sentence_bank(shop, "scenes", every["scenes"]),
            sentence_bank(shop, "names", names_in_templates(names, shop.seed)),
            sentence_bank(shop, "spliced", texts.spliced_captions(every["flickr"], SPLICED, shop.seed)),
            sentence_bank(shop, "wordnet", broad),
        ],
        narrow=3,
    )


# Text only: no picture is ever paired with these (see photos.UNPAIRED_NAMES).
RESERVED_NAMES = (
    "tench",
    "English springer",
    "cassette player",
    "chain saw",
    "church",
    "French horn",
    "garbage truck",
    "gas pump",
    "golf ball",
    "parachute",
)


def names_in_templates(names: Sequence[str], seed: int, each: int = 8) -> list[str]:
    """Every name in ``each`` of the 80 templates."""
    rng = random.Random(seed)
    forms = texts.templates()
    return [form(name) for name in dict.fromkeys(names) for form in rng.sample(forms, each)]
