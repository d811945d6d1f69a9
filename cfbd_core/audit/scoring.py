"""From embedding shards to scores: choose F, then c, r and m of every pair, shard by shard."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

import numpy as np
import pyarrow as pa

from cfbd_core.audit.files import AuditFiles
from cfbd_core.config import READY_ENCODER
from cfbd_core.embedding.encoder_files import check_published_hash, file_sha256
from cfbd_core.embedding.encoders import resolve_device
from cfbd_core.embedding.mapping import Lineage, Mapping, mean_targets, train_mapping
from cfbd_core.embedding.mapping_network import FitParams, single_threads
from cfbd_core.embedding.shards import EmbeddingFolder, way_out
from cfbd_core.errors import AuditError, EncoderError
from cfbd_core.machine.assets import MINI_DIR
from cfbd_core.machine.places import at_home
from cfbd_core.machine.progress import Counter, Progress, no_progress
from cfbd_core.machine.workers import usable_cores
from cfbd_core.method.scores import Scores, calibrated_residual, consistency_scores, gather
from cfbd_core.store import queries, unscored
from cfbd_core.store.entries import EmbeddingEntry, HealthEntry, MappingEntry, UnscoredReason
from cfbd_core.store.meta import EMBEDDING, HEALTH, MAPPING, SPLIT
from cfbd_core.store.scores import replace_scores

MAPPING_NAME = "mapping.safetensors"
SHIPPED = "F of mini"
SCORE_COLUMNS = ("s_o", "s_g", "consistency", "residual", "intra")
HEALTH_PAIRS = 1000
MOST_TRAINING_IMAGES = 50_000
MOST_TRAINING_PAIRS = 250_000
SELF_FOLDS = 3


class ScoringResult(TypedDict):
    """What a scoring gives: which F, the encoder's health, pairs with a score, and those without by reason."""

    mapping: MappingEntry
    health: HealthEntry
    pairs: int
    unscored: int
    unscored_reasons: list[UnscoredReason]


def score(
    files: AuditFiles,
    mapping: str,
    progress: Progress = no_progress,
) -> ScoringResult:
    """Score the pairs of an audit and store it. See :meth:`cfbd_core.audit.audit.Audit.score`."""
    pairs = EmbeddedPairs.of(files)
    started = datetime.now(UTC)
    chosen = choose_mapping(mapping, pairs, files.folder / MAPPING_NAME, progress)
    table = score_shards(pairs, chosen, progress)
    without = without_score(table, pairs.embedding)
    table = table.filter(table["consistency"].is_valid())
    health = encoder_health(pairs.without(without["row"].to_numpy()))
    with files.database.writing() as connection:
        unscored.replace_unscored(connection, without)
        replace_scores(connection, table)
        queries.set_meta(connection, MAPPING, chosen.to_dict())
        queries.set_meta(connection, HEALTH, health)
        queries.forget_meta(connection, SPLIT)
        queries.record_run(connection, "score", started, {"mapping": mapping}, chosen.to_dict())
        reasons = unscored.unscored_summary(connection)
    return {
        "mapping": chosen.to_dict(),
        "health": health,
        "pairs": table.num_rows,
        "unscored": without.num_rows,
        "unscored_reasons": reasons,
    }


@dataclass(frozen=True)
class ChosenMapping:
    """F with where it came from: ``kind`` is "file" or "self" (trained on the pairs under audit)."""

    mapping: Mapping
    kind: str
    name: str

    def to_dict(self) -> MappingEntry:
        """Return what the report says of it."""
        info = self.mapping.info
        return {
            "kind": self.kind,
            "name": self.name,
            "encoder_id": info.encoder_id,
            "encoder_sha256": info.encoder_sha256,
            "trained_on": info.trained_on,
            "held_out_cosine": info.held_out_cosine,
            "images": info.images,
            "seed": info.seed,
            "width": info.width,
            "folds": info.folds,
            "version": info.version,
        }


