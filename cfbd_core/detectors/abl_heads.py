"""ABL with frozen towers: what two linear heads over the embeddings learn first is suspicious."""

from __future__ import annotations

import numpy as np

from cfbd_core.detectors.abl import lowest
from cfbd_core.detectors.base import Detection, Detector, Pairs


class AblHeads(Detector):
    """The score is −mean loss of a pair over ten epochs of training two square matrices, one a modality.

    They start as the identity and are trained with CLIP's loss on the pairs' embeddings, in batches of ``batch_size``,
    by AdamW at ``lr``; the logit scale is CLIP's 100. The lowest 1 % is flagged. This is the ranking of
    :class:`cfbd_core.detectors.Abl` where the towers cannot be trained: seconds instead of GPU hours, and no trigger
    can be learned that the encoder does not show.

    ``info``: ``isolated`` the number of flagged pairs.
    """

    name = "abl_heads"
    title = "ABL, heads"
    source = (
        "Li et al.: Anti-Backdoor Learning: Training Clean Models on Poisoned Data, NeurIPS 2021, "
        "arXiv 2110.11571"
    )

    def __init__(
        self, share: float = 0.01, epochs: int = 10, batch_size: int = 512, lr: float = 1e-3
    ) -> None:
        self.share, self.epochs, self.batch_size, self.lr = share, epochs, batch_size, lr

    def detect(self, pairs: Pairs) -> Detection:
        """Train on the pairs that have a score, in the order of their keys, and judge them by their mean loss."""
        by_key = sorted(np.flatnonzero(pairs.scored).tolist(), key=lambda row: pairs.keys[row])
        known = np.array(by_key, np.int64)
        losses = np.full(len(pairs.scored), np.nan)
        if len(known) > 1:
            losses[known] = self._losses(pairs.image[known], pairs.text[known], pairs.seed)
        flagged = np.zeros(len(losses), bool)
        if len(known):
            flagged[known[lowest(losses[known], self.share)]] = True
        return Detection((-losses).astype(np.float32), flagged, {"isolated": int(flagged.sum())})

    def _losses(self, image: np.ndarray, text: np.ndarray, seed: int) -> np.ndarray:
        """Mean loss of each pair over the epochs, (n,); embeddings (n, d). Every pair is in a batch of every epoch."""
        import torch
        from torch.nn.functional import normalize

        from cfbd_core.method.clip_loss import clip_losses

        rows = [torch.from_numpy(np.asarray(side, np.float32)) for side in (image, text)]
        heads = [torch.eye(side.shape[1], requires_grad=True) for side in rows]
        optimiser = torch.optim.AdamW(heads, self.lr, weight_decay=0.0)
        total, rng = np.zeros(len(image)), np.random.default_rng(seed)
        scale = torch.tensor(100.0)
        for _ in range(self.epochs):
            # Batches of nearly equal size: a pair's loss grows with the number of its negatives.
            for batch in np.array_split(rng.permutation(len(image)), max(1, len(image) // self.batch_size)):
                at = torch.from_numpy(batch)
                shown = [normalize(side[at] @ head, dim=-1) for side, head in zip(rows, heads, strict=True)]
                losses = clip_losses(shown[0], shown[1], scale)
                optimiser.zero_grad()
                losses.mean().backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                total[batch] += losses.detach().numpy()
        mean: np.ndarray = total / self.epochs
        return mean
