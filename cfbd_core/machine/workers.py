"""Spread pure work over processes and take the results in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
MOST_WORKERS = 1024  # threads or processes that may be asked for: more only fail to start


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int | None = None
) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order, computed by ``processes`` (default: all cores).

    A worker is at most one result ahead of its reader, so memory stays flat. An exception in a worker
    is raised here. If this process is killed, the workers notice at their next result and end.
    """
    count = min(processes or usable_cores(), len(items))
    if count <= 1:
        yield from map(function, items)
        return
    can_fork = "fork" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork") if can_fork else multiprocessing.get_context("spawn")
    workers, readers = [], []
    try:
        for number in range(count):
            reader, writer = context.Pipe(duplex=False)
            worker = context.Process(
                target=_work, args=(function, items[number::count], reader, writer), daemon=True
            )
            worker.start()
            writer.close()  # only the worker holds it now: its death ends the pipe
            workers.append(worker)
            readers.append(reader)
        for number in range(len(items)):
            done, value = readers[number % count].recv()
            if not done:
                raise value
            yield value
    except EOFError:
        raise RuntimeError("a worker process was killed; is the memory full?") from None
    finally:
        for worker in workers:
            worker.terminate()
        for worker, reader in zip(workers, readers, strict=True):
            worker.join()
            reader.close()


def _work(
    function: Callable[[Item], Result], items: Sequence[Item], reader: Connection, writer: Connection
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    reader.close()
    try:
        for item in items:
            writer.send((True, function(item)))
    except BrokenPipeError:
        return
    except Exception as error:
        writer.send((False, error))
