"""One thread, so that equal bits can be asked for; and the tiny model's folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.training.tiny import tiny_folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model(tmp_path) -> str:
    return tiny_folder(tmp_path / "tiny")
