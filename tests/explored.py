"""A scored audit for the tests of sliders and views: ties, gaps between rows, pairs of unknown truth."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from cfbd_core import Audit, SplitParams
from cfbd_core.config import SPLIT_RULES
from cfbd_core.store import queries, unscored
from cfbd_core.store.scores import replace_scores

READ, WIDTH, SHARD_ROWS = 420, 64, 96
ODD_CAPTIONS = {
    11: "Sale: 100% off",
    12: "Sale: 100 percent off",
    13: "see file_name here",
    14: "see fileXname here",
    15: "a path C:\\photos",
    16: 'it\'s a "quoted" dog',
    17: "Une ÉCOLE à Paris",
    18: "A Banana On A Plate",
}

PARAMS = st.builds(
    SplitParams,
    k=st.integers(1, 10),
    gamma=st.floats(0.01, 0.99),
    q=st.integers(1, 60) | st.just(READ - 7),
    rule=st.sampled_from(SPLIT_RULES),
    recheck=st.booleans(),
    kappa=st.floats(0.5, 10),
    seed=st.integers(0, 2),
).flatmap(
    lambda params: st.one_of(
        st.sampled_from(["auto", "null", "valley", "mixture"]).map(
            lambda rule: replace(params, gamma_z_rule=rule)
        ),
        st.floats(-1, 1).map(lambda value: replace(params, gamma_z=value, gamma_z_rule="manual")),
    )
)


def scored_audit(folder: Path, seed: int = 0, scored: bool = True) -> Audit:
    """Make an audit of 416 pairs in ``folder``: 20 poisons, 30 of unknown truth, c rounded so that it ties.

    Rows 100 to 103 repeat a key with its caption, and are gaps; rows 200 to 202 have no score, which leaves 413.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    text = 0.6 + rng.normal(size=(READ, WIDTH))
    poisons = np.sort(rng.choice(np.r_[20:100, 110:190, 210:READ], 20, replace=False))
    text[poisons] = 2 * rng.normal(size=WIDTH) + 0.3 * rng.normal(size=(20, WIDTH))
    text[300:320] = text[300]
    truth: list[bool | None] = [row in poisons for row in range(READ)]
    truth[30:60] = [None] * 30
    keys = [f"key-{(row * 37) % READ:03d}" for row in range(READ)]
    captions = [ODD_CAPTIONS.get(row, f"caption {row} {chr(0x4E00 + row)}") for row in range(READ)]
    keys[100:104], captions[100:104] = keys[:4], captions[:4]
    source = pa.table(
        {
            "key": keys,
            "caption": captions,
            "poisoned": pa.array(truth, pa.bool_()),
            "image_embedding": _lists(rng.normal(size=(READ, WIDTH))),
            "text_embedding": _lists(text),
        }
    )
    pq.write_table(source, folder / "source.parquet")
    audit = Audit.create(folder / "audit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cfbd_core.audit.ingest.SHARD_SIZE", SHARD_ROWS)
        audit.ingest(folder / "source.parquet")
    if scored:
        c = np.abs(rng.normal(0.05, 0.08, READ))
        c[poisons] += rng.uniform(0, 0.9, len(poisons))
        put_scores(audit, c.round(2).astype(np.float32))
    return audit


def put_scores(audit: Audit, c: np.ndarray) -> None:
    """Store c (READ,) as the pairs' scores, as the job would."""
    failures = pa.table({"row": [200, 201, 202], "reason": ["no score"] * 3, "detail": [""] * 3})
    with audit.files.database.writing() as connection:
        unscored.replace_unscored(connection, failures)
        rows = np.setdiff1d(queries.pair_rows(connection), failures["row"].to_numpy())
        other = dict.fromkeys(("s_o", "s_g", "residual", "residual_calibrated", "intra"), c[rows])
        replace_scores(connection, pa.table({"row": rows, "consistency": c[rows], **other}))
        queries.set_meta(connection, "mapping", {"name": "none"})
        queries.record_run(connection, "score", datetime.now(UTC), {}, {})


def _lists(rows: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.astype(np.float32).ravel()), WIDTH)
