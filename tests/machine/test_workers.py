"""Work over processes: results in order, errors brought home, no process left behind."""

import multiprocessing
import os
import signal
import time

import pytest

from cfbd_core.machine.workers import ordered_map, usable_cores


def square(value):
    time.sleep(0.002 * (value % 3))
    return value * value, os.getpid()


def fail_at_five(value):
    if value == 5:
        raise ValueError("five")
    return value


def die_at_five(value):
    if value == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


@pytest.mark.parametrize("processes", [1, 2, 3, 50])
def test_results_come_in_order(processes):
    results = list(ordered_map(square, range(20), processes))
    assert [value for value, _ in results] == [n * n for n in range(20)]
    assert len({pid for _, pid in results}) == min(processes, 20)


def test_nothing_to_do():
    assert list(ordered_map(square, [])) == []
    assert usable_cores() >= 1


@pytest.mark.parametrize("processes", [1, 2])
def test_a_workers_exception_is_raised_here(processes):
    with pytest.raises(ValueError, match="five"):
        list(ordered_map(fail_at_five, range(9), processes))


def test_a_killed_worker_is_noticed():
    with pytest.raises(RuntimeError, match="killed"):
        list(ordered_map(die_at_five, range(9), 2))


def test_closing_early_leaves_no_process():
    results = ordered_map(square, range(1000), 2)
    next(results)
    results.close()
    assert not multiprocessing.active_children()
