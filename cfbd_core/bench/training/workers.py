"""Cells in processes of their own: on a CPU two that use one core each do more than one that uses two."""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from cfbd_core.bench.training.cells import TrainedCell, Trainer
from cfbd_core.bench.training.rows import Row
from cfbd_core.errors import CfbdError, ParameterError, TrainingError
from cfbd_core.machine.workers import usable_cores
from cfbd_core.poisoning.plan import PoisonParams

Work = tuple[PoisonParams, list[Row]]  # the missing cells of a scenario
MakeTrainer = Callable[[int], Trainer]  # with how many threads


@dataclass(frozen=True)
class Done:
    """A cell and what came out: a ``result`` in ``seconds``, or the ``reason`` why there is none."""

    params: PoisonParams
    row: Row
    result: TrainedCell | None = None
    seconds: float = 0.0
    reason: str | None = None


def one_by_one(trainer: Trainer, work: Sequence[Work]) -> Iterator[Done]:
    """Measure every cell here; a cell that cannot be, such as one that diverges, comes with why.

    A scenario's runs are deleted when its cells are done; where a training failed they stay, for the next call to go
    on with.
    """
    for params, rows in work:
        has_failed = False
        for row in rows:
            began = time.perf_counter()
            try:
                result = trainer.cell(params, row)
            except (ParameterError, TrainingError) as error:
                has_failed = has_failed or isinstance(error, TrainingError)
                yield Done(params, row, reason=str(error))
            else:
                yield Done(params, row, result, time.perf_counter() - began)
        if not has_failed:
            trainer.finished(params)


def side_by_side(make: MakeTrainer, work: Sequence[Work], jobs: int) -> Iterator[Done]:
    """Measure every cell in ``jobs`` processes, each a scenario at a time.

    Raises what a process raises that :func:`one_by_one` does not take as a reason (CfbdError), TrainingError where one
    ends without a word. All end with the generator.
    """
    context = multiprocessing.get_context("spawn")
    waiting, answers = context.Queue(), context.Queue()
    for one in work:
        waiting.put(one)
    for _ in range(jobs):
        waiting.put(None)
    threads = max(1, usable_cores() // jobs)
    processes = [
        context.Process(target=_work, args=(make, threads, waiting, answers), daemon=True)
        for _ in range(jobs)
    ]
    with _no_main():
        for process in processes:
            process.start()
    try:
        left = sum(len(rows) for _, rows in work)
        while left:
            try:
                answer = answers.get(timeout=1)
            except queue.Empty:
                broken = [process.exitcode for process in processes if process.exitcode]
                if broken:
                    raise TrainingError(
                        f"a process that trains ended by itself (exit status {broken[0]}); give fewer --jobs if "
                        "memory is short, and the same command to go on"
                    ) from None
                continue
            if isinstance(answer, BaseException):
                raise answer
            yield answer
            left -= 1
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.terminate()
            process.join()


@contextmanager
def _no_main() -> Iterator[None]:
    """Keep new processes from running this one's script again, as they would to find what is pickled by its name."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _work(make: MakeTrainer, threads: int, waiting: Any, answers: Any) -> None:
    import torch

    torch.set_num_threads(threads)
    try:
        trainer = make(threads)
        while (one := waiting.get()) is not None:
            for done in one_by_one(trainer, [one]):
                answers.put(done)
    except KeyboardInterrupt:
        return
    except CfbdError as error:
        answers.put(error)
    except Exception as error:
        try:
            pickle.dumps(error)
        except Exception:
            error = RuntimeError(traceback.format_exc())
        answers.put(error)
