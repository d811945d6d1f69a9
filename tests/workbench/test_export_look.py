"""What the page Export says before is what an export then writes: pairs, counts, the first rows."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cfbd_core import Audit, SplitParams
from cfbd_core.audit.export import spooled_rows, spooled_subset
from cfbd_core.errors import SourceError
from cfbd_core.export import SUBSETS, Style
from cfbd_core.workbench.explorer import Explorer
from cfbd_core.workbench.export_look import first_rows, look
from cfbd_core.workbench.selection import as_seen
from tests.explored import scored_audit

UNSCORED = (40, 41, 42)
PARAMS = st.builds(
    SplitParams,
    k=st.integers(1, 3),
    q=st.integers(1, 60),
    gamma_z=st.floats(0, 1),
    gamma_z_rule=st.just("manual"),
    collapse_duplicates=st.booleans(),
)


@pytest.fixture(scope="module")
def explored(tmp_path_factory) -> Explorer:
    audit = scored_audit(tmp_path_factory.mktemp("look") / "made")
    with audit.files.database.writing() as connection:
        connection.execute(f"DELETE FROM scores WHERE row IN {UNSCORED}")
    keys = audit.pairs(f"row IN {UNSCORED}")["key"].to_pylist()
    audit.decide(pa.table({"key": keys[:2], "decision": ["keep", "remove"]}))
    found = Explorer(audit)
    found.decide(np.arange(0, 60, 2), np.random.default_rng(0).integers(0, 4, 30).astype(np.int8))
    return found


@settings(max_examples=5)  # each example takes long
@given(params=PARAMS, subset=st.sampled_from(SUBSETS))
def test_the_pairs_that_are_told_are_those_that_are_written(explored, tmp_path, params, subset):
    found = look(explored.preview(params), subset)
    explored.audit.split(params)
    record = explored.audit.export(tmp_path / "out.csv", subset)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        written = [row["key"] for row in csv.DictReader(file)]
    assert explored.audit.columns.keys_of(found.rows) == written
    assert record["pairs"] == len(found.rows)
    assert record["without_picture"] == found.without_picture
    assert (found.without_score, found.neither) == ({"all": 6, "kept": 1, "removed": 1}[subset], 4)
    assert record["counts"]["neither"] == 4  # one here, three of the audit as it is made


@pytest.mark.parametrize(
    "style", [Style(), Style(spreadsheet_safe=True, pandas_safe=True), Style(relative_paths=True)]
)
def test_the_first_rows_are_told_as_a_table_holds_them(explored, tmp_path, style):
    params, out = SplitParams(k=2, q=12), tmp_path / "out.csv"
    preview = explored.preview(params)
    told = first_rows(preview, look(preview, "all").rows[:9], out, "csv", style)
    explored.audit.split(params)
    chosen = {"spreadsheet_safe": style.spreadsheet_safe, "relative_paths": style.relative_paths}
    explored.audit.export(out, "all", pandas_safe=style.pandas_safe, **chosen)
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:9]
    for name, values in told.items():
        if name not in ("consistency", "z"):
            assert [_cell(value) for value in values] == [row[name] for row in rows]
    z = np.array([np.nan if value is None else value for value in told["z"]], np.float32)
    np.testing.assert_array_equal(z, np.array([row["z"] or "nan" for row in rows], np.float32))


def test_pairs_without_a_score_keep_what_the_audit_says_of_them(explored):
    with spooled_rows(explored.audit.files, np.array([39, *UNSCORED])) as batches:
        seen = pa.concat_batches(
            [as_seen(explored.preview(SplitParams(k=2, q=12)), batch) for batch in batches]
        )
    assert (
        seen["z"].to_pylist()[1:]
        == seen["subset"].to_pylist()[1:]
        == seen["verdict"].to_pylist()[1:]
        == [None] * 3
    )
    assert seen["final"].to_pylist()[1:] == ["kept", "removed", None]
    assert seen["verdict"].to_pylist()[0] is not None


def test_pictures_are_told_by_the_names_they_will_have(tmp_path, toy_audit):
    audit, out = toy_audit, tmp_path / "out.parquet"
    preview = Explorer(audit).preview(audit.state.applied_params())
    rows = look(preview, "all").rows[:4]
    told = first_rows(preview, rows, out, "parquet", Style())
    assert not out.with_name("out.parquet.images").exists()
    told_of_tars = first_rows(preview, rows, tmp_path / "out_tars", "webdataset", Style())
    audit.export(out, "all")
    for place in told["image"]:
        Image.open(place).verify()
    audit.export(tmp_path / "out_tars", "all")
    with tarfile.open(tmp_path / "out_tars" / "00000.tar") as tar:
        for at, name in enumerate(told_of_tars["file"]):
            facts = json.loads(tar.extractfile(f"{Path(name).stem}.json").read())
            assert tar.getmember(name).size
            assert facts == {
                column: values[at] for column, values in told_of_tars.items() if column != "file"
            }


def test_a_picture_that_is_gone_is_told_before(tmp_path, toy_audit):
    preview = Explorer(toy_audit).preview(toy_audit.state.applied_params())
    (tmp_path / "tars" / "00000.tar").unlink()
    with pytest.raises(SourceError, match="cannot be read .missing file"):
        first_rows(preview, look(preview, "all").rows[:2], tmp_path / "out", "webdataset", Style())


@pytest.fixture
def toy_audit(tmp_path, toy_source) -> Audit:
    """A scored and split audit whose pictures lie in a tar."""
    from cfbd_core.config import EmbedParams
    from tests.toy import ToyEncoder

    first = Audit.create(tmp_path / "first")
    first.ingest(toy_source(60))
    from cfbd_core.export import export

    with spooled_subset(first.files, "all") as rows:
        export(rows, tmp_path / "tars", "webdataset", {})
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(tmp_path / "tars")
    audit.embed(ToyEncoder(), EmbedParams(batch_size=32))
    audit.score("self")
    audit.split(SplitParams(q=4, k=2))
    return audit


def _cell(value) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
