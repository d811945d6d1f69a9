"""Embeddings of training pairs by the model as it is: whole pictures, eval mode, no gradient."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from cfbd_core.embedding.encoders import Encoder, evaluating
from cfbd_core.training.sets import TrainingSet

PICTURE_BATCH = 64


def embed_rows(
    encoder: Encoder, pairs: TrainingSet, rows: np.ndarray, workers: int
) -> tuple[np.ndarray, np.ndarray]:
    """Embed the pairs at ``rows`` (m,): image and text, float32 (m, d), unit rows; modes stay as they were."""
    images, texts = (np.zeros((len(rows), encoder.width), np.float32) for _ in range(2))
    with evaluating(encoder), ThreadPoolExecutor(workers, thread_name_prefix="embed") as pool:
        for first in range(0, len(rows), PICTURE_BATCH):
            part = slice(first, first + PICTURE_BATCH)
            tensors = list(pool.map(lambda row: pairs.tensor(int(row), encoder.transform), rows[part]))
            images[part] = encoder.encode_images(torch.stack(tensors))
            texts[part] = encoder.encode_texts([pairs.captions[row] for row in rows[part]])
    return images, texts
