"""Zero-shot accuracy (CA): a picture is of the class whose 80 templates it is nearest to on average (METHOD.md §6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.method.intervals import interval_of, share_of
from cfbd_core.poisoning.captions import imagenet_templates

if TYPE_CHECKING:
    from cfbd_core.embedding.encoders import Encoder

TOP_CLASSES = 5


class ClassAccuracy(TypedDict):
    """The accuracy on the pictures of one class; None where there are none."""

    images: int
    ca: float | None


class ZeroShot(TypedDict):
    """``ca`` with its 95 % Clopper–Pearson interval; ``top5`` says nothing of five classes, and is None."""

    ca: float | None
    ca_interval: list[float] | None
    top5: float | None
    images: int
    per_class: dict[str, ClassAccuracy]


def class_prompts(classes: Sequence[str]) -> list[str]:
    """Return every class in the 80 templates, class by class (Radford et al. 2021, arXiv:2103.00020)."""
    return [template(name) for name in classes for template in imagenet_templates()]


def class_embeddings(
    encoder: Encoder, classes: Sequence[str], progress: Progress = no_progress
) -> np.ndarray:
    """Return the normalised mean of each class's templates, float32 (classes, d)."""
    from cfbd_core.evaluation.embedding import embed_texts

    prompts = embed_texts(encoder, class_prompts(classes), progress)
    return normalised_means(prompts.reshape(len(classes), -1, prompts.shape[1]))


def normalised_means(vectors: np.ndarray) -> np.ndarray:
    """Return the means of vectors (n, k, d) over k at unit length, (n, d); a mean of zero stays zero."""
    means = vectors.mean(1)
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    unit: np.ndarray = means / np.where(norms > 0, norms, 1)
    return unit


def zero_shot(scores: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> ZeroShot:
    """Judge similarities (n, c) of pictures to classes by their ``labels`` int64 (n,).

    Of equal similarities the first class in the list wins.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :TOP_CLASSES]
    is_right = order == labels[:, None]
    right, among = is_right[:, 0], is_right.any(1)
    hits, n = int(right.sum()), len(labels)
    of_class = np.bincount(labels, minlength=len(classes))
    right_of_class = np.bincount(labels[right], minlength=len(classes))
    return {
        "ca": share_of(hits, n),
        "ca_interval": interval_of(hits, n),
        "top5": share_of(int(among.sum()), n) if len(classes) > TOP_CLASSES else None,
        "images": n,
        "per_class": {
            name: {"images": int(total), "ca": share_of(int(good), int(total))}
            for name, total, good in zip(classes, of_class, right_of_class, strict=True)
        },
    }
