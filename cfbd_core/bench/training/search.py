"""mmPoison by retrieval: does a search for the target show pictures of the poisoned class? (docs/METHOD.md §5)"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from PIL import Image

from cfbd_core.bench.training.setting import Drawn
from cfbd_core.embedding.encoders import Encoder, evaluating
from cfbd_core.errors import SourceError
from cfbd_core.evaluation.embedding import Pictures, embed_texts
from cfbd_core.evaluation.hits import Hits, hits, roles
from cfbd_core.evaluation.retrieval import RetrievalPairs
from cfbd_core.machine.progress import Progress, as_stage
from cfbd_core.pictures.place import NOWHERE

PICTURE_BATCH = 256


class Searched(TypedDict, total=False):
    """What searches for the target find; None with the reason why nobody could search."""

    hits: Hits | None
    hits_reason: str


def search_hits(encoder: Encoder, pairs: Drawn, target: str, origin: str, progress: Progress) -> Searched:
    """Return as ``hits`` what :func:`cfbd_core.evaluation.hits.hits` returns for these pairs.

    None with ``hits_reason`` where no caption names the target, or no picture is of the origin.
    """
    n = len(pairs.captions)
    nowhere = [NOWHERE] * n  # the pictures are in memory
    try:
        of_target, of_origin = roles(
            RetrievalPairs(nowhere, pairs.captions, np.arange(n), [""] * n), target, origin
        )
    except SourceError:
        return {
            "hits": None,
            "hits_reason": f"no held-out caption names {target!r}, or no held-out picture is of {origin!r}",
        }
    pictures = Pictures(n, lambda row: Image.fromarray(pairs.images[row]))
    with evaluating(encoder):
        images, _ = pictures.embed(encoder, PICTURE_BATCH, as_stage(progress, "search"))
        texts = embed_texts(encoder, pairs.captions)
    return {"hits": hits(images, texts, of_target, of_origin)}
