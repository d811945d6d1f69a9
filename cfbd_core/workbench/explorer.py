"""A scored audit held ready for sliders: what would this K, γ, q and γ_z find?

The columns that a split needs are kept in memory (about 30 bytes a pair) and the caption embeddings
stay mapped, so a move of a slider touches neither DuckDB nor rows in Python. The stages are those of
:mod:`cfbd_core.method.split`, so a preview is what :meth:`cfbd_core.audit.audit.Audit.split` would store.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cfbd_core.config import MAX_K, SplitParams
from cfbd_core.errors import ParameterError
from cfbd_core.machine.cache import Cache, once
from cfbd_core.method.clusters import Clusters
from cfbd_core.method.collapsed import stages_of_distinct
from cfbd_core.method.mixture import Mixture, fit_mixture
from cfbd_core.method.score_column import ScoreColumn
from cfbd_core.method.scores import textual_correlation
from cfbd_core.method.split import benign_cut
from cfbd_core.workbench.preview import Preview
from cfbd_core.workbench.scored_pairs import ScoredPairs

if TYPE_CHECKING:
    from cfbd_core.audit.audit import Audit

CACHED_FITS = 8 * MAX_K
CACHED_PREVIEWS = 4
CACHED_CORRELATIONS = 4


class Explorer(ScoredPairs):
    """The scored pairs of ``audit`` and what any setting of the sliders finds among them.

    Raises AuditError where the audit has no scores yet.
    """

    def __init__(self, audit: Audit) -> None:
        self._warm_lock = threading.Lock()
        self._warming: threading.Thread | None = None
        self._warmed: tuple[int, bool] | None = None
        self._mixtures: Cache[tuple[int, int, bool], Mixture] = Cache(CACHED_FITS)
        self._previews: Cache[str, Preview] = Cache(CACHED_PREVIEWS)
        self._correlations: Cache[tuple[bytes, bool], ScoreColumn] = Cache(CACHED_CORRELATIONS)
        super().__init__(audit)

    # --- sliders -----------------------------------------------------------------------------------

    def check(self, params: SplitParams) -> None:
        """Raise ParameterError where these pairs are too few for the parameters."""
        pairs = len(self.rows[self.counted(params.collapse_duplicates)])
        kind = "distinct" if params.collapse_duplicates else "scored"
        if params.q > pairs:
            raise ParameterError(f"q = {params.q}: the audit has {pairs:,} {kind} pairs; choose fewer")
        if params.k > pairs:
            raise ParameterError(f"K = {params.k}: the audit has {pairs:,} {kind} pairs; choose fewer")

    def mixture(self, k: int, seed: int = 0, collapse: bool = False) -> Mixture:
        """Return the fit of K = ``k`` components to c, with ``collapse`` of distinct pairs; each is made once."""
        return self._mixtures.get(
            (k, seed, collapse),
            lambda: fit_mixture(self.consistency[self.counted(collapse)], k, seed=seed),
        )

    @property
    def is_warm(self) -> bool:
        """Whether every fit that the K slider can ask for has been made."""
        return self._warming is not None and not self._warming.is_alive()

    def warm(self, seed: int = 0, collapse: bool = False) -> None:
        """Begin to make every fit that the K slider can ask for, in a thread; once, while the arguments stay."""
        with self._warm_lock:
            if self._warmed != (seed, collapse):
                self._warmed = seed, collapse
                self._warming = threading.Thread(target=self.fit_all, args=[seed, collapse], daemon=True)
                self._warming.start()

    def wait_until_warm(self) -> None:
        """Wait for the fits that :meth:`warm` began."""
        if self._warming is not None:
            self._warming.join()

    def fit_all(self, seed: int = 0, collapse: bool = False) -> None:
        """Make every fit that the K slider can ask for."""
        for k in range(1, min(MAX_K, len(self)) + 1):
            try:
                self.mixture(k, seed, collapse)
            except ParameterError:  # too few pairs, or all alike: whoever asks for this K gets the error
                return

    def preview(self, params: SplitParams) -> Preview:
        """Both stages under ``params``; the last few are kept. Raises ParameterError as a split would."""
        return self._previews.get(params.id, lambda: self._make(params))

    def _make(self, params: SplitParams) -> Preview:
        self.check(params)
        collapse = params.collapse_duplicates
        clusters = self.duplicates.pairs if collapse else None
        mixture = self.mixture(params.k, params.seed, collapse)
        stages = stages_of_distinct(
            self.consistency,
            clusters,
            mixture,
            params,
            correlate=lambda probe: self._correlation(probe, clusters).values,
            keys_of=lambda at: self.audit.columns.keys_of(self.rows[at]),
        )
        z = self._correlation(
            stages.coarse.probe, clusters
        )  # kept from within: with its bins, order and curves
        return Preview(self, params, mixture, stages.coarse, z, stages.gamma_z, stages.flagged)

    def _correlation(self, probe: np.ndarray, clusters: Clusters | None) -> ScoreColumn:
        """z of every pair, of copies that of the first, for the D_p at the positions ``probe`` (q,)."""

        def make() -> ScoreColumn:
            z = textual_correlation(self.texts, self.rows[probe])
            whole = len(z) == len(self.rows)  # nothing was skipped: rows are 0 … n − 1
            z = z if whole else z[self.rows]
            return ScoreColumn(z if clusters is None else z[clusters.first_of], self.truth)

        name = np.sort(probe).tobytes(), clusters is not None
        return self._correlations.get(name, make)

    # --- what does not depend on a slider ----------------------------------------------------------

    @once
    def _ordered(self) -> tuple[np.ndarray, np.ndarray]:
        """c of all pairs and of the known poisons, both ascending."""
        return np.sort(self.consistency), np.sort(self.consistency[self.poisons])

    @once
    def _ordered_collapsed(self) -> tuple[np.ndarray, np.ndarray]:
        """The same with c of copies that of the first of them."""
        c = self.consistency[self.duplicates.pairs.first_of]
        return np.sort(c), np.sort(c[self.poisons])

    def benign_by(
        self, ks: Sequence[int], gammas: Sequence[float], seed: int = 0, collapse: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """|D_b| and the known poisons in D_b for each K and γ (Fig. 6a), each int (len(ks), len(gammas)).

        By the rule "quantile", before D_p is taken out of D_b.
        """
        every, poisons = self._ordered_collapsed if collapse else self._ordered
        fits = [self.mixture(k, seed, collapse) for k in ks]
        cuts = np.array([[benign_cut(fit, gamma) for gamma in gammas] for fit in fits], np.float32)
        return np.searchsorted(every, cuts, side="right"), np.searchsorted(poisons, cuts, side="right")
