"""What a run reports while it trains: ``metrics.jsonl`` for the app, event files for TensorBoard."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any, Self

from cfbd_core.machine.files import written_beside
from cfbd_core.machine.json_shapes import COUNT, check, parse
from cfbd_core.store.training import LogLine

METRICS, TENSORBOARD = "metrics.jsonl", "tensorboard"
_NUMBER = (float, None)
LINE_SHAPE = {
    "kind": str,
    "step": COUNT,
    "epoch?": COUNT,
    **{f"{name}?": _NUMBER for name in ("loss", "lr", "logit_scale", "pairs_per_s", "ca", "asr", "time")},
    "parts?": ({str: _NUMBER}, None),
}


class Tracking:
    """Logs the lines of a run in ``folder``; a context manager.

    ``step`` and ``evaluated`` are the last ones of the checkpoint that the run goes on from: what the
    log says of later ones comes again, and so goes.
    """

    def __init__(self, folder: Path, step: int = 0, evaluated: int = -1) -> None:
        self._path = folder / METRICS
        forget_after(self._path, step, evaluated)
        self._file = self._path.open("a", encoding="utf-8")
        self._board = _Board(folder / TENSORBOARD, step)

    def __call__(self, line: LogLine) -> None:
        """Log a line of kind "step" or "eval"."""
        self._file.write(json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n")
        self._file.flush()
        self._board.write(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._board.close()


class _Board:
    """An event file for TensorBoard in ``folder``; events after ``step`` in earlier files count no more.

    Not by tensorboardX's SummaryWriter: where the disk is full its thread dies, and the next events wait for ever.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        folder.mkdir(exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"))
        if step:
            self._add(step + 1, session_log=SessionLog(status=SessionLog.START))
        self._writer.flush()

    def write(self, line: LogLine) -> None:
        """Add the figures of a line."""
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in _figures(line).items()]
        self._add(line["step"], summary=Summary(value=values))
        self._writer.flush()

    def close(self) -> None:
        """End the file."""
        self._writer.close()

    def _add(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=time.time(), step=step, **content))


def read_metrics(folder: Path) -> list[LogLine]:
    """Return all whole lines of a run's log."""
    return _lines(folder / METRICS)[0]


def forget_after(path: Path, step: int, evaluated: int) -> None:
    """Drop what was logged of later steps than ``step``, and of evaluations after ``evaluated``.

    Lines that are damaged go, too, with a warning.
    """
    if not path.is_file():
        return
    last = {"step": step, "eval": evaluated}
    lines, damaged = _lines(path)
    if damaged:
        logging.getLogger(__name__).warning("%s: %d lines are damaged, and left out", path, damaged)
    lines_left = [line for line in lines if line["step"] <= last.get(line["kind"], step)]
    with written_beside(path) as beside:
        beside.write_text(
            "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines_left), encoding="utf-8"
        )


def _lines(path: Path) -> tuple[list[LogLine], int]:
    """The lines of a log that can be read, and how many cannot; the last may be half-written by a killed process."""
    try:
        whole, _, last = path.read_bytes().rpartition(b"\n")
    except OSError:
        return [], 0
    parsed: list[LogLine] = []
    damaged = 0
    for line in [*whole.splitlines(), last]:
        try:
            read = parse(line)
            check(read, LINE_SHAPE)
            parsed.append(read)
        except ValueError:
            damaged += bool(line.strip()) and line is not last
    return parsed, damaged


def forget_evaluations(folder: Path) -> None:
    """Drop what a run's log holds of evaluations."""
    steps = [line["step"] for line in read_metrics(folder)]
    forget_after(folder / METRICS, max(steps, default=0), -1)


def _figures(line: LogLine) -> dict[str, float | None]:
    """Names and values for TensorBoard."""
    if line["kind"] == "step":
        return {
            "train/loss": line["loss"],
            "train/lr": line["lr"],
            "train/logit_scale": line["logit_scale"],
            "train/pairs_per_s": line["pairs_per_s"],
            **{f"train/{name}": value for name, value in (line["parts"] or {}).items()},
        }
    measured = {"eval/ca": line.get("ca"), "eval/asr": line.get("asr")}
    return {name: value for name, value in measured.items() if value is not None}