@dataclass(frozen=True)
class EmbeddedPairs:
    """The pairs of an audit that have embeddings.

    ``rows`` int64 (n,), ascending, are their places in ``shards``, ``image_of`` (n,) the number of each one's image;
    ``embedding`` is the record of the encoder that made them.
    """

    shards: EmbeddingFolder
    rows: np.ndarray
    image_of: np.ndarray
    embedding: EmbeddingEntry

    @classmethod
    def of(cls, files: AuditFiles) -> EmbeddedPairs:
        """Return those of an audit. Raises AuditError: none yet, or the embeddings are others than the audit knows."""
        embedding = files.needed(EMBEDDING, "cfbd embed")
        if files.shards.check_whole() != embedding:
            raise AuditError(
                f"{files.folder}: the embeddings are not those of the audit; {way_out(embedding)}"
            )
        with files.database.reading() as connection:
            rows, image_of = queries.pair_rows(connection), queries.image_groups(connection)
        return cls(files.shards, rows, image_of, embedding)

    def without(self, rows: np.ndarray) -> EmbeddedPairs:
        """Return all but those at ``rows`` (m,). Raises AuditError where none is left."""
        left = ~np.isin(self.rows, rows)
        if not left.any():
            raise self.nothing_usable()
        return replace(self, rows=self.rows[left], image_of=self.image_of[left])

    def nothing_usable(self) -> AuditError:
        """Return the error where no pair has an embedding to score by."""
        return AuditError(
            f"{self.shards.folder}: not one pair has a usable embedding; {way_out(self.embedding)}"
        )


def choose_mapping(
    spec: str, pairs: EmbeddedPairs, own_file: Path, progress: Progress = no_progress
) -> ChosenMapping:
    """Find or train F for the encoder that embedded the pairs.

    ``spec``: ``auto`` (the F shipped for this encoder, else ``self``), ``self``, or a file.
    An F trained here is kept in the file ``own_file``, and used again while the encoder is the same.
    Raises EncoderError when a file's F belongs to another encoder, ParameterError when there is none.
    """
    embedding = pairs.embedding
    sha256 = embedding["sha256"]
    if spec == "auto":
        if embedding["encoder"] == "mini":
            shipped = MINI_DIR / MAPPING_NAME
            check_published_hash(shipped, file_sha256(shipped))
            return ChosenMapping(Mapping.load(shipped, sha256), "file", SHIPPED)
        spec = "self"
    if spec == "self":
        return ChosenMapping(
            _stored_or_trained(pairs, own_file, progress),
            "self",
            "F trained on these pairs (cross-fitted)",
        )
    is_ready = embedding["encoder"] == READY_ENCODER  # nobody knows which encoder made them
    mapping = Mapping.load(at_home(spec), None if is_ready else sha256)
    if mapping.info.width != embedding["width"]:
        raise EncoderError(
            f"--mapping {spec}: it takes embeddings of width {mapping.info.width}, these have "
            f"{embedding['width']}; give the mapping of their encoder, or `--mapping self`"
        )
    return ChosenMapping(mapping, "file", spec)


def mapping_of(files: AuditFiles) -> Mapping:
    """Return the F that made an audit's scores.

    Raises AuditError where its file is gone, or holds another one by now.
    """
    description = files.needed(MAPPING, "cfbd score")
    if description.get("kind") == "self":
        path = files.folder / MAPPING_NAME
    else:
        path = MINI_DIR / MAPPING_NAME if description["name"] == SHIPPED else at_home(description["name"])
    again = f"run `cfbd score --audit {files.folder}` again"
    try:
        mapping = Mapping.load(path)
    except EncoderError as error:
        raise AuditError(f"{path}: the F of these scores is gone or damaged; {again}") from error
    if asdict(mapping.info).items() <= description.items():
        return mapping
    raise AuditError(f"{path}: not the F that made these scores; {again}")


def _stored_or_trained(pairs: EmbeddedPairs, own_file: Path, progress: Progress) -> Mapping:
    if own_file.is_file():
        try:
            return Mapping.load(own_file, pairs.embedding["sha256"])
        except EncoderError:
            pass  # of an earlier encoder, or damaged: it is derived and made again
    mapping = _train_on_audit(pairs, progress)
    mapping.save(own_file)
    return mapping


def _train_on_audit(pairs: EmbeddedPairs, progress: Progress) -> Mapping:
    """Cross-fit F on at most ``MOST_TRAINING_IMAGES`` images under audit: no pair is judged by its own caption."""
    shards, rows, image_of = pairs.shards, pairs.rows, pairs.image_of
    images = np.random.default_rng(0).permutation(np.unique(image_of))[:MOST_TRAINING_IMAGES]
    sample = np.flatnonzero(np.isin(image_of, images))
    if len(sample) > MOST_TRAINING_PAIRS:  # images that come again and again
        sample = np.sort(np.random.default_rng(0).permutation(sample)[:MOST_TRAINING_PAIRS])
    text = gather(shards.texts(), rows[sample])
    _, first, number = np.unique(image_of[sample], return_index=True, return_inverse=True)
    image = gather(shards.images(), rows[sample[first]])
    usable = _is_usable(text) & _is_usable(image)[number]
    if not usable.all():  # one damaged row would make F of nothing but NaN
        sample, text = sample[usable], text[usable]
        image = image[np.unique(number[usable])]
    if not len(sample):
        raise pairs.nothing_usable()
    ids, target = mean_targets(text, image_of[sample])
    lineage = Lineage(pairs.embedding["encoder"], pairs.embedding["sha256"], trained_on="self")
    params = FitParams(SELF_FOLDS, device=resolve_device("auto"))
    return train_mapping(image, target, lineage, params, groups=ids, progress=progress)


