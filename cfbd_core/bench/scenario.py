"""A poisoned version of the base in memory: what an attack changes is encoded again, all else is reused.

The embeddings are those that ``cfbd attack`` and then ``cfbd embed`` give, up to the last bit of half
precision (a forward pass of other pictures beside a picture may change it).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cfbd_core.attacks import ATTACKS, Trigger
from cfbd_core.bench.base import Base
from cfbd_core.detectors import Pairs
from cfbd_core.embedding.encoders import Encoder
from cfbd_core.embedding.expected import ExpectedRows
from cfbd_core.embedding.mapping import Mapping
from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.method.scores import consistency_scores
from cfbd_core.poisoning.plan import Plan, Poison, PoisonParams, make_plan, make_triggers, settings, triggered
from cfbd_core.poisoning.records import NEAR_DUPLICATES
from cfbd_core.poisoning.traps import near_duplicate
from cfbd_core.poisoning.trigger_files import load_or_make_triggers
from cfbd_core.poisoning.workshops import workshops

PICTURE_BATCH = 32
CAPTION_BATCH = 256


@dataclass(frozen=True)
class Scenario:
    """The pairs under one attack: embeddings and scores, ``truth`` bool (N,), and what was changed."""

    params: PoisonParams
    pairs: Pairs
    truth: np.ndarray
    plan: Plan


@dataclass(frozen=True)
class Attacker:
    """What the attacker works with.

    ``pool(n)`` gives the pictures that attacks optimise their triggers on, ``progress`` counts their steps
    ("trigger"); such triggers are kept in ``folder``. ``given(params)`` are natural captions of the targets in place
    of ours, or None.
    """

    pool: Callable[[int], Sequence[Image.Image]]
    folder: Path
    progress: Progress = no_progress
    given: Callable[[PoisonParams], Sequence[str] | None] = lambda _params: None


class Poisoner:
    """Makes scenarios of one base with one encoder and its F.

    ``mapping(image, text, record_of)`` returns F for these embeddings: the encoder's own, or one that is
    trained on them.
    """

    def __init__(
        self,
        base: Base,
        encoder: Encoder,
        mapping: Callable[[np.ndarray, np.ndarray, np.ndarray], Mapping],
        attacker: Attacker,
    ) -> None:
        self.base, self._encoder, self._mapping = base, encoder, mapping
        self._attacker = attacker
        self._images: dict[str, np.ndarray] = {}  # by the picture's name
        self._texts: dict[str, np.ndarray] = {}

    def scenario(self, params: PoisonParams) -> Scenario:
        """Poison the base by ``params``. Raises ParameterError where that cannot be."""
        base = self.base
        plan = make_plan(base.captions, base.record_of, params, self._attacker.given(params))
        captions = dict(plan.captions) | {poison.pair: poison.caption for poison in plan.poisons}
        pictures = self._pictures(params, plan)
        image, text, record_of = base.image.copy(), base.text.copy(), base.record_of.copy()
        if captions:
            text[list(captions)] = self._embed_texts(list(captions.values()))
        if pictures:
            changed = list(pictures)
            image[changed] = self._embed_images(pictures)
            record_of[changed] = record_of.max() + 1 + np.arange(len(changed))  # pictures of their own now
        truth = np.zeros(len(image), bool)
        truth[[poison.pair for poison in plan.poisons]] = True
        mapping = self._mapping(image, text, record_of)
        shown = [captions.get(pair, caption) for pair, caption in enumerate(base.captions)]
        pairs = Pairs(
            image,
            text,
            consistency_scores(image, text, mapping(image, record_of)),
            shown,
            base.keys,
            params.seed,
            image_ids=record_of,
            expected=ExpectedRows(image, record_of, lambda: mapping),
        )
        return Scenario(params, pairs, truth, plan)

    def triggers(self, params: PoisonParams) -> list[Trigger]:
        """The triggers of an attack; those that had to be optimised are kept, and a search that was stopped goes on."""
        attacker = self._attacker
        given = attacker.given(params)
        workshop = workshops(params, attacker.pool, lambda: self._encoder, given, attacker.progress)
        if not ATTACKS[params.attack].optimised:
            return make_triggers(params, workshop)
        path = self._attacker.folder / f"{params.attack}-{_trigger_id(params, self.base.sha256)}.npz"
        self._attacker.folder.mkdir(parents=True, exist_ok=True)
        return load_or_make_triggers(path, params, workshop)

    def _pictures(self, params: PoisonParams, plan: Plan) -> dict[int, _Picture]:
        """Return what every pair whose picture is not the base's own shows."""
        pictures = {
            pair: _Picture(
                f"near-duplicate {params.seed} {pair}",
                partial(self._near_duplicate, pair, other, params.seed),
            )
            for pair, other in plan.pictures.items()
        }
        if plan.poisons:
            triggers = self.triggers(params)
            trigger_id = _trigger_id(params, self.base.sha256)
            for poison in plan.poisons:
                name = f"{params.attack} {trigger_id} {params.seed} {poison.trigger} {poison.pair}"
                pictures[poison.pair] = _Picture(name, partial(self._triggered, poison, params, triggers))
        return pictures

    def _near_duplicate(self, pair: int, other: int, seed: int) -> Image.Image:
        return near_duplicate(self.base.picture(other), np.random.default_rng([seed, NEAR_DUPLICATES, pair]))

    def _triggered(self, poison: Poison, params: PoisonParams, triggers: list[Trigger]) -> Image.Image:
        return triggered(self.base.picture(poison.pair), poison, params, triggers)

    def _embed_images(self, pictures: dict[int, _Picture]) -> np.ndarray:
        """Return embeddings float16 (m, d); those of pictures that were shown before are remembered."""
        missing = {
            picture.name: pair for pair, picture in pictures.items() if picture.name not in self._images
        }
        for names in _batched(missing, PICTURE_BATCH):
            drawn = {}
            for name in names:
                pair = missing[name]
                picture = pictures[pair].draw()
                if picture == self.base.picture(pair):  # mmPoison changes captions alone
                    self._images[name] = self.base.image[pair]
                else:
                    drawn[name] = self._encoder.transform(picture)
            if drawn:
                vectors = self._encoder.encode_images(torch.stack(list(drawn.values()))).astype(np.float16)
                self._images.update(zip(drawn, vectors, strict=True))
        return np.stack([self._images[picture.name] for picture in pictures.values()])

    def _embed_texts(self, captions: list[str]) -> np.ndarray:
        """Return embeddings float16 (m, d) of captions; each text is encoded once."""
        missing = sorted(set(captions) - set(self._texts))
        for batch in _batched(missing, CAPTION_BATCH):
            self._texts.update(zip(batch, self._encoder.encode_texts(batch).astype(np.float16), strict=True))
        return np.stack([self._texts[caption] for caption in captions])


def _batched(names: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield the names in lists of at most ``size``."""
    rest = iter(names)
    while batch := list(islice(rest, size)):
        yield batch


@dataclass(frozen=True)
class _Picture:
    """A picture to encode: a name that says all that decides its pixels, and how to draw it."""

    name: str
    draw: Callable[[], Image.Image]


def _trigger_id(params: PoisonParams, encoder_sha256: str) -> str:
    """Changes with whatever decides the triggers."""
    settings_given = params.to_dict()
    deciding = [settings_given[name] for name in ("attack", "options", "targets", "triggers")]
    deciding.append(params.options.get("seed", params.seed))
    if ATTACKS[params.attack].optimised:
        deciding += [encoder_sha256, asdict(settings(params))]  # a default may change
        deciding += [params.captions] if params.captions else []  # the search may start from them
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:12]
