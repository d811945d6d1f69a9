"""What an audit found: counts, parameters, how strong the evidence is, and – where known – the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from cfbd_core.audit.ingest import unread_report
from cfbd_core.config import SplitParams
from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.method.metrics import detection_metrics
from cfbd_core.store import Database, queries, unscored
from cfbd_core.store.columns import DECISIONS
from cfbd_core.store.scores import SUBSETS
from cfbd_core.wording import decimal, percentage

EVIDENCE_SENTENCES = {
    "none": "No evidence of poisoning: the captions of D_p are no more alike than random ones.",
    "weak": "Weak evidence of poisoning: the captions of D_p are somewhat alike; look at the flagged pairs.",
    "repeats": "Weak evidence of poisoning: the captions of D_p are a few texts repeated, boilerplate or poison; "
    "look at the flagged pairs.",
    "strong": "Strong evidence of poisoning: the captions of D_p are far more alike than random ones.",
}


def report(database: Database, settings_id: str | None = None) -> dict[str, Any]:
    """Return the object of ``cfbd report --json``, for an audit that was split.

    Raises AuditError when there is no split yet, ParameterError where its settings have another id than is asked for.
    """
    with database.reading() as connection:
        split = queries.get_meta(connection, "split")
        if split is None:
            raise AuditError(f"{database.path.parent}: not split yet; run `cfbd run` or `cfbd split` first")
        check_split(split, settings_id)
        outcome = queries.outcome(connection)
        reasons = queries.skip_summary(connection)
        described = {
            name: queries.needed_meta(connection, name) for name in ("source", "embedding", "mapping")
        }
        for name in ("files", "paths"):  # there may be thousands
            described["source"].pop(name, None)
        without = unscored.unscored_summary(connection)
        health = queries.get_meta(connection, "health")
        unread = unread_report(connection)

    poisoned = _equal(outcome["verdict"], "poisoned")
    removed_by_hand = int((_equal(outcome["final"], "removed") & ~poisoned).sum())
    kept_by_hand = int((_equal(outcome["final"], "kept") & poisoned).sum())
    return {
        "pairs": outcome.num_rows,
        **{subset: int(_equal(outcome["subset"], subset).sum()) for subset in SUBSETS},
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
            **{name: int(_equal(outcome["decision"], name).sum()) for name in DECISIONS if name},
        },
        "params": split["params"],
        "duplicates": split.get("duplicates"),
        "mixture": split["mixture"],
        "gamma_z_detail": split["gamma_z_detail"],
        "evidence": split["evidence"],
        "warnings": split["warnings"] + (health or {}).get("warnings", []),
        "health": health,
        "captions": described["source"]["options"]["captions"],
        **described,
        **_truth(outcome),
    }


def check_split(split: dict[str, Any] | None, settings_id: str | None) -> None:
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


def text(result: dict[str, Any]) -> str:
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
    if result.get("duplicates"):
        lines.append(
            f"duplicates collapsed: {result['duplicates']['hidden']:,} pairs take the verdict of one with the same "
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


def unscored_lines(reasons: Sequence[dict[str, Any]]) -> list[str]:
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


def unread_lines(report: dict[str, Any]) -> list[str]:
    """What was seen and not read, a line a kind, and how the source was read; ``report`` has the keys of the report."""
    lines = []
    for one in report.get("unread_kinds", []):
        advice = f" – {one['advice']}" if one["advice"] else ""
        lines.append(
            f"not read: {one['count']:,} × {one['kind']} (e.g. {', '.join(one['examples'])}){advice}"
        )
    return lines + [f"note: {sentence}" for sentence in report.get("notes", [])]


def evidence_sentence(evidence: dict[str, Any]) -> str:
    """Return what the evidence says, in a sentence; ``evidence`` as in the report."""
    return EVIDENCE_SENTENCES["repeats" if _only_repeats(evidence) else evidence["level"]]


def _only_repeats(evidence: dict[str, Any]) -> bool:
    """Return whether repeats alone make D_p's captions cohere, see :mod:`cfbd_core.method.evidence`."""
    return bool(evidence["level"] == "weak" and evidence.get("distinct", evidence["q"]) <= evidence["q"] // 2)


def _truth(outcome: pa.Table) -> dict[str, Any]:
    """``truth`` from the verdict, ``truth_final`` after decisions; both None without ground truth."""
    known = outcome.filter(outcome["poisoned"].is_valid())
    if known.num_rows == 0:
        return {"truth": None, "truth_final": None}
    truth = known["poisoned"].to_numpy()
    consistency, z = (
        known[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in ("consistency", "z")
    )
    in_benign = _equal(known["subset"], "benign")
    verdict, final = _equal(known["verdict"], "poisoned"), _equal(known["final"], "removed")
    return {
        "truth": detection_metrics(truth, verdict, consistency, z, in_benign),
        "truth_final": detection_metrics(truth, final, consistency, z, in_benign),
    }


def _equal(column: pa.ChunkedArray, value: str) -> np.ndarray:
    import pyarrow.compute as pc

    same: np.ndarray = pc.fill_null(pc.equal(column, value), False).to_numpy()
    return same
