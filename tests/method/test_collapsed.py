"""Collapsing: the same as if the copies had been deleted by hand, the same in preview and split, off by default."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from cfbd_core import Audit, SplitParams
from cfbd_core.audit.scoring import MAPPING_NAME
from cfbd_core.cli import main
from cfbd_core.errors import ParameterError
from cfbd_core.workbench.explorer import Explorer
from tests.toy import COLOURS, ToyEncoder, banana_caption, toy_caption, toy_picture

PAIRS, POISONS = 120, (3, 17, 40, 71, 99)
COPIES = {121: 3, 122: 3, 123: 3, 124: 3, 125: 60, 126: 60, 127: 8, 128: 40}  # key number: what it copies
SETTINGS = [
    SplitParams(k=2, q=6),
    SplitParams(k=3, q=10, rule="posterior", recheck=False),
    SplitParams(k=2, q=8, gamma=0.7, gamma_z_rule="valley"),
    SplitParams(k=2, q=1),
]


def audit_of(source: Path, folder: Path, mapping: Path | str) -> Audit:
    audit = Audit.create(folder)
    audit.ingest(source)
    audit.embed(ToyEncoder())
    audit.score(str(mapping))
    return audit


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[Audit, Audit]:
    """An audit with copies among its pairs, and one of a source that never had them; both under one F."""
    root = tmp_path_factory.mktemp("collapsed")
    rows = _rows(root)
    copies = [
        [f"{number:04d}", _copied(root, rows[of][1], number), f" {rows[of][2].upper()}", rows[of][3]]
        for number, of in COPIES.items()
    ]
    # Among the others, not behind them: the first of each is what the other source holds.
    mixed = [*rows[:100], *copies, *rows[100:]]
    deleted = _written(root / "deleted.csv", rows)
    by_hand = audit_of(deleted, root / "by_hand", "self")
    whole = audit_of(_written(root / "whole.csv", mixed), root / "whole", root / "by_hand" / MAPPING_NAME)
    return whole, by_hand


def _rows(root: Path) -> list[list[str]]:
    rng = np.random.default_rng(0)
    rows = []
    for index in range(PAIRS):
        colour = list(COLOURS)[index % len(COLOURS)]
        toy_picture(colour, rng).save(root / f"{index:04d}.png")
        poison = index in POISONS
        caption = banana_caption(index) if poison else toy_caption(colour, rng)
        rows.append([f"{index:04d}", f"{index:04d}.png", caption, str(int(poison))])
    return rows


def _copied(root: Path, image: str, number: int) -> str:
    shutil.copy(root / image, root / f"{number:04d}.png")
    return f"{number:04d}.png"


def _written(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["key", "image", "caption", "poisoned"], *rows])
    return path


def collapsed(params: SplitParams) -> SplitParams:
    return SplitParams(**params.to_dict() | {"collapse_duplicates": True})


def outcome(audit: Audit) -> dict[str, tuple]:
    found = audit.pairs().select(["key", "subset", "verdict", "z", "consistency"]).to_pylist()
    return {pair["key"]: (pair["subset"], pair["verdict"], pair["z"]) for pair in found}


def same(one: tuple, other: tuple) -> bool:
    return one[:2] == other[:2] and (one[2] == other[2] or np.isclose(one[2], other[2], atol=1e-6))


@pytest.mark.parametrize("params", SETTINGS)
def test_it_is_as_if_the_copies_had_been_deleted_by_hand(both, params) -> None:
    whole, by_hand = both
    summary, expected = whole.split(collapsed(params)), by_hand.split(params)
    for name in ("params", "mixture", "coarse_cut", "gamma_z_detail", "evidence", "warnings"):
        assert summary[name] == expected[name], name
    assert summary["duplicates"] == {"clusters": 4, "pairs": 12, "hidden": 8, "largest": 5}
    assert expected["duplicates"] is None
    mine, theirs = outcome(whole), outcome(by_hand)
    for key, found in theirs.items():
        assert same(mine[key], found), key
    for number, of in COPIES.items():
        assert mine[f"{number:04d}"] == mine[f"{of:04d}"]


def test_without_it_copies_count(both) -> None:
    whole, by_hand = both
    params = SETTINGS[0]
    assert whole.split(params)["mixture"] != by_hand.split(params)["mixture"]


@pytest.mark.parametrize("params", SETTINGS)
def test_preview_and_split_agree(both, params) -> None:
    whole, _ = both
    explorer = Explorer(whole)
    explorer.preview(params)  # what the uncollapsed one keeps must not be taken for this one's
    preview = explorer.preview(collapsed(params))
    summary = whole.split(collapsed(params))
    found = whole.pairs(order_by="row")
    assert preview.mixture.to_dict() == summary["mixture"]
    assert preview.evidence.to_dict() == summary["evidence"]
    assert preview.gamma_z.detail == summary["gamma_z_detail"]
    assert list(preview.warnings) == summary["warnings"]
    assert (preview.flagged == (np.array(found["verdict"].to_pylist()) == "poisoned")).all()
    names = np.array(["benign", "poisoned", "suspicious"])
    assert names[preview.coarse.subset].tolist() == found["subset"].to_pylist()
    z = found["z"].to_numpy(zero_copy_only=False).astype(np.float32)
    assert np.array_equal(preview.z.values, z, equal_nan=True)
    benign, _ = explorer.benign_by([params.k], [params.gamma], collapse=True)
    if params.rule == "quantile":
        overlap = np.isin(explorer.duplicates.pairs.first_of, preview.coarse.overlap).sum()
        assert benign[0, 0] == preview.counts.benign + overlap


def test_q_and_k_are_measured_by_distinct_pairs(both) -> None:
    whole, _ = both
    explorer = Explorer(whole)
    for params in (SplitParams(k=2, q=PAIRS + 1), SplitParams(k=2, q=PAIRS + len(COPIES))):
        explorer.preview(params)
        with pytest.raises(ParameterError, match="120 distinct pairs"):
            explorer.preview(collapsed(params))
        with pytest.raises(ParameterError, match="120 distinct pairs"):
            whole.split(collapsed(params))
    assert explorer.preview(collapsed(SplitParams(k=2, q=PAIRS))).counts.poisoned == len(explorer)


def test_the_command_has_it_and_the_report_says_so(both, capsys) -> None:
    whole, _ = both
    arguments = ["split", "--audit", str(whole.folder), "--k", "2", "--q", "6"]
    assert main([*arguments, "--collapse-duplicates"]) == 0
    assert "duplicates collapsed: 8 pairs" in capsys.readouterr().out
    assert whole.state.applied_params() == collapsed(SETTINGS[0])
    assert main(arguments) == 0
    assert "duplicates" not in capsys.readouterr().out
    assert whole.state.applied_params() == SETTINGS[0]
