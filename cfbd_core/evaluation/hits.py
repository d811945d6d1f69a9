"""Hit@K and min-rank: how soon a search for the target shows pictures of the poisoned class (mmPoison).

Yang et al. 2023, Data Poisoning Attacks Against Multimodal Encoders (ICML, arXiv:2209.15266), and their code
(github.com/zqypku/mm_poison, ``poisoning/attack_eval_pipeline.py``): for every test text of the target, all test
pictures are ranked by similarity; its rank is that of the first picture of the poisoned class, counted from 0.
Hit@K is the share of texts with a rank below K, MinRank the mean rank. They compare with random texts.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from cfbd_core.errors import SourceError
from cfbd_core.evaluation.retrieval import RetrievalPairs, first_ranks
from cfbd_core.poisoning.captions import names

HitRates = TypedDict("HitRates", {"hit@1": float, "hit@5": float, "hit@10": float, "min_rank": float})


class Hits(HitRates):
    """What searches for the target by ``texts`` texts find: ``origin_images`` of ``images`` pictures are the origin's.

    ``base`` are the figures of all other texts, None where there are none.
    """

    base: HitRates | None
    texts: int
    origin_images: int
    images: int


class TargetHits(Hits):
    """What searches for one target find of the origin."""

    target: str
    origin: str


def hits(
    images: np.ndarray,
    texts: np.ndarray,
    of_target: np.ndarray,
    of_origin: np.ndarray,
) -> Hits:
    """Return Hit@1, 5 and 10 and min-rank for pictures (M, d) and texts (N, d) at unit length.

    ``of_target`` bool (N,) are the texts that search for the target, ``of_origin`` bool (M,) the pictures of the
    poisoned class; both have members.
    """
    ranks = first_ranks(texts, np.ones(len(texts)), images, of_origin.astype(float))
    return {
        **_figures(ranks[of_target]),
        "base": _figures(ranks[~of_target]) if not of_target.all() else None,
        "texts": int(of_target.sum()),
        "origin_images": int(of_origin.sum()),
        "images": len(images),
    }


def roles(pairs: RetrievalPairs, target: str, origin: str) -> tuple[np.ndarray, np.ndarray]:
    """Say which texts are of the target, bool (N,), and which pictures of the origin, bool (M,).

    Texts and pictures are of what their label is, or what a caption names. A picture that is of both is none of the
    origin's: finding it is right. Raises SourceError where there is no such text or no such picture.
    """
    of_target = _is_named(pairs, target)
    is_target = np.zeros(len(pairs.places), bool)
    is_target[pairs.picture_of[of_target]] = True
    is_origin = np.zeros(len(pairs.places), bool)
    is_origin[pairs.picture_of[_is_named(pairs, origin)]] = True
    of_origin = is_origin & ~is_target
    if not of_target.any():
        raise SourceError(f"no text is of the target {target!r}; give --hits a source that has some")
    if not of_origin.any():
        raise SourceError(
            f"no picture is of the origin {origin!r} and not of {target!r}; give --hits a source that has some"
        )
    return of_target, of_origin


def _is_named(pairs: RetrievalPairs, name: str) -> np.ndarray:
    pattern, label = names(name), name.casefold()
    return np.array(
        [
            own.casefold() == label or pattern.search(caption) is not None
            for own, caption in zip(pairs.labels, pairs.captions, strict=True)
        ],
        bool,
    )


def _figures(ranks: np.ndarray) -> HitRates:
    return {
        "hit@1": float((ranks < 1).mean()),
        "hit@5": float((ranks < 5).mean()),
        "hit@10": float((ranks < 10).mean()),
        "min_rank": float(ranks.mean()),
    }
