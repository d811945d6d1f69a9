"""A command as a job: ``python -m cfbd_core.cli.as_job JOB`` runs what ``JOB/job.json`` asks for."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from cfbd_core.cli.command import main
from cfbd_core.jobs.process import STOPPED
from cfbd_core.machine.files import write_json


def run(folder: Path) -> int:
    """Run the job of ``folder`` in this process, as its child does; returns the exit code."""
    # An app started in the background ignores SIGINT, and its children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 1
    try:
        (folder / "lock").write_text(str(os.getpid()), encoding="ascii")
        request = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        code = main([*request["arguments"], "--json"])
        sys.stdout.flush()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except KeyboardInterrupt:
        code = STOPPED
    except BaseException:
        traceback.print_exc()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    write_json(folder / "exit.json", {"code": code, "finished": datetime.now(UTC).isoformat()})
    return code


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1])))