def score_shards(
    embedded: EmbeddedPairs, chosen: ChosenMapping, progress: Progress = no_progress
) -> pa.Table:
    """Return scores of the pairs: a table (row, s_o, s_g, consistency, …)."""
    rows, image_of, shard_size = embedded.rows, embedded.image_of, embedded.embedding["shard_size"]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in SCORE_COLUMNS}
    images, texts = embedded.shards.images(), embedded.shards.texts()
    counter = Counter(progress, "score", len(rows))

    def scores_of(number: int) -> Scores:
        low, high = np.searchsorted(rows, [number * shard_size, (number + 1) * shard_size])
        image, text = images[number], texts[number]
        if high - low < len(image):
            places = rows[low:high] - number * shard_size
            image, text = image[places], text[places]
        return consistency_scores(image, text, chosen.mapping(image, image_of[low:high]))

    with single_threads(usable_cores()) as pool:
        for scores in pool.map(scores_of, range(len(images))):
            for name in SCORE_COLUMNS:
                parts[name].append(getattr(scores, name))
            counter.add(len(scores.consistency))
    columns = {name: np.concatenate(values) for name, values in parts.items()}
    columns["residual_calibrated"] = calibrated_residual(columns["s_g"], columns["residual"])
    return pa.table(
        {"row": rows} | {name: pa.array(values, from_pandas=True) for name, values in columns.items()}
    )


def without_score(scores: pa.Table, embedding: EmbeddingEntry) -> pa.Table:
    """Return pairs that got no score: row, reason, detail."""
    rows = scores.filter(scores["consistency"].is_null())["row"].to_pylist()
    places = (divmod(row, embedding["shard_size"]) for row in rows)
    detail = [
        f"all zeros or not finite: row {at} of img_emb or text_emb_{shard:04d}.npy" for shard, at in places
    ]
    return pa.table(
        {
            "row": pa.array(rows, pa.int64()),
            "reason": pa.array(["no usable embedding"] * len(rows), pa.string()),
            "detail": pa.array(detail, pa.string()),
        }
    )


def _is_usable(vectors: np.ndarray) -> np.ndarray:
    usable: np.ndarray = np.isfinite(vectors).all(1) & vectors.any(1)
    return usable


def encoder_health(pairs: EmbeddedPairs, seed: int = 0) -> HealthEntry:
    """Does the encoder understand these pairs? True against shuffled pairs, R@1 among 1,000.

    A sample of pairs with distinct images. Returns cosines of true and shuffled pairs, the share of
    true pairs above a shuffled one (``auroc``), text-to-image ``recall_at_1``, and warnings.
    """
    generator = np.random.default_rng(seed)
    _, first = np.unique(pairs.image_of, return_index=True)
    sample = np.sort(generator.permutation(first)[:HEALTH_PAIRS])
    image = gather(pairs.shards.images(), pairs.rows[sample])
    text = gather(pairs.shards.texts(), pairs.rows[sample])
    similarity = text @ image.T
    true = similarity.diagonal()
    shuffled = np.concatenate([similarity.diagonal(1), similarity[-1:, 0]]) if len(true) > 1 else true
    auroc = float((true[:, None] > shuffled[None, :]).mean()) if len(true) > 1 else None
    warnings = []
    if pairs.embedding["encoder"] == "mini":
        warnings.append(
            "`mini` is a stand-in for machines without a pretrained CLIP; "
            "name a larger open_clip model (--encoder NAME/PRETRAINED) where you can"
        )
    if auroc is not None and auroc < 0.8:
        warnings.append(
            f"the encoder hardly tells true captions from shuffled ones here (AUROC {auroc:.2f}); "
            "its scores mean little on these pairs: try another encoder"
        )
    return {
        "pairs": len(true),
        "cosine_true": float(true.mean()),
        "cosine_shuffled": float(shuffled.mean()),
        "auroc": auroc,
        "recall_at_1": float((similarity.argmax(axis=1) == np.arange(len(true))).mean()),
        "warnings": warnings,
    }
