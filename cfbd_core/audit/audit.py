"""One audit: a folder on disk, and the facade that the command line, the app and users call."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import pyarrow as pa

from cfbd_core import export as exporting
from cfbd_core.audit import detect, export, ingest, report
from cfbd_core.audit.columns import Columns
from cfbd_core.audit.detect import Compared
from cfbd_core.audit.files import AuditFiles
from cfbd_core.audit.ingest import ValidationReport
from cfbd_core.audit.log import DecisionLog
from cfbd_core.audit.report import Report
from cfbd_core.audit.source_state import SourceState
from cfbd_core.audit.state import AuditState
from cfbd_core.audit.views import SavedViews
from cfbd_core.config import EmbedParams, SplitParams
from cfbd_core.embedding.shards import EmbeddingFolder
from cfbd_core.errors import AuditError
from cfbd_core.machine.files import one_job, report_in_one_line
from cfbd_core.machine.places import DATABASE_NAME, UNFINISHED
from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.sources import SourceOptions
from cfbd_core.store import Database, queries
from cfbd_core.store.acting import Provenance
from cfbd_core.store.entries import EmbeddingEntry, SplitSummary
from cfbd_core.store.log import Action
from cfbd_core.store.meta import SOURCE

if TYPE_CHECKING:
    from cfbd_core.audit.scoring import ScoringResult
    from cfbd_core.embedding.encoders import Encoder


class Audit:
    """An audit in ``folder``; make one with :meth:`create`, come back with :meth:`open`.

    ``ingest → embed → score → split`` build on each other; each can be called again, and does only
    what is missing. Decisions survive all of them.

    Its parts: ``state`` says how far it is, ``columns`` what it holds of its pairs, ``log`` what people decided,
    ``views`` what they saved to come back to. ``files`` is where all of it lies.
    """

    def __init__(self, folder: Path, database: Database) -> None:
        self.files = AuditFiles(folder, database)
        self.state = AuditState(self.files)
        self.columns = Columns(self.files)
        self.log = DecisionLog(self.files)
        self.views = SavedViews(self.files)

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.files.folder

    @property
    def shards(self) -> EmbeddingFolder:
        """Its embeddings; a pair's row is its place in them."""
        return self.files.shards

    @classmethod
    def create(cls, folder: str | Path) -> Audit:
        """Make an empty audit; the folder may not exist or must be empty."""
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _check_unused(folder)  # before a lock is left there
            with one_job(folder, "create"):
                _check_unused(folder)
                return cls(folder, Database.create(folder / DATABASE_NAME))
        except FileExistsError as error:
            raise AuditError(f"{folder}: is a file; give a folder") from error
        except OSError as error:
            raise AuditError(f"{folder}: not writable ({error.strerror}); give another folder") from error

    @classmethod
    def open(cls, folder: str | Path) -> Audit:
        """Open an audit. Raises AuditError: none there, or made by a newer version of this tool."""
        folder = Path(folder)
        if not os.path.isfile(folder / DATABASE_NAME):
            raise AuditError(f"{folder}: no audit here; `cfbd run SOURCE --audit {folder}` makes one")
        audit = cls(folder, Database(folder / DATABASE_NAME))
        audit.files.database.check()
        return audit

    @classmethod
    def open_or_create(cls, folder: str | Path) -> Audit:
        """Open the audit in ``folder``, or make one there."""
        return cls.open(folder) if os.path.isfile(Path(folder) / DATABASE_NAME) else cls.create(folder)

    # --- the pipeline ------------------------------------------------------------------------------

    def ingest(
        self, source: str | Path, options: SourceOptions | None = None, progress: Progress = no_progress
    ) -> ValidationReport:
        """Read the pairs of ``source``; returns the validation report."""
        with one_job(self.folder, "ingest"):
            return ingest.ingest(
                self.folder, self.files.database, source, options or SourceOptions(), progress
            )

    def embed(
        self,
        encoder: str | Encoder | None = None,
        params: EmbedParams | None = None,
        progress: Progress = no_progress,
    ) -> EmbeddingEntry:
        """Embed every pair; goes on after the last whole shard. Returns the embedding's record.

        Where embeddings are made again, ``not_compared`` is added to it if there are pairs of which it is not known
        what their pictures were: these are embedded as they are now.
        ``encoder`` None is the audit's own, or ``mini``. Raises AuditError when the audit holds
        embeddings of another encoder.
        """
        from cfbd_core.audit.embed import EmbedAudit  # torch takes a second to import: only where it works

        with one_job(self.folder, "embed"):
            self.files.needed(SOURCE, "cfbd ingest")
            return EmbedAudit(self.files).run(encoder, params or EmbedParams(), progress)

    def score(
        self,
        mapping: str = "auto",
        progress: Progress = no_progress,
    ) -> ScoringResult:
        """Score every pair with F; returns which F, the encoder's health check, and which pairs have no score, why."""
        from cfbd_core.audit import scoring  # torch, too

        with one_job(self.folder, "score"):
            return scoring.score(self.files, mapping, progress)

    def split(self, params: SplitParams | None = None) -> SplitSummary:
        """Split into D_b, D_p, D_s and give every pair a verdict; returns the summary."""
        with one_job(self.folder, "split"):
            return detect.split(self.files, params or SplitParams())

    def detect(
        self,
        *names: str,
        seed: int = 0,
        losses: Mapping[str, float] | None = None,
        progress: Progress = no_progress,
    ) -> list[Compared]:
        """Let detectors judge the scored pairs and store what they say beside the verdict; returns :meth:`detections`.

        ``losses`` by key are of training on these pairs, for detectors that judge by it; ``progress`` gets the
        name of each as it begins. Raises ParameterError: no such detector, or pairs that one cannot judge; PluginError:
        one of another package raises or answers wrongly. Nothing is stored then.
        """
        detect.check_names(names)
        with one_job(self.folder, "detect"):
            detect.detect(self.files, names, seed, losses, progress)
        return [one for one in self.detections() if one["detector"] in names]

    def detections(self) -> list[Compared]:
        """Return each stored detection beside the verdict and the truth (:func:`cfbd_core.audit.detect.compared`)."""
        return detect.detections(self.files)

    # --- what came out -----------------------------------------------------------------------------

    def report(self, split: str | None = None) -> Report:
        """Return counts, parameters, evidence and, where known, the truth; ``split`` as of :meth:`export`."""
        return report.report(self.files.database, split)

    def check_source(self) -> None:
        """Raise SourceError, which names the file, where the source holds other pairs than were ingested."""
        SourceState(self.folder, self.files.database).check()

    def validation_report(self) -> ValidationReport:
        """Return what the ingest read and skipped, and what could not be embedded or scored."""
        return ingest.validation_report(self.files.database)

    def pairs(
        self, where: str | None = None, order_by: str | None = None, limit: int | None = None
    ) -> pa.Table:
        """Return pairs with scores, verdicts and decisions (``audit_pairs``) as an Arrow table."""
        with self.files.database.reading() as connection:
            return self.files.located(queries.select_pairs(connection, where, order_by, limit))

    def export(
        self,
        out: str | Path,
        subset: exporting.Subset = "kept",
        out_format: exporting.Format | None = None,
        *,
        progress: Progress = no_progress,
        split: str | None = None,
        dry_run: bool = False,
        **style: Unpack[exporting.StyleOptions],
    ) -> exporting.Sidecar | exporting.DryRun:
        """Write the kept (or removed, or all) pairs to ``out``; returns the sidecar's content.

        ``split`` is the id of the settings that the verdicts have to be of (:attr:`SplitParams.id`): raises
        ParameterError where another split has taken its place. ``dry_run`` writes nothing and returns what it would
        (:func:`cfbd_core.export.dry_run`). ``style`` are the fields of :class:`cfbd_core.export.Style`.
        """
        with report_in_one_line(self.folder), export.subset_to_write(self.files, subset, split) as pairs:
            return export.write(
                self.files, pairs, Path(out), out_format, progress=progress, dry_run=dry_run, **style
            )

    # --- what people decide ------------------------------------------------------------------------

    def decide(
        self,
        decisions: pa.Table,
        *,
        who: str | None = None,
        note: str | None = None,
        filter: Mapping[str, Any] | None = None,
        params: SplitParams | None = None,
        source: str | None = None,
    ) -> Action:
        """Store decisions by key; see :meth:`DecisionLog.decide` and, for the names, :class:`Provenance`."""
        by = Provenance(who, note, filter, None if params is None else params.to_dict())
        return self.log.decide(decisions, by, source=source)

    def decide_rows(  # noqa: PLR0913 - scripts give these by name
        self,
        rows: np.ndarray,
        codes: np.ndarray | int,
        notes: Sequence[str | None] | None = None,
        *,
        who: str | None = None,
        note: str | None = None,
        filter: Mapping[str, Any] | None = None,
        params: SplitParams | None = None,
        seen: int | None = None,
    ) -> Action:
        """Store decisions by row; see :meth:`DecisionLog.decide_rows` and, for the names, :class:`Provenance`."""
        by = Provenance(who, note, filter, None if params is None else params.to_dict(), seen)
        return self.log.decide_rows(rows, codes, notes, by)

    def undo(self, action: int | None = None, *, who: str | None = None, note: str | None = None) -> Action:
        """Undo an action, or the last that counts; see :meth:`DecisionLog.undo`."""
        return self.log.undo(action, Provenance(who, note))

    def redo(self, action: int | None = None, *, who: str | None = None, note: str | None = None) -> Action:
        """Let an action count again, or that which was undone last; see :meth:`DecisionLog.redo`."""
        return self.log.redo(action, Provenance(who, note))

    def history(self, limit: int | None = None, before: int | None = None) -> list[Action]:
        """Return the log, newest first; see :meth:`DecisionLog.history`."""
        return self.log.history(limit, before)

    # --- its end -----------------------------------------------------------------------------------

    def delete_if_empty(self) -> None:
        """Delete the folder unless it holds pairs or a job runs: for an audit whose first ingest failed."""
        try:
            with one_job(self.folder, "delete"):
                if self.files.meta(SOURCE) is None:
                    shutil.rmtree(self.folder.resolve(), ignore_errors=True)
        except AuditError:
            return  # another process is at work in it


def _check_unused(folder: Path) -> None:
    """Raise AuditError where a folder holds something else than what a job left that made an audit."""
    if any(path.name not in UNFINISHED for path in folder.iterdir()):
        raise AuditError(f"{folder}: exists and is not empty; give a new folder")
