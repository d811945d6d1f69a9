"""What one setting of the sliders finds: counts, chart data, the operating point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cfbd_core.config import SplitParams
from cfbd_core.errors import AuditError
from cfbd_core.groups.group import Group
from cfbd_core.groups.trigger_estimate import TriggerEstimate
from cfbd_core.machine.cache import once
from cfbd_core.method.evidence import Evidence, evidence
from cfbd_core.method.metrics import share
from cfbd_core.method.mixture import Mixture
from cfbd_core.method.score_column import ScoreColumn
from cfbd_core.method.split import BENIGN, POISONED, SUSPICIOUS, CoarseSplit, GammaZ, all_warnings
from cfbd_core.review.control import ControlSample, JudgedPairs
from cfbd_core.review.features import ReviewPairs
from cfbd_core.review.left import DRAWN_FIRST, WhatIsLeft
from cfbd_core.store.columns import removed
from cfbd_core.workbench.groups import Groups, estimate_of, group_pairs
from cfbd_core.workbench.near import NearCopies, near_copies

if TYPE_CHECKING:
    from cfbd_core.workbench.scored_pairs import ScoredPairs


@dataclass(frozen=True)
class Counts:
    """Pairs in each subset; flagged by the verdict; removed after people's decisions."""

    pairs: int
    benign: int
    poisoned: int
    suspicious: int
    flagged: int

    @property
    def kept(self) -> int:
        """Pairs that the verdict keeps."""
        return self.pairs - self.flagged


@dataclass(frozen=True)
class Confusion:
    """A verdict against the truth, over the pairs whose truth is known."""

    caught: int
    missed: int
    false_alarms: int
    clean_kept: int

    @property
    def tpr(self) -> float | None:
        """Share of the poisons that are flagged; None without poisons."""
        return share(self.caught, self.caught + self.missed)

    @property
    def fpr(self) -> float | None:
        """Share of the clean pairs that are flagged; None without clean pairs."""
        return share(self.false_alarms, self.false_alarms + self.clean_kept)

    @property
    def precision(self) -> float | None:
        """Share of the flagged pairs that are poisons; None where nothing is flagged."""
        return share(self.caught, self.caught + self.false_alarms)


