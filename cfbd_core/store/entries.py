"""The JSON that an audit keeps of itself, as types: what each step leaves for the next, and for reports.

``NotRequired`` is what audits of older versions lack, or what goes with some sources and encoders alone.
:mod:`cfbd_core.store.meta` checks what is read against the same shapes.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from cfbd_core.config import SplitSettings


class SourceOptionsEntry(TypedDict):
    """How a source is read (``SourceOptions``)."""

    format: str
    image_col: str | None
    caption_col: str | None
    label_col: str | None
    image_root: str | None
    captions: str


class SourceIdentity(TypedDict):
    """How a source is found and read again.

    ``paths`` are kept where what is given to its reader is not its ``files``. ``reader`` is the version of what read
    the pairs; older ones, which read less of a folder, have none.
    """

    source: str
    files: list[str]
    format: str
    fingerprint: str
    options: SourceOptionsEntry
    paths: NotRequired[list[str]]
    reader: NotRequired[int]


class SourceEntry(SourceIdentity):
    """The source of an audit, of which ``rows`` pairs were read."""

    rows: int


class UnreadKind(TypedDict):
    """Something that a reader saw ``count`` times and did not read."""

    kind: str
    count: int
    advice: str
    examples: list[str]


class UnreadEntry(TypedDict):
    """What was not read, and sentences on how the source was read."""

    kinds: list[UnreadKind]
    notes: list[str]


class ShardPlan(TypedDict):
    """How embeddings are cut into shards: ``rows`` of ``width`` numbers, ``shard_size`` a shard."""

    width: int
    shard_size: int
    rows: int


class EmbeddingEntry(ShardPlan):
    """What made the embeddings: the plan of their shards.

    ``architecture`` and ``batch_size`` are of an encoder, ``content`` (a hash) of embeddings that came with the pairs.
    ``not_compared`` is told of embeddings that were just made again: pairs of whose pictures nothing was known.
    """

    encoder: str
    sha256: str
    architecture: NotRequired[str]
    batch_size: NotRequired[int]
    content: NotRequired[str]
    not_compared: NotRequired[int]


class MappingEntry(TypedDict):
    """F: ``kind`` "file" or "self", its name, and where it comes from (``MappingInfo``)."""

    kind: str
    name: str
    encoder_id: str
    encoder_sha256: str
    trained_on: str
    held_out_cosine: float
    images: int
    seed: int
    width: int
    folds: int
    version: int


class HealthEntry(TypedDict):
    """Whether the encoder understands the pairs; ``auroc`` is None for one pair."""

    pairs: int
    cosine_true: float
    cosine_shuffled: float
    auroc: float | None
    recall_at_1: float
    warnings: list[str]


class MixtureEntry(TypedDict):
    """A fitted mixture (``Mixture``)."""

    weights: list[float]
    means: list[float]
    sigmas: list[float]
    log_likelihood: float
    n: int
    n_iter: int
    converged: bool
    restarts: int
    vanishing: list[int]


class EvidenceEntry(TypedDict):
    """How alike the captions of D_p are (``Evidence``)."""

    level: str
    cohesion: float | None
    cohesion_distinct: float | None
    null_mean: float | None
    null_max: float | None
    null_max_distinct: float | None
    q: int
    distinct: NotRequired[int]
    draws: int


class SplitFigures(TypedDict):
    """What a split was made by, as reports tell it: ``gamma_z`` is the cut that was found, None where it is +∞."""

    k: int
    gamma: float
    q: int
    gamma_z: float | None
    gamma_z_rule: str
    rule: str
    recheck: bool


class DuplicateCounts(TypedDict):
    """Clusters of two and more pairs, the pairs in them, those that collapsing hides, the largest."""

    clusters: int
    pairs: int
    hidden: int
    largest: int


class SplitSummary(TypedDict):
    """What a split found; ``settings`` are those asked for, ``settings_id`` their id."""

    params: SplitFigures
    settings: SplitSettings
    settings_id: str
    duplicates: NotRequired[DuplicateCounts | None]
    mixture: MixtureEntry
    coarse_cut: float | None
    gamma_z_detail: str
    evidence: EvidenceEntry
    warnings: list[str]


class Example(TypedDict):
    """A pair that was skipped or has no score, and why."""

    key: str | None
    position: str
    detail: str | None


class UnscoredReason(TypedDict):
    """Why ``pairs`` pairs have no score, with the first of them."""

    reason: str
    pairs: int
    examples: list[Example]


class SkipReason(UnscoredReason):
    """Why ``pairs`` pairs or records were skipped, and at which stage ("ingest", "embed")."""

    stage: str
