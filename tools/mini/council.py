"""Several pairs of heads from different seeds: their mean judgement is better than each, and is distilled."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from tools.mini.pairs import Pairs
from tools.mini.stage import Workshop
from tools.mini.teacher import TeacherSettings, train_teacher
from tools.mini.towers import JointHeads

MEMBERS = 4


@dataclass
class Council:
    """Joined unit vectors of all members, fp16: inner products are the members' mean cosines."""

    images: torch.Tensor  # (views, members · 256)
    texts: torch.Tensor  # (texts, members · 256)

    def disagreement(
        self, views: torch.Tensor, rows: torch.Tensor, logits: torch.Tensor, scale: torch.Tensor
    ) -> torch.Tensor:
        """KL divergence of ``logits`` (views, texts) from the council's, both ways round."""
        agreed = self.images[views].float() @ self.texts[rows].float().T
        wanted = scale.detach() * agreed.to(logits.device)
        ways = ((wanted, logits), (wanted.T, logits.T))
        parts = [
            functional.kl_div(
                functional.log_softmax(found, 1),
                functional.log_softmax(want, 1),
                log_target=True,
                reduction="batchmean",
            )
            for want, found in ways
        ]
        return (parts[0] + parts[1]) / 2


def train_council(
    shop: Workshop, settings: TeacherSettings, pairs: Pairs, features: torch.Tensor, sentences: torch.Tensor
) -> Council:
    """Train the members one after the other and embed every view and every text."""
    images, texts = [], []
    for member in range(1, MEMBERS + 1):
        heads = JointHeads(drop=settings.drop)
        seeded = replace(shop, seed=1000 * shop.seed + member)
        heads.load_state_dict(train_teacher(seeded, settings, pairs, features, sentences))
        heads.eval()
        images.append(torch.cat([heads.embed_images(part).half() for part in features.split(4096)]))
        texts.append(torch.cat([heads.embed_texts(part).half() for part in sentences.split(4096)]))
    share = MEMBERS**-0.5
    return Council(torch.cat(images, 1) * share, torch.cat(texts, 1) * share)
