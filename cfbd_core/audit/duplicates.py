"""Exact duplicates in an audit: captions that read the same, images of the same bytes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cfbd_core.audit.columns import Columns
from cfbd_core.embedding.shards import shard_count
from cfbd_core.errors import AuditError
from cfbd_core.method.clusters import Clusters, both, from_labels


def same_captions(columns: Columns, rows: np.ndarray) -> Clusters:
    """Cluster the pairs at ``rows`` int64 (n,) whose captions are equal but for case, spaces and unseen marks.

    Raises AuditError where the audit does not hold these rows.
    """
    return from_labels(_chosen(columns, *columns.caption_labels(), rows))


def same_images(columns: Columns, rows: np.ndarray) -> Clusters:
    """Cluster the pairs at ``rows`` int64 (n,) whose images have the same bytes.

    By the hashes taken while embedding; embeddings that came ready have none, and there images are the same that come
    from one place. The captions of one record share their image. Raises AuditError as :func:`same_captions` does.
    """
    places = from_labels(_chosen(columns, *columns.image_labels(), rows))
    hashes = _hashes(columns, rows)
    if hashes is None:
        return places
    known = hashes != b""
    labels = np.where(known, from_labels(hashes).numbers, len(rows) + places.numbers)
    return from_labels(labels)


def collapsible(columns: Columns, rows: np.ndarray) -> Clusters:
    """Cluster the pairs at ``rows`` int64 (n,) whose image and caption both repeat: what one switch collapses."""
    return exact_duplicates(columns, rows).pairs


class Duplicates(NamedTuple):
    """Pairs that are equal in image and caption, in caption, and in image."""

    pairs: Clusters
    captions: Clusters
    images: Clusters


def exact_duplicates(columns: Columns, rows: np.ndarray) -> Duplicates:
    """Cluster the pairs at ``rows`` int64 (n,) in each of the ways."""
    images, captions = same_images(columns, rows), same_captions(columns, rows)
    return Duplicates(both(images, captions), captions, images)


def _chosen(columns: Columns, all_rows: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    at = np.minimum(np.searchsorted(all_rows, rows), max(len(all_rows) - 1, 0))
    if len(rows) and (not len(all_rows) or not (all_rows[at] == rows).all()):
        raise AuditError(f"{columns.files.folder}: its pairs have changed meanwhile; open it again")
    chosen: np.ndarray = labels[at]
    return chosen


def _hashes(columns: Columns, rows: np.ndarray) -> np.ndarray | None:
    """Return the image hash of each row, 16 bytes (n,), empty where there is none; None where a shard has none.

    Raises AuditError where they are damaged.
    """
    plan = columns.files.shards.plan()
    if plan is None:
        return None
    if not all(columns.files.shards.hash_path(number).is_file() for number in range(shard_count(plan))):
        return None
    return columns.files.shards.image_hashes(rows)
