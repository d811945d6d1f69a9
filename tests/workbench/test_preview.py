"""What a setting of the sliders finds, counted literally."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest

from cfbd_core import Audit, SplitParams
from cfbd_core.store.columns import DECISIONS
from cfbd_core.workbench.explorer import Explorer
from cfbd_core.workbench.preview import Confusion, Preview
from tests.explored import scored_audit

SLIDERS = [
    SplitParams(k=3, q=20),
    SplitParams(k=2, q=60, gamma=0.6, recheck=False),
    SplitParams(k=5, q=40, gamma_z=0.2, gamma_z_rule="manual"),
    SplitParams(k=1, q=1, rule="posterior"),
    SplitParams(k=1, q=380, gamma=0.99, gamma_z=0.03, gamma_z_rule="manual"),
]


@pytest.fixture(scope="module")
def explored(tmp_path_factory) -> Explorer:
    explored = Explorer(scored_audit(tmp_path_factory.mktemp("decided") / "made"))
    explored.decide(np.arange(0, 413, 3), np.random.default_rng(1).integers(0, 4, 138).astype(np.int8))
    return explored


@pytest.fixture(params=range(len(SLIDERS)))
def preview(request, explored: Explorer) -> Preview:
    return explored.preview(SLIDERS[request.param])


def counted(flags) -> int:
    return sum(map(bool, flags))


def test_counts(preview: Preview) -> None:
    subset, flagged = preview.coarse.subset.tolist(), preview.flagged.tolist()
    counts = preview.counts
    assert [counts.benign, counts.poisoned, counts.suspicious] == [subset.count(code) for code in range(3)]
    assert (counts.pairs, counts.flagged, counts.kept) == (413, flagged.count(True), flagged.count(False))


def test_a_decision_overrules_the_verdict_and_unsure_does_not(preview: Preview) -> None:
    expected = [
        {"": flagged, "unsure": flagged, "keep": False, "remove": True}[DECISIONS[code]]
        for flagged, code in zip(preview.flagged.tolist(), preview.pairs.decisions.tolist(), strict=True)
    ]
    assert preview.removed().tolist() == expected


@pytest.mark.parametrize("by_hand", [False, True])
def test_confusion_is_over_the_pairs_whose_truth_is_known(preview: Preview, by_hand: bool) -> None:
    verdict = preview.removed() if by_hand else preview.flagged
    cells = list(zip(preview.pairs.truth.tolist(), verdict.tolist(), strict=True))
    found = preview.confusion(verdict)
    assert found == Confusion(
        caught=cells.count((1, True)),
        missed=cells.count((1, False)),
        false_alarms=cells.count((0, True)),
        clean_kept=cells.count((0, False)),
    )
    assert found.caught + found.missed + found.false_alarms + found.clean_kept == 413 - 30


def test_shares_of_a_confusion() -> None:
    found = Confusion(caught=6, missed=2, false_alarms=4, clean_kept=36)
    assert (found.tpr, found.fpr, found.precision) == (0.75, 0.1, 0.6)


def test_shares_of_nothing_are_none() -> None:
    found = Confusion(caught=0, missed=0, false_alarms=0, clean_kept=0)
    assert found.tpr is found.fpr is found.precision is None


def test_overruled_pairs(preview: Preview) -> None:
    cells = list(zip(preview.coarse.subset.tolist(), preview.flagged.tolist(), strict=True))
    assert preview.overruled() == (cells.count((1, False)), cells.count((0, True)))


def test_both_kinds_of_overruling_occur_here(explored: Explorer) -> None:
    found = np.array([explored.preview(params).overruled() for params in SLIDERS])
    assert (found.max(0) > 0).all()


def test_poisons_in_the_benign_subset(preview: Preview) -> None:
    subset, truth = preview.coarse.subset.tolist(), preview.pairs.truth.tolist()
    assert preview.poisons_in_benign() == counted(
        code == 0 and known == 1 for code, known in zip(subset, truth, strict=True)
    )


@pytest.mark.parametrize("name", ["consistency", "z"])
def test_a_histogram_holds_every_pair_that_has_a_value(preview: Preview, name: str) -> None:
    values = preview.pairs.consistency if name == "consistency" else preview.z.values
    edges, counts = getattr(preview, f"{name}_histogram")()
    assert counts.shape == (3, len(edges) - 1)
    has = np.isfinite(values)
    assert counts.sum(1).tolist() == [counted((preview.coarse.subset == code) & has) for code in range(3)]
    poisons = getattr(preview, f"poisons_by_{name}")()
    assert poisons.sum() == counted((preview.pairs.truth == 1) & has)
    assert (poisons <= counts.sum(0)).all()
    assert (edges[0], edges[-1]) == (values[has].min(), values[has].max())


def test_evidence_without_a_flagged_pair_is_warned_of(explored: Explorer) -> None:
    blind = SplitParams(k=3, q=20, gamma_z=1.0, gamma_z_rule="manual")
    preview = explored.preview(blind)
    assert (preview.evidence.level, preview.counts.flagged) == ("strong", 0)
    assert "the evidence is strong" in preview.warnings[-1]
    assert not any("the evidence is strong" in told for told in explored.preview(SLIDERS[0]).warnings)


def test_the_warnings_of_the_coarse_stage_are_told(explored: Explorer) -> None:
    preview = explored.preview(SLIDERS[-1])
    assert "are in both D_b and D_p" in preview.warnings[0]


def test_without_truth_there_is_nothing_to_compare(own: Audit) -> None:
    with duckdb.connect(str(own.folder / "audit.duckdb")) as connection:
        connection.execute("UPDATE pairs SET poisoned = NULL")
    preview = Explorer(own).preview(SLIDERS[0])
    assert preview.confusion(preview.flagged) == Confusion(0, 0, 0, 0)
    assert preview.poisons_in_benign() == preview.poisons_by_z().sum() == 0
    assert preview.z.areas is None
