"""Pictures (as cached views) with their captions (as rows of a text bank), drawn in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from tools.mini.texts import TextBank


@dataclass
class Pairs:
    """n pictures: view rows ``first[i] … first[i] + views[i]``, caption rows ``captions[i]``, draws per epoch."""

    first: np.ndarray
    views: np.ndarray
    captions: list[list[int]]
    draws: np.ndarray
    group: np.ndarray  # the number of the data set each picture is from

    def __len__(self) -> int:
        return len(self.captions)

    def without(self, dropped: np.ndarray) -> Pairs:
        """The pictures whose place is not in ``dropped``."""
        keep = np.setdiff1d(np.arange(len(self)), dropped)
        return Pairs(
            self.first[keep],
            self.views[keep],
            [self.captions[i] for i in keep],
            self.draws[keep],
            self.group[keep],
        )

    def drawn_by(self, draws: Sequence[float]) -> Pairs:
        """The same pictures with another number of draws per epoch for each data set, in their order."""
        return replace(self, draws=np.asarray(draws)[self.group])

    def batches(self, rng: np.random.Generator, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """One epoch of (view rows, caption rows); no picture comes twice in a batch of one round."""
        order = []
        for draw in range(int(np.ceil(self.draws.max()))):
            chance = np.clip(self.draws - draw, 0, 1)
            order.append(rng.permutation(np.flatnonzero(rng.random(len(self)) < chance)))
        rounds = np.concatenate(order)
        for start in range(0, len(rounds) - size // 2, size):
            chosen = np.unique(rounds[start : start + size])
            views = self.first[chosen] + rng.integers(0, self.views[chosen])
            captions = [self.captions[i][rng.integers(len(self.captions[i]))] for i in chosen]
            yield torch.as_tensor(views), torch.as_tensor(captions)


def build_pairs(
    groups: Sequence[tuple[Sequence[torch.Tensor], Sequence[Sequence[str]], float]], bank: TextBank
) -> tuple[Pairs, torch.Tensor]:
    """Join groups of (views, each (n, …); captions of the n pictures; draws per epoch) → pairs and all views."""
    first, views, captions, draws, numbers, cached, offset = [], [], [], [], [], [], 0
    for number, (group_views, group_captions, group_draws) in enumerate(groups):
        count, depth = len(group_captions), len(group_views)
        first.append(offset + depth * np.arange(count))
        views.append(np.full(count, depth))
        captions += [bank.rows(texts) for texts in group_captions]
        draws.append(np.full(count, group_draws))
        numbers.append(np.full(count, number))
        cached.append(torch.stack(list(group_views), 1).flatten(0, 1))
        offset += depth * count
    pairs = Pairs(
        np.concatenate(first), np.concatenate(views), captions, np.concatenate(draws), np.concatenate(numbers)
    )
    return pairs, torch.cat(cached)
