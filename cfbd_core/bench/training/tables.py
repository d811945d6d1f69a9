"""Tables 1 and 2 from the cells of a training benchmark: CA and ASR by defence and attack, the paper's beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cfbd_core.attacks import ATTACKS
from cfbd_core.bench.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, YELLOW, styled
from cfbd_core.bench.markdown import header, line, mean_and_spread
from cfbd_core.bench.paper import TABLE_1, TABLE_2
from cfbd_core.bench.training.rows import ROWS
from cfbd_core.detectors import DETECTORS
from cfbd_core.evaluation.retrieval import RECALL_RANKS
from cfbd_core.poisoning.poison_params import CONTROL
from cfbd_core.store.bench import Cell
from cfbd_core.wording import NONE

if TYPE_CHECKING:
    from cfbd_core.bench.training.cells import Judged, TrainedCell

COLOURS = (GREY, ORANGE, PURPLE, YELLOW, "#F0E442", "#56B4E9", GREEN, BLUE)  # a row of the tables each
HEIGHT = 760


def markdown(cells: Iterable[Cell], attacks: Sequence[str]) -> str:
    """Both tables, mmPoison by retrieval, and what CFBD and ABL detected."""
    all_cells = list(cells)
    parts = [
        "## Table 1: clean accuracy (CA, %)\n\n" + _table(all_cells, attacks, "ca", TABLE_1),
        "## Table 2: attack success rate (ASR, %)\n\n" + _table(all_cells, attacks, "asr", TABLE_2),
        *(["## mmPoison: retrieval\n\n" + search] if (search := _searched(all_cells)) else []),
        "## What the detectors left\n\n" + _detected(all_cells, attacks),
        "## Detectors that train\n\n" + _ranked(all_cells, attacks),
    ]
    return "\n\n".join(parts)


def chart(cells: Iterable[Cell], attacks: Sequence[str]) -> go.Figure:
    """CA and ASR as bars, an attack a group, a row a colour; means over the seeds."""
    all_cells = list(cells)
    figure = make_subplots(2, 1, subplot_titles=("Clean accuracy, %", "Attack success rate, %"))
    for panel, measure in enumerate(("ca", "asr"), 1):
        for (name, row), colour in zip(ROWS.items(), COLOURS, strict=True):
            means = [_mean(_values(all_cells, name, attack, measure)) for attack in attacks]
            if any(mean is not None for mean in means):
                figure.add_bar(
                    x=[ATTACKS[attack].title for attack in attacks],
                    y=means,
                    name=row.title,
                    legendgroup=name,
                    showlegend=panel == 1,
                    marker={"color": colour},
                    row=panel,
                    col=1,
                )
    figure.update_layout(height=HEIGHT, barmode="group")
    return styled(figure)


def _table(cells: Sequence[Cell], attacks: Sequence[str], measure: str, paper: Any) -> str:
    lines = header(["Trained", *(ATTACKS[attack].title for attack in attacks)])
    for name, row in ROWS.items():
        shown = []
        for attack in attacks:
            values = _values(cells, name, attack, measure)
            theirs = paper.get(name, {}).get(attack)
            beside = f" ({theirs:.2f})" if theirs is not None else ""
            few = _few(cells, name, attack) if measure == "asr" else ""
            shown.append(mean_and_spread(values, 2) + few + beside if values else NONE)
        if any(cell != NONE for cell in shown):
            lines.append(line([row.title, *shown]))
    caption = "Mean over seeds, ± half of what lies between least and most where that shows; in brackets the paper's."
    return "\n".join([caption, "", *lines])


def _few(cells: Sequence[Cell], row: str, attack: str) -> str:
    """On how many pictures an ASR stands where the trigger is a class: those of that class alone."""
    if ATTACKS[attack].victims != "origin":
        return ""
    counts = [one["asr_images"] for one in _results(cells, row, attack) if one.get("asr_images")]
    return f", n = {min(counts):,}" if counts else ""


def _searched(cells: Sequence[Cell]) -> str:
    """mmPoison by Hit@K and min-rank; empty where no cell under it was measured so."""
    lines = header(
        ["Trained", *(f"Hit@{k} %" for k in RECALL_RANKS), "min-rank", "texts", "pictures of the origin"]
    )
    for name, row in ROWS.items():
        results = _results(cells, name, CONTROL if name == "clean" else "mmpoison")
        searches = [hits for one in results if (hits := one.get("hits"))]
        if searches:
            rates = [[one["hit@1"], one["hit@5"], one["hit@10"]] for one in searches]
            shares = [mean_and_spread([100 * rate for rate in at], 2) for at in zip(*rates, strict=True)]
            ranks = mean_and_spread([one["min_rank"] for one in searches], 1)
            counts = [f"{searches[0]['texts']:,}", f"{searches[0]['origin_images']:,}"]
            title = f"{row.title} (base rate)" if name == "clean" else row.title
            lines.append(line([title, *shares, ranks, *counts]))
    if not any(one.get("hits") for row in ROWS for one in _results(cells, row, "mmpoison")):
        return ""
    caption = (
        "Held-out pictures ranked for every held-out caption that names the target: how often one of the poisoned "
        "class is among the first K, and where its first one stands, counted from 0. CleanCLIP has been fine-tuned on "
        "these very pairs."
    )
    return "\n".join([caption, "", *lines])


def _detected(cells: Sequence[Cell], attacks: Sequence[str]) -> str:
    lines = header(["Row", "Attack", "TPR %", "FPR %", "pairs trained on", "poisons among them"])
    for name in ("coarse", "cfbd"):
        for attack in attacks:
            tpr = _values(cells, name, attack, "tpr")
            if not tpr:
                continue
            pairs, left = (_values(cells, name, attack, key, 1) for key in ("pairs", "poisons_left"))
            lines.append(
                line(
                    [
                        ROWS[name].title,
                        ATTACKS[attack].title,
                        mean_and_spread(tpr, 2),
                        mean_and_spread(_values(cells, name, attack, "fpr"), 2),
                        f"{np.mean(pairs):,.0f}",
                        ", ".join(f"{value:.0f}" for value in left),
                    ]
                )
            )
    return "\n".join(lines)


def _ranked(cells: Sequence[Cell], attacks: Sequence[str]) -> str:
    """ABL by the losses of its first epochs, and detectors of outliers among embeddings of the undefended model."""
    lines = header(["Detector", "Attack", "AUROC", "AUPRC", "TPR %", "FPR %"])
    for attack in attacks:
        rankings: dict[str, list[Judged]] = {"ABL": [*_results(cells, "abl", attack)]}
        for one in _results(cells, "none", attack):
            for name, found in (one.get("detectors") or {}).items():
                rankings.setdefault(DETECTORS[name].title, []).append(found)
        for title, judged in rankings.items():
            if judged and "auroc" in judged[0]:
                figures = [
                    f"{np.mean([one['auroc'] for one in judged]):.4f}",
                    f"{np.mean([one['auprc'] for one in judged]):.4f}",
                    mean_and_spread([100 * tpr for one in judged if (tpr := one["tpr"]) is not None], 2),
                    mean_and_spread([100 * one["fpr"] for one in judged], 2),
                ]
                lines.append(line([title, ATTACKS[attack].title, *figures]))
    caption = (
        "ABL ranks by a pair's mean loss while the model of its row learns, and flags 1 %; the others look for "
        "outliers among picture embeddings by the model that was trained on all pairs (no defense), and flag 10 %."
    )
    return "\n".join([caption, "", *lines])


def _results(cells: Iterable[Cell], row: str, attack: str) -> list[TrainedCell]:
    return [
        cell.result for cell in cells if cell.analysis == f"train {row}" and cell.params["attack"] == attack
    ]


def _values(cells: Iterable[Cell], row: str, attack: str, measure: str, scale: float = 100) -> list[float]:
    """Return a measure of every seed; clean training stands under every attack."""
    wanted = "none" if row == "clean" else attack
    return [
        scale * cell.result[measure]
        for cell in cells
        if cell.analysis == f"train {row}"
        and cell.params["attack"] == wanted
        and cell.result.get(measure) is not None
    ]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
