"""What an audit found: counts, parameters, how strong the evidence is, and – where known – the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import pyarrow as pa

from cfbd_core.audit.ingest import UnreadReport, unread_report
from cfbd_core.config import SplitParams
from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.method.metrics import DetectionMetrics, detection_metrics
from cfbd_core.store import Database, queries, unscored
from cfbd_core.store.entries import (
    DuplicateCounts,
    EmbeddingEntry,
    EvidenceEntry,
    HealthEntry,
    MappingEntry,
    MixtureEntry,
    SkipReason,
    SourceEntry,
    SplitFigures,
    SplitSummary,
    UnscoredReason,
)
from cfbd_core.store.meta import EMBEDDING, HEALTH, MAPPING, SOURCE, SPLIT
from cfbd_core.wording import decimal, percentage

EVIDENCE_SENTENCES = {
    "none": "No evidence of poisoning: the captions of D_p are no more alike than random ones.",
    "weak": "Weak evidence of poisoning: the captions of D_p are somewhat alike; look at the flagged pairs.",
    "repeats": "Weak evidence of poisoning: the captions of D_p are a few texts repeated, boilerplate or poison; "
    "look at the flagged pairs.",
    "strong": "Strong evidence of poisoning: the captions of D_p are far more alike than random ones.",
}


class Decided(TypedDict):
    """What people decided: pairs kept or removed against the verdict, and how often each word was given."""

    removed_by_hand: int
    kept_by_hand: int
    overruled: int
    keep: int
    remove: int
    unsure: int


class Report(UnreadReport):
    """The object of ``cfbd report --json``.

    ``truth`` is of the verdict, ``truth_final`` of what comes of it after decisions; both are None where the source
    does not tell. ``source`` lacks its files.
    """

    pairs: int
    benign: int
    poisoned: int
    suspicious: int
    flagged: int
    kept: int
    skipped: int
    skip_reasons: list[SkipReason]
    unscored: int
    unscored_reasons: list[UnscoredReason]
    decided: Decided
    params: SplitFigures
    duplicates: DuplicateCounts | None
    mixture: MixtureEntry
    gamma_z_detail: str
    evidence: EvidenceEntry
    warnings: list[str]
    health: HealthEntry | None
    captions: str
    source: dict[str, object]
    embedding: EmbeddingEntry
    mapping: MappingEntry
    truth: DetectionMetrics | None
    truth_final: DetectionMetrics | None


def report(database: Database, settings_id: str | None = None) -> Report:
    """Return the object of ``cfbd report --json``, for an audit that was split.

    Raises AuditError when there is no split yet, ParameterError where its settings have another id than is asked for.
    """
    with database.reading() as connection:
        split = queries.get_meta(connection, SPLIT)
        if split is None:
            raise AuditError(f"{database.path.parent}: not split yet; run `cfbd run` or `cfbd split` first")
        check_split(split, settings_id)
        outcome = queries.outcome(connection)
        reasons = queries.skip_summary(connection)
        source = queries.needed_meta(connection, SOURCE)
        embedding = queries.needed_meta(connection, EMBEDDING)
        mapping = queries.needed_meta(connection, MAPPING)
        without = unscored.unscored_summary(connection)
        health = queries.get_meta(connection, HEALTH)
        unread = unread_report(connection)

    poisoned = _equal(outcome["verdict"], "poisoned")
    subset, decision = outcome["subset"], outcome["decision"]
    truth, truth_final = _truth(outcome)
    removed_by_hand = int((_equal(outcome["final"], "removed") & ~poisoned).sum())
    kept_by_hand = int((_equal(outcome["final"], "kept") & poisoned).sum())
    return {
        "pairs": outcome.num_rows,
        "benign": int(_equal(subset, "benign").sum()),
        "poisoned": int(_equal(subset, "poisoned").sum()),
        "suspicious": int(_equal(subset, "suspicious").sum()),
        "flagged": int(_equal(outcome["final"], "removed").sum()),
        "kept": int(_equal(outcome["final"], "kept").sum()),
        "skipped": sum(reason["pairs"] for reason in reasons),
        "skip_reasons": reasons,
        "unscored": sum(reason["pairs"] for reason in without),
        "unscored_reasons": without,
        **unread,
        "decided": {
            "removed_by_hand": removed_by_hand,
            "kept_by_hand": kept_by_hand,
            "overruled": removed_by_hand + kept_by_hand,
            "keep": int(_equal(decision, "keep").sum()),
            "remove": int(_equal(decision, "remove").sum()),
            "unsure": int(_equal(decision, "unsure").sum()),
        },
        "params": split["params"],
        "duplicates": split.get("duplicates"),
        "mixture": split["mixture"],
        "gamma_z_detail": split["gamma_z_detail"],
        "evidence": split["evidence"],
        "warnings": split["warnings"] + (health["warnings"] if health else []),
        "health": health,
        "captions": source["options"]["captions"],
        "source": without_files(source),
        "embedding": embedding,
        "mapping": mapping,
        "truth": truth,
        "truth_final": truth_final,
    }


def without_files(source: SourceEntry) -> dict[str, object]:
    """What is told of a source but for its files, of which there may be thousands."""
    return {name: value for name, value in source.items() if name not in ("files", "paths")}


def check_split(split: SplitSummary | None, settings_id: str | None) -> None:
    """Raise ParameterError where ``settings_id`` is given and the stored ``split`` is of other settings."""
    if settings_id is None:
        return
    # Not the id that is stored: older versions had fewer settings.
    present_id = "none" if split is None else SplitParams(**split["settings"]).id
    if present_id != settings_id:
        raise ParameterError(
            f"--split {settings_id}: the audit's split is another now ({present_id}); "
            "apply yours again, then repeat this"
        )


def text(result: Report) -> str:
    """Return the report for a terminal."""
    params, evidence, truth = result["params"], result["evidence"], result["truth"]
    decided = result["decided"]
    lines = [
        f"{result['pairs']:,} pairs: {result['benign']:,} benign (D_b), "
        f"{result['poisoned']:,} poisoned (D_p), {result['suspicious']:,} suspicious (D_s)",
        f"{result['flagged']:,} flagged, {result['kept']:,} kept"
        + (f", {result['skipped']:,} skipped" if result["skipped"] else ""),
        evidence_sentence(evidence)
        + f" (cohesion {decimal(evidence['cohesion'])}, random draws at most {decimal(evidence['null_max'])})",
        f"K = {params['k']}, γ = {params['gamma']:g}, q = {params['q']}, "
        f"γ_z = {decimal(params['gamma_z'])} ({params['gamma_z_rule']}), "
        f"{'recheck' if params['recheck'] else 'as published'}",
        f"encoder {result['embedding']['encoder']}, mapping {result['mapping']['name']}",
    ]
    if any(decided.values()):
        lines.append(
            f"decided by hand: {decided['keep']:,} keep, {decided['remove']:,} remove, {decided['unsure']:,} unsure; "
            f"{decided['overruled']:,} overrule the verdict ({decided['kept_by_hand']:,} kept though flagged, "
            f"{decided['removed_by_hand']:,} removed though clean)"
        )
    duplicates = result.get("duplicates")
    if duplicates:
        lines.append(
            f"duplicates collapsed: {duplicates['hidden']:,} pairs take the verdict of one with the same "
            "image and caption"
        )
    if truth:
        lines.append(
            f"against the truth, {truth['poisons']:,} poisons: TPR {percentage(truth['tpr'])}, "
            f"FPR {percentage(truth['fpr'])}, precision {percentage(truth['precision'])}, "
            f"AUROC of z {decimal(truth['auroc_z'])}, {truth['poisons_kept']:,} poisons kept"
        )
    lines += [
        f"skipped {reason['pairs']:,} at {reason['stage']}: {reason['reason']} "
        f"(e.g. {reason['examples'][0]['position']})"
        for reason in result["skip_reasons"]
    ]
    lines += unscored_lines(result["unscored_reasons"])
    lines += unread_lines(result)
    lines += [f"warning: {warning}" for warning in result["warnings"]]
    return "\n".join(lines)


def unscored_lines(reasons: Sequence[UnscoredReason]) -> list[str]:
    """Return which pairs have no score, why, and what brings them back: a line for each reason."""
    lines = []
    for reason in reasons:
        first = reason["examples"][0]
        detail = f", {first['detail']}" if first["detail"] else ""
        way = "`cfbd score`"
        if reason["reason"] != unscored.NOT_YET:
            way = (
                f"`cfbd embed` (ready embeddings: `cfbd ingest` the same source) makes them anew, then {way}"
            )
        lines.append(
            f"not scored {reason['pairs']:,}, neither kept nor removed: {reason['reason']} "
            f"(e.g. key {first['key']!r}{detail}); {way}"
        )
    return lines


def unread_lines(report: UnreadReport) -> list[str]:
    """What was seen and not read, a line a kind, and how the source was read."""
    lines = []
    for one in report.get("unread_kinds", []):
        advice = f" – {one['advice']}" if one["advice"] else ""
        lines.append(
            f"not read: {one['count']:,} × {one['kind']} (e.g. {', '.join(one['examples'])}){advice}"
        )
    return lines + [f"note: {sentence}" for sentence in report.get("notes", [])]


def evidence_sentence(evidence: EvidenceEntry) -> str:
    """Return what the evidence says, in a sentence."""
    return EVIDENCE_SENTENCES["repeats" if _only_repeats(evidence) else evidence["level"]]


def _only_repeats(evidence: EvidenceEntry) -> bool:
    """Return whether repeats alone make D_p's captions cohere, see :mod:`cfbd_core.method.evidence`."""
    return evidence["level"] == "weak" and evidence.get("distinct", evidence["q"]) <= evidence["q"] // 2


def _truth(outcome: pa.Table) -> tuple[DetectionMetrics | None, DetectionMetrics | None]:
    """The metrics of the verdict, and after decisions; both None without ground truth."""
    known = outcome.filter(outcome["poisoned"].is_valid())
    if known.num_rows == 0:
        return None, None
    truth = known["poisoned"].to_numpy()
    consistency, z = (
        known[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in ("consistency", "z")
    )
    in_benign = _equal(known["subset"], "benign")
    verdict, final = _equal(known["verdict"], "poisoned"), _equal(known["final"], "removed")
    return (
        detection_metrics(truth, verdict, consistency, z, in_benign),
        detection_metrics(truth, final, consistency, z, in_benign),
    )


def _equal(column: pa.ChunkedArray, value: str) -> np.ndarray:
    import pyarrow.compute as pc

    same: np.ndarray = pc.fill_null(pc.equal(column, value), False).to_numpy()
    return same
