"""Retrieval: how often a picture finds one of its captions, and a caption its picture, among the first K."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
from PIL import Image

from cfbd_core.errors import ParameterError, SourceError
from cfbd_core.machine.progress import Progress, as_stage, no_progress
from cfbd_core.pictures.images import decode_image, read_image_bytes
from cfbd_core.pictures.place import PicturePlace
from cfbd_core.poisoning.source_pairs import Keys, read_pairs
from cfbd_core.sources import SourceOptions

if TYPE_CHECKING:
    from cfbd_core.embedding.encoders import Encoder

RECALL_RANKS = (1, 5, 10)
_MOST_SIMILARITIES = 1 << 24  # similarities held at a time


class Retrieval(TypedDict):
    """R@1, 5 and 10 (``r@1``, …) as shares, both ways, over so many pictures and captions."""

    image_to_text: dict[str, float]
    text_to_image: dict[str, float]
    images: int
    captions: int


@dataclass(frozen=True)
class RetrievalPairs:
    """M pictures and their N captions: ``picture_of`` int64 (N,) is the picture of each, ``labels`` its label or ""."""

    places: list[PicturePlace]
    captions: list[str]
    picture_of: np.ndarray
    labels: list[str]

    def picture(self, number: int) -> Image.Image:
        """Decode a picture. Raises BadImage."""
        return decode_image(read_image_bytes(self.places[number]))

    def only(self, pictures: np.ndarray) -> RetrievalPairs:
        """Return some of the pictures, bool (M,), with their captions."""
        rows = np.flatnonzero(pictures[self.picture_of])
        return RetrievalPairs(
            [self.places[number] for number in np.flatnonzero(pictures)],
            [self.captions[row] for row in rows],
            (np.cumsum(pictures) - 1)[self.picture_of[rows]],
            [self.labels[row] for row in rows],
        )


def read_retrieval_pairs(
    source: str | Path, options: SourceOptions, keys: Keys = "all", limit: int | None = None
) -> RetrievalPairs:
    """Read the first ``limit`` pictures of a source, or of its even or odd keys, with their captions.

    Raises SourceError where there are none, ParameterError for a limit below 1.
    """
    if limit is not None and limit < 1:
        raise ParameterError(f"--limit {limit}: give at least 1 picture")
    pairs = read_pairs(source, options, keys)
    rows = np.flatnonzero(pairs.image_of < (limit or len(pairs.image_of)))
    table = pairs.table.take(rows)
    return RetrievalPairs(
        pairs.places()[:limit],
        table["caption"].to_pylist(),
        pairs.image_of[rows],
        [label or "" for label in table["label"].to_pylist()],
    )


def embedded_pairs(
    encoder: Encoder,
    pairs: RetrievalPairs,
    batch_size: int,
    progress: Progress = no_progress,
) -> tuple[RetrievalPairs, np.ndarray, np.ndarray]:
    """Embed pictures float32 (M, d) and captions (N, d), after those pairs whose pictures can be read.

    Raises SourceError if none can.
    """
    from cfbd_core.embedding.encoders import evaluating
    from cfbd_core.evaluation.embedding import Pictures, embed_texts

    with evaluating(encoder):
        pictures = Pictures(len(pairs.places), pairs.picture)
        images, readable = pictures.embed(encoder, batch_size, as_stage(progress, "pictures"))
        if not readable.any():
            raise SourceError(
                f"none of the {len(readable)} pictures can be read; give a source with pictures"
            )
        pairs = pairs.only(readable)
        texts, text_of = np.unique(np.array(pairs.captions), return_inverse=True)
        embedded = embed_texts(encoder, texts.tolist(), as_stage(progress, "captions"))
    return pairs, images[readable], embedded[text_of]


def retrieval(images: np.ndarray, texts: np.ndarray, picture_of: np.ndarray) -> Retrieval:
    """Return R@1, 5 and 10 as shares, both ways, of pictures (M, d) and texts (N, d) at unit length.

    ``picture_of`` int64 (N,) is the picture of each text. A picture has found if any of its texts is among the first
    K (Karpathy & Fei-Fei 2015's convention for several captions); pictures without a text only stand in the way.
    """
    with_text = np.unique(picture_of)
    numbers = np.arange(len(images))
    return {
        "image_to_text": recalls(first_ranks(images[with_text], with_text, texts, picture_of)),
        "text_to_image": recalls(first_ranks(texts, picture_of, images, numbers)),
        "images": len(images),
        "captions": len(texts),
    }


def recalls(ranks: np.ndarray) -> dict[str, float]:
    """Return the share of ``ranks`` (n,), counted from 0, that are among the first K."""
    return {f"r@{k}": float((ranks < k).mean()) for k in RECALL_RANKS}


def first_ranks(
    queries: np.ndarray, query_group: np.ndarray, gallery: np.ndarray, gallery_group: np.ndarray
) -> np.ndarray:
    """Return where in the list of its likes each query (n, d) meets the first of its own group, float (n,).

    The list is the gallery (m, d) by falling inner product; ``query_group`` int (n,) and ``gallery_group`` (m,) say
    what belongs together. Counted from 0; of others that are exactly as similar, half stand before. So a model
    that gives everything one embedding finds nothing, instead of all. Infinite where the group has no member.
    """
    ranks = np.empty(len(queries))
    rows = max(1, _MOST_SIMILARITIES // max(1, len(gallery)))
    for first in range(0, len(queries), rows):
        chunk = slice(first, first + rows)
        scores = queries[chunk] @ gallery.T
        own = query_group[chunk, None] == gallery_group[None]
        best = np.where(own, scores, -np.inf).max(1, initial=-np.inf, keepdims=True)
        others = np.where(own, -np.inf, scores)
        ranks[chunk] = (others > best).sum(1) + ((others == best) & ~own).sum(1) / 2
        ranks[chunk][~own.any(1)] = np.inf
    return ranks
