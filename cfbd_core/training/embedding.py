"""Embeddings of training pairs by the model as it is: whole pictures, eval mode, no gradient."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from cfbd_core.encoders import Encoder
from cfbd_core.training.sets import TrainingSet

BATCH = 64


def embed_rows(
    encoder: Encoder, pairs: TrainingSet, rows: np.ndarray, workers: int
) -> tuple[np.ndarray, np.ndarray]:
    """Embed the pairs at ``rows`` (m,): image and text, float32 (m, d), unit rows; modes stay as they were."""
    modes = [(module, module.training) for module in encoder.model.modules()]
    encoder.model.eval()
    images, texts = (np.zeros((len(rows), encoder.width), np.float32) for _ in range(2))
    try:
        with ThreadPoolExecutor(workers, thread_name_prefix="embed") as pool:
            for first in range(0, len(rows), BATCH):
                part = slice(first, first + BATCH)
                tensors = list(pool.map(lambda row: encoder.transform(pairs.picture(int(row))), rows[part]))
                images[part] = encoder.encode_images(torch.stack(tensors))
                texts[part] = encoder.encode_texts([pairs.captions[row] for row in rows[part]])
    finally:
        for module, training in modes:
            module.training = training
    return images, texts
