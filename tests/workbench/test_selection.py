"""An export of what a filter selects: the same pairs, the export's columns, bad input."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from cfbd_core import SplitParams
from cfbd_core.audit.export import spooled_rows
from cfbd_core.cli import main
from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.export import COLUMNS
from cfbd_core.workbench.explorer import Explorer
from cfbd_core.workbench.filter_query import to_query
from cfbd_core.workbench.pair_filter import PairFilter
from cfbd_core.workbench.selection import export_selection, read_address, select
from tests.explored import scored_audit


@pytest.fixture(scope="module")
def explored(tmp_path_factory) -> Explorer:
    audit = scored_audit(tmp_path_factory.mktemp("selection") / "made")
    audit.split(SplitParams(k=3, q=20))
    found = Explorer(audit)
    found.decide(np.arange(0, 40, 2), np.random.default_rng(0).integers(0, 4, 20).astype(np.int8))
    return found


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "chosen",
    [
        PairFilter(),
        PairFilter(show="all", c=(0.02, 0.1), sort="consistency", descending=False),
        PairFilter(show="kept", decisions=("keep", "unsure"), sort="row", descending=False),
        PairFilter(show="all", text="nowhere at all"),
    ],
)
def test_the_command_writes_what_the_filter_selects_as_an_export_would(explored, tmp_path, chosen) -> None:
    out = tmp_path / "chosen.csv"
    address = "&".join(f"{name}={value}" for name, value in to_query(chosen).items())
    command = ["export", "--audit", str(explored.audit.folder), "--out", str(out), "--where", address]
    assert main(command) == 0
    explored.audit.export(tmp_path / "all.csv", "all")
    by_key = {row["key"]: row for row in rows_of(tmp_path / "all.csv")}
    preview = explored.preview(explored.audit.state.applied_params())
    wanted = explored.audit.columns.keys_of(explored.rows[chosen.positions(preview)])
    written = rows_of(out)
    assert [row["key"] for row in written] == wanted
    assert written == [by_key[key] for key in wanted]
    assert out.read_text(encoding="utf-8").splitlines()[0] == ",".join(COLUMNS)
    record = json.loads((tmp_path / "chosen.csv.json").read_text(encoding="utf-8"))
    assert record["filter"] == to_query(chosen)
    assert (record["pairs"], record["subset"]) == (len(wanted), "filter")


def test_other_sliders_are_seen_though_their_split_is_not_stored(explored, tmp_path) -> None:
    params = SplitParams(k=2, q=9, gamma_z=0.3, gamma_z_rule="manual")
    chosen = select(explored, "k=2&q=9&gamma=0.9&gamma_z=0.3&show=all&audit=elsewhere")
    preview, positions = chosen.preview, chosen.positions
    assert preview.params == params != explored.audit.state.applied_params()
    assert "audit" not in chosen.query
    export_selection(chosen, tmp_path / "seen.csv")
    written = rows_of(tmp_path / "seen.csv")
    assert len(written) == len(explored)
    assert [row["verdict"] == "poisoned" for row in written] == preview.flagged[positions].tolist()
    assert [row["final"] == "removed" for row in written] == preview.removed()[positions].tolist()
    z = np.array([float(row["z"] or "nan") for row in written], np.float32)
    np.testing.assert_array_equal(z, preview.z.values[positions])
    names = [["benign", "poisoned", "suspicious"][code] for code in preview.coarse.subset[positions]]
    assert [row["subset"] for row in written] == names


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("show=some", "none of"),
        ("banana", "NAME=VALUE"),
        ("shown=all", "'shown' is no part of a filter"),
        ("c=0_1&c=0_2", "given twice"),
        ("q=100000", "choose fewer"),
        ("k=many", "give a number"),
        ("lasso=captions@20260101T000000.000000:0,0;1,0;1,1", "no longer there"),
        ("like=image:nobody", "no pair has this key"),
    ],
)
def test_what_is_no_filter_is_told_in_one_line(explored, tmp_path, capsys, where, told) -> None:
    command = ["export", "--audit", str(explored.audit.folder), "--out", str(tmp_path / "x.csv")]
    assert main([*command, "--where", where]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_rules_of_an_export_hold(explored, tmp_path, capsys) -> None:
    command = ["export", "--audit", str(explored.audit.folder), "--where", "show=all"]
    mine = tmp_path / "mine.csv"
    mine.write_text("mine")
    for more, told in (
        (["--out", str(mine)], "would overwrite a file that is no export"),
        (["--out", str(explored.audit.folder / "x.csv")], "would overwrite"),
        (["--out", str(tmp_path / "x.parquet"), "--spreadsheet-safe"], "for CSV only"),
        (["--out", str(tmp_path / "x.csv"), "--subset", "kept"], "give one of them"),
    ):
        assert main([*command, *more]) == 2
        assert told in capsys.readouterr().err
    assert mine.read_text() == "mine"
    for _ in range(2):  # an earlier one gives way
        assert main([*command, "--out", str(tmp_path / "x.csv"), "--spreadsheet-safe"]) == 0


def test_without_a_split_there_is_nothing_to_select(tmp_path) -> None:
    with pytest.raises(AuditError, match="not split yet"):
        select(Explorer(scored_audit(tmp_path / "made")), "")


def test_an_address_is_read_as_a_browser_writes_it() -> None:
    assert read_address("?text=a+red%20b%26c&show=all") == {"text": "a red b&c", "show": "all"}
    assert read_address("  ") == {}
    with pytest.raises(ParameterError):
        read_address("text")


def test_pairs_that_are_gone_since_are_left_out(explored) -> None:
    with spooled_rows(explored.audit.files, np.array([5, 10**9, 7])) as batches:
        assert [row for batch in batches for row in batch.column("row").to_pylist()] == [5, 7]
