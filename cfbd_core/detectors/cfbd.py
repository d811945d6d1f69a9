"""CFBD itself, as a split runs it: both stages, and how strong the evidence is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cfbd_core.config import SplitParams
from cfbd_core.detectors.base import Detection, Detector, Pairs
from cfbd_core.method.scores import JoinedRows
from cfbd_core.method.split import BENIGN, POISONED, SUSPICIOUS
from cfbd_core.method.split_pairs import SplitResult, split_pairs


class Cfbd(Detector):
    """Coarse-to-fine: the q least consistent pairs say what poisoned captions look like (paper §2, Eqs. 1–6).

    The score is z, the mean cosine of a caption to those of D_p; flagged is the verdict of ``cfbd split`` with
    ``params`` (their seed is the pairs'). Defaults: K = 5, γ = 0.90, q = 50, γ_z by the null rule, recheck.

    ``info`` is the split's summary (``params`` with γ_z and its rule, ``mixture``, ``evidence`` with level,
    cohesion and null, ``warnings``), ``counts`` of the subsets, ``subset`` int8 (N,) and ``probe`` (q,): the rows
    of D_p, largest c first. Raises ParameterError: fewer scored pairs than q or K, or all of one consistency.
    """

    name = "cfbd"
    title = "CFBD"
    source = "CFBD, coarse-to-fine backdoor detection: the paper that this project follows, §2"

    def __init__(self, params: SplitParams | None = None) -> None:
        self.params = params or SplitParams()

    @staticmethod
    def from_registry(registry: Mapping[str, Detector]) -> Cfbd:
        """Return the registered one, by which an audit is split."""
        detector = registry[Cfbd.name]
        assert isinstance(detector, Cfbd)
        return detector

    def under(self, params: SplitParams) -> Cfbd:
        """Return the same detector with these settings."""
        return type(self)(params)

    def detect(self, pairs: Pairs) -> Detection:
        """Judge all pairs by both stages."""
        split = self.split(pairs)
        consistency = pairs.scores.consistency
        probe = np.flatnonzero(split.subset == POISONED)
        probe = probe[np.argsort(-consistency[probe], kind="stable")]
        return Detection(
            split.z,
            split.poisoned,
            {
                **split.summary,
                "counts": subset_counts(split.subset),
                "subset": split.subset,
                "probe": probe,
            },
        )

    def split(self, pairs: Pairs) -> SplitResult:
        """Split all pairs; one without a score has z NaN, subset -1 and is not flagged."""
        rows = np.flatnonzero(pairs.scored)
        consistency = pairs.scores.consistency
        shards, rows_of_text = shards_and_rows(pairs.text)
        split = split_pairs(
            JoinedRows(shards, rows_of_text[rows]),
            consistency[rows],
            replace(self.params, seed=pairs.seed),
            keys_of=lambda tied: pairs.keys_at(np.searchsorted(rows_of_text, tied)),
            captions_of=lambda probe: pairs.captions_at(np.searchsorted(rows_of_text, probe)),
            clusters=pairs.clusters,
        )
        z = np.full(len(consistency), np.nan, np.float32)
        z[rows] = split.z
        poisoned = np.zeros(len(consistency), bool)
        poisoned[rows] = split.poisoned
        subset = np.full(len(consistency), -1, np.int8)
        subset[rows] = split.subset
        return SplitResult(z, subset, poisoned, split.summary)


def shards_and_rows(text: np.ndarray | JoinedRows) -> tuple[Sequence[np.ndarray], np.ndarray]:
    """Return embeddings as shards, and the row of each pair in them, int64 (N,), ascending."""
    if isinstance(text, JoinedRows):
        return text.shards, text.rows
    return [text], np.arange(len(text))


def subset_counts(subset: np.ndarray) -> dict[str, int]:
    """Return how many pairs the coarse stage put where."""
    named = {"benign": BENIGN, "poisoned": POISONED, "suspicious": SUSPICIOUS}
    return {name: int((subset == code).sum()) for name, code in named.items()}
