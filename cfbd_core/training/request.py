"""What a run was asked for, as its folder keeps it: ``run.json``, an audit's pairs by key, what it is measured on."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from cfbd_core.embedding.encoders import load_encoder
from cfbd_core.errors import TrainingError
from cfbd_core.machine.checked_files import report_damage
from cfbd_core.machine.files import write_json, written_beside
from cfbd_core.store.training import Measured, RequestEntry, ResultEntry
from cfbd_core.training.place import MODEL, REQUEST, RESULT, read_request
from cfbd_core.training.record import record
from cfbd_core.training.tracking import Tracking, forget_evaluations, read_metrics

if TYPE_CHECKING:
    from cfbd_core.training.loop import Evaluate
    from cfbd_core.training.sets import TrainingSet

KEYS = "pairs.parquet"


def keep(out: Path, request: RequestEntry, pairs: TrainingSet) -> None:
    """Write ``run.json`` of a run that begins.

    Of one that goes on, or is done, it says anew where its pairs lie, and on what it is measured where ``request``
    says so; evaluations on something else go from its log. An audit's pairs are kept by their keys.
    """
    stored = read_request(out)
    newest = request
    if stored is not None:
        newest = {**stored, "audit": request["audit"], "data": request["data"]}
        if is_measured_otherwise(stored, request):
            forget_evaluations(out)
            newest["measured_on"] = request["measured_on"]
    if newest != stored:
        write_json(out / REQUEST, newest)
    if request["audit"] and not (out / KEYS).exists():
        with written_beside(out / KEYS) as beside:
            pq.write_table(pa.table({"key": pa.array(pairs.keys, pa.string())}), beside)


def read_keys(run: Path) -> list[str] | None:
    """The keys of the pairs of an audit that the run in this folder trains on, in their order; None for others."""
    path = run / KEYS
    if not path.is_file():
        return None
    with report_damage(path, "begin a run in a new folder", TrainingError, "cannot be read"):
        keys: list[str] = pq.read_table(path, columns=["key"])["key"].cast(pa.string()).to_pylist()
    return keys


def is_measured_otherwise(stored: RequestEntry | None, request: RequestEntry) -> bool:
    """Return whether a run is to be measured on something else than it was so far."""
    measured_on = request["measured_on"]
    before = None if stored is None else stored.get("measured_on")
    return any(measured_on.values()) and measured_on != before


def is_logged(run: Path, step: int) -> bool:
    """Return whether the log holds an evaluation after this step."""
    return any(line["kind"] == "eval" and line["step"] == step for line in read_metrics(run))


def finished(
    out: Path,
    result: ResultEntry,
    request: RequestEntry,
    pairs: TrainingSet,
    evaluate: Evaluate | None,
    device: str,
) -> ResultEntry:
    """Return the result of a run that is done; its model is measured if it was not yet, or on something else.

    ``run.json``, ``result.json``, the log and the database then say so.
    """
    steps = result["steps"]
    is_new = is_measured_otherwise(read_request(out), request) or not is_logged(out, steps)
    measured: Measured = {}
    if evaluate is not None and is_new:
        measured = json.loads(json.dumps(dict(evaluate(load_encoder(str(out / MODEL), device)))))
        result = {**result, "ca": None, "asr": None, **measured}
        write_json(out / RESULT, result)
    keep(out, request, pairs)
    if measured:
        with Tracking(out, steps, steps - 1) as log:
            log(
                {
                    "kind": "eval",
                    "epoch": result["epochs"] - 1,
                    "step": steps,
                    **measured,
                    "time": time.time(),
                }
            )
    record(out)  # the database may have been busy when the run ended
    return result
