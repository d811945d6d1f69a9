"""The processes of a run: one, or those that ``torchrun`` started, one a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import distributed

EVALUATION_LIMIT = timedelta(days=1)  # so long the others wait while the first process evaluates


@dataclass(frozen=True)
class Group:
    """This process is number ``rank`` of ``size``; the first alone writes."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def part(self, rows: np.ndarray) -> np.ndarray:
        """This process's part of a step's rows; ``size`` divides their number."""
        each = len(rows) // self.size
        return rows[self.rank * each : (self.rank + 1) * each]

    def gathered(self, own: torch.Tensor) -> torch.Tensor:
        """Return the rows of all processes, in their order."""
        if self.size == 1:
            return own
        parts = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    def broadcast(self, value: Any) -> Any:
        """Return what the first process holds, in all."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box)
        return box[0]

    def any(self, value: bool, device: str) -> bool:
        """Return whether it is so in one of them."""
        if self.size == 1:
            return value
        flag = torch.tensor(float(value), device=device)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag)


@contextmanager
def joined(device: str) -> Iterator[tuple[Group, str]]:
    """The group that ``torchrun`` started this process in, and this process's own device."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Group(), device
        return
    on_gpu = device.startswith("cuda")
    if on_gpu:
        device = f"cuda:{int(os.environ['LOCAL_RANK'])}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=EVALUATION_LIMIT)
    try:
        yield Group(distributed.get_rank(), distributed.get_world_size()), device
    finally:
        distributed.destroy_process_group()
