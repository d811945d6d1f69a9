"""The built-in demo: scenes drawn into the audit's own folder, with poison planted, ready to ingest."""

from __future__ import annotations

from pathlib import Path

from cfbd_core.audit.audit import Audit
from cfbd_core.demo import write_demo
from cfbd_core.demo.shards import DemoParams, choose_poisons
from cfbd_core.errors import AuditError
from cfbd_core.machine.files import one_job
from cfbd_core.machine.progress import Progress, no_progress

SOURCE_NAME = "source"
SIZE = 224


def make_demo(folder: Path, scenes: int, seed: int, rate: float, progress: Progress = no_progress) -> Path:
    """Draw ``scenes`` scenes, a share ``rate`` of them poisoned, to ``folder/source``; returns that folder.

    Called again, it draws only the shards that are missing. Raises ParameterError for a bad number
    or rate, AuditError when ``folder`` holds something else.
    """
    choose_poisons(DemoParams(scenes, seed, rate, SIZE))  # refuses bad numbers before anything is made
    audit = Audit.open_or_create(folder)
    source = audit.folder / SOURCE_NAME
    earlier_source = audit.state.source()
    if earlier_source is not None and Path(earlier_source).resolve() != source.resolve():
        raise AuditError(
            f"{folder}: holds {earlier_source}, not the demo; give a folder of its own (--audit DIR)"
        )
    with one_job(audit.folder, "demo"):
        write_demo(source, DemoParams(scenes, seed, rate, SIZE), progress=progress)
    return source
