"""The parts that are trained: TinyViT's last stage with its head, and the sentence encoder's head."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from timm.layers import Mlp
from torch import nn
from torch.nn import functional

from tools.mini.features import tiny_vit

WIDTH = 256  # of the joint space
FEATURES, SENTENCE = 320, 384


class LastStage(nn.Module):
    """Cached tokens (n, 320, 7, 7) → pooled features (n, 320): TinyViT's own blocks, pool and norm."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        model = tiny_vit(weights)
        self.blocks, self.head = model.stages[3].blocks, model.head

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Run blocks, pool and norm."""
        tokens = self.blocks(tokens.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        features: torch.Tensor = self.head(tokens)
        return features

    def train(self, mode: bool = True) -> LastStage:
        """BatchNorms stay in eval mode: their statistics were folded away, they must not gather new ones.

        The rest follows ``mode``: in eval mode timm's attention keeps its last position biases.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


@torch.no_grad()
def pooled(stage: LastStage, tokens: torch.Tensor, size: int = 512) -> torch.Tensor:
    """Features of every cached view, fp32 (n, 320)."""
    return torch.cat([stage(part.float()) for part in tokens.split(size)])


def head(inputs: int, hidden: int, drop: float) -> Mlp:
    """Two layers with dropout on the inputs of the second – the shape of open_clip's ``timm_proj: mlp``."""
    return Mlp(inputs, hidden, WIDTH, drop=(drop, 0.0), bias=(True, True))


class JointHeads(nn.Module):
    """Both heads of the teacher and the temperature."""

    def __init__(self, hidden: int = 512, text_hidden: int = 1024, drop: float = 0.4) -> None:
        super().__init__()
        self.image, self.text = head(FEATURES, hidden, drop), head(SENTENCE, text_hidden, drop)
        self.input_drop = nn.Dropout(drop / 2)
        self.log_scale = nn.Parameter(torch.tensor(20.0).log())

    def eval(self) -> JointHeads:
        """For use, not training: gradients are off as well."""
        return super().eval().requires_grad_(False)

    def embed_images(self, features: torch.Tensor) -> torch.Tensor:
        """Unit vectors (n, 256)."""
        return functional.normalize(self.image(self.input_drop(features)), dim=-1)

    def embed_texts(self, sentences: torch.Tensor) -> torch.Tensor:
        """Unit vectors (n, 256) of sentence embeddings."""
        return functional.normalize(self.text(self.input_drop(sentences)), dim=-1)


def contrastive(images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """CLIP's loss: each picture to its caption and each caption to its picture."""
    logits = scale * images @ texts.T
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


class Average:
    """Exponential moving average of a module's weights."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay, self.steps = copy.deepcopy(module).requires_grad_(False), decay, 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the weights of ``module``; the first steps count more."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 10))
        for mine, theirs in zip(self.module.state_dict().values(), module.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)
