"""A run's files, taken into the audit that it trained on, or into ``RUN/metrics.duckdb``."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import duckdb

from cfbd_core.errors import CfbdError
from cfbd_core.machine.places import DATABASE_NAME
from cfbd_core.store import Database, training
from cfbd_core.training.place import read_request, read_result
from cfbd_core.training.tracking import read_metrics

OWN_NAME = "metrics.duckdb"


def record(run: Path) -> bool:
    """Take in the run as its files describe it now; returns whether that was possible.

    Nothing depends on it: the files stay. Where another process has the audit open, or a disk is full, a warning says
    how it is done later.
    """
    try:
        request = read_request(run)
        if request is None:
            return False
        home = request.get("audit")
        audit = Path(home) if home else None
        contents = (request, read_result(run), read_metrics(run))
        if audit is None:
            with training.writing_run(run / OWN_NAME) as connection:
                training.put_run(connection, ".", *contents)
        else:
            with Database(audit / DATABASE_NAME).writing() as connection:
                training.put_run(connection, folder_name(run, audit), *contents)
    except (CfbdError, OSError, duckdb.Error) as error:  # such as a full disk
        logging.getLogger(__name__).warning(
            "the run is not in the database yet: %s; `cfbd train --out %s --resume` takes it in", error, run
        )
        return False
    return True


def folder_name(run: Path, audit: Path) -> str:
    """Return the folder of a run as its audit knows it: from the audit's own where it lies in it."""
    place, home = os.path.realpath(run), os.path.realpath(audit)
    return os.path.relpath(place, home) if place.startswith(home + os.sep) else place