@dataclass(frozen=True, eq=False)
class Preview:
    """The two stages under ``params``, over the positions of ``pairs``.

    ``z`` holds float32 (n,), ``flagged`` bool (n,) is the verdict "poisoned".
    """

    pairs: ScoredPairs
    params: SplitParams
    mixture: Mixture
    coarse: CoarseSplit
    z: ScoreColumn
    gamma_z: GammaZ
    flagged: np.ndarray

    @once
    def counts(self) -> Counts:
        """How many pairs fall where."""
        benign, poisoned, suspicious = (
            int(np.count_nonzero(self.coarse.subset == code)) for code in (BENIGN, POISONED, SUSPICIOUS)
        )
        return Counts(len(self.flagged), benign, poisoned, suspicious, int(np.count_nonzero(self.flagged)))

    @once
    def evidence(self) -> Evidence:
        """How far the captions of D_p cohere, see :mod:`cfbd_core.method.evidence`."""
        pairs, rows = self.pairs, self.pairs.rows
        probe, captions_of = rows[self.coarse.probe], pairs.audit.columns.captions_of
        counted = rows[pairs.counted(self.params.collapse_duplicates)]
        return evidence(pairs.texts, probe, counted, captions_of=captions_of, seed=self.params.seed)

    @once
    def groups(self) -> Groups:
        """The flagged pairs by what their captions say, largest group first."""
        return group_pairs(self.pairs, np.flatnonzero(self.flagged), self.z.values)

    @once
    def near(self) -> NearCopies:
        """What nearly repeats among the flagged pairs."""
        return near_copies(self.pairs, np.flatnonzero(self.flagged), self.z.values)

    def trigger_estimate(
        self, group: Group, seed: int = 0, stop: Callable[[], bool] = lambda: False
    ) -> TriggerEstimate:
        """Return what the pictures of a group share, against pairs that are kept; takes seconds."""
        return estimate_of(self.pairs, group.positions, self.flagged, seed, stop)

    @once
    def warnings(self) -> tuple[str, ...]:
        """What is odd about this split, a sentence each."""
        return all_warnings(self.coarse, self.evidence, self.flagged)

    def removed(self) -> np.ndarray:
        """Return which pairs an export leaves out, bool (n,): the verdict, overruled by people's decisions."""
        return removed(self.flagged, self.pairs.decisions)

    # --- what is left ------------------------------------------------------------------------------

    @once
    def review_pairs(self) -> ReviewPairs:
        """The pairs as features to learn from, by position.

        Raises AuditError: embeddings that are not whole, or an audit that was scored anew meanwhile.
        """
        pairs, audit = self.pairs, self.pairs.audit
        others = audit.columns.other_scores()
        if len(others) != len(pairs):
            raise AuditError(f"{audit.folder}: its scores have changed meanwhile; open it again")
        scores = np.column_stack([self.z.values, pairs.consistency, others])
        return ReviewPairs.from_scores(
            scores, pairs.texts, audit.shards.images(), pairs.rows, self.params.seed
        )

    def draw_control(self, total: int = DRAWN_FIRST, *, anew: bool = False) -> ControlSample:
        """Draw and keep a control sample of this verdict's sides; one that is there stays, unless ``anew``."""
        control = self.pairs.control
        return control.draw(
            JudgedPairs(self.z.values, self.flagged, self.pairs.decisions),
            total,
            anew=anew,
            seed=self.params.seed,
        )

    def what_is_left(self) -> WhatIsLeft | None:
        """Return what the kept sample says is left, None before one is drawn. Raises AuditError: it cannot be read."""
        control = self.pairs.control.get()
        if control is None:
            return None
        return WhatIsLeft.from_control(control, self.flagged, self.pairs.decisions)

    # --- charts and truth --------------------------------------------------------------------------

    def consistency_histogram(self) -> tuple[np.ndarray, np.ndarray]:
        """Bin edges of c (B + 1,) and counts (3, B) of D_b, D_p and D_s."""
        column = self.pairs.consistency_column
        return column.edges, column.histogram(self.coarse.subset, 3)

    def z_histogram(self) -> tuple[np.ndarray, np.ndarray]:
        """Bin edges of z (B + 1,) and counts (3, B) of D_b, D_p and D_s."""
        return self.z.edges, self.z.histogram(self.coarse.subset, 3)

    def poisons_by_consistency(self) -> np.ndarray:
        """Known poisons in each bin of :meth:`consistency_histogram`, (B,)."""
        return self.pairs.consistency_column.histogram_of(self.pairs.poisons)

    def poisons_by_z(self) -> np.ndarray:
        """Known poisons in each bin of :meth:`z_histogram`, (B,)."""
        return self.z.histogram_of(self.pairs.poisons)

    def confusion(self, verdict: np.ndarray) -> Confusion:
        """Compare ``verdict`` bool (n,) – ``flagged`` or ``removed()`` – with the truth."""
        clean = self.pairs.truth == 0
        poisons = verdict[self.pairs.poisons]
        caught, alarms = int(np.count_nonzero(poisons)), int(np.count_nonzero(clean & verdict))
        return Confusion(caught, len(poisons) - caught, alarms, int(np.count_nonzero(clean)) - alarms)

    def overruled(self) -> tuple[int, int]:
        """Return pairs of D_p that the verdict releases, and pairs of D_b that it flags."""
        released = np.count_nonzero((self.coarse.subset == POISONED) & ~self.flagged)
        return int(released), int(np.count_nonzero((self.coarse.subset == BENIGN) & self.flagged))

    def poisons_in_benign(self) -> int:
        """Known poisons in D_b."""
        return int(np.count_nonzero(self.coarse.subset[self.pairs.poisons] == BENIGN))
