"""Stage 2, the text tower: open_clip's own transformer, distilled towards the teacher's text side.

Two targets for every text: its place in the teacher's joint space (cosine, and how it lies to the
other texts of the batch), and through a layer that is dropped later the sentence embedding itself,
so that meaning which no training picture needed is kept as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tools.mini.stage import Progress, Workshop, compiled_or_not, save
from tools.mini.teacher import cosine_rate
from tools.mini.texts import TextBank, sentence_bank
from tools.mini.towers import SENTENCE, WIDTH, Average

CONTEXT, VOCABULARY, HEADS, LAYERS = 32, 49408, 4, 4
END_OF_TEXT = VOCABULARY - 1


@dataclass(frozen=True)
class StudentSettings:
    """How the text tower is distilled."""

    texts: int = 600_000  # seen in all
    batch: int = 512
    rate: float = 1.2e-3
    decay: float = 0.02


def tokenizer() -> Any:
    """open_clip's BPE tokenizer at this encoder's context length."""
    from open_clip import SimpleTokenizer

    return SimpleTokenizer(context_length=CONTEXT)


def tokens_of(texts: list[str]) -> torch.Tensor:
    """Token ids (n, 32), int32 to save memory."""
    encode = tokenizer()
    return torch.cat([encode(texts[i : i + 4096]).int() for i in range(0, len(texts), 4096)])


class TextTower(nn.Module):
    """The text half of open_clip's ``CLIP`` under its own parameter names, cut to the longest text of a batch."""

    def __init__(self) -> None:
        super().__init__()
        from open_clip.transformer import Transformer

        self.token_embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.positional_embedding = nn.Parameter(torch.randn(CONTEXT, WIDTH) * 0.01)
        self.transformer = Transformer(WIDTH, LAYERS, HEADS)
        self.ln_final = nn.LayerNorm(WIDTH)
        self.text_projection = nn.Parameter(torch.randn(WIDTH, WIDTH) * WIDTH**-0.5)
        for block in self.transformer.resblocks:
            nn.init.normal_(block.attn.out_proj.weight, std=WIDTH**-0.5 * (2 * LAYERS) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=WIDTH**-0.5 * (2 * LAYERS) ** -0.5)
        # The first block starts as the mean of the words before: far nearer to a meaning than noise is.
        attention = self.transformer.resblocks[0].attn
        attention.in_proj_weight.data[: 2 * WIDTH] *= 0.1
        attention.in_proj_weight.data[2 * WIDTH :] = torch.eye(WIDTH)
        attention.out_proj.weight.data.copy_(torch.eye(WIDTH))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Token ids (n, 32) → the end token's state (n, 256), before the projection."""
        longest = int((tokens != 0).sum(1).max())
        run = _compiled_states if self.training and torch.is_grad_enabled() else _states
        states: torch.Tensor = run(self, tokens[:, : max(longest, 4)].long())
        return states

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Unit vectors (n, 256) in the joint space."""
        return functional.normalize(self(tokens).float() @ self.text_projection, dim=-1)

    @torch.no_grad()
    def embed_all(self, tokens: torch.Tensor, size: int = 1024) -> torch.Tensor:
        """:meth:`embed` in chunks, shortest texts first, in the order given."""
        order = (tokens != 0).sum(1).argsort()
        out = torch.empty(len(tokens), WIDTH)
        for rows in order.split(size):
            out[rows] = self.embed(tokens[rows])
        return out


def _states(tower: TextTower, tokens: torch.Tensor) -> torch.Tensor:
    """What open_clip's ``encode_text`` computes, up to the projection."""
    states = tower.token_embedding(tokens) + tower.positional_embedding[: tokens.shape[1]]
    for block in tower.transformer.resblocks:
        attention = block.attn
        projected = functional.linear(block.ln_1(states), attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in projected.chunk(3, dim=-1)
        )
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        states = states + attention.out_proj(seen.transpose(1, 2).flatten(2))
        states = states + block.mlp(block.ln_2(states))
    ends = (tokens == END_OF_TEXT).int().argmax(1)
    last: torch.Tensor = tower.ln_final(states[torch.arange(len(tokens), device=tokens.device), ends])
    return last


_compiled_states = compiled_or_not(_states)


def start_embeddings(shop: Workshop) -> torch.Tensor:
    """Token embeddings (49408, 256): the sentence encoder's embedding of every token's text, main axes kept."""
    decoder = tokenizer().decoder
    byte_of = tokenizer().byte_decoder
    texts = []
    for token in range(VOCABULARY):
        letters = decoder[token].replace("</w>", "")
        text = bytearray(byte_of.get(letter, 32) for letter in letters).decode("utf-8", "replace")
        texts.append(text if text.isprintable() and token < END_OF_TEXT - 1 else "text")
    bank = sentence_bank(shop, "tokens", texts)
    vectors = bank.embeddings[bank.rows(texts)].float()
    vectors = vectors - vectors.mean(0)
    _, _, axes = torch.linalg.svd(vectors[::7], full_matrices=False)
    return functional.normalize(vectors @ axes[:WIDTH].T, dim=-1)


def length_batches(lengths: torch.Tensor, size: int, rng: np.random.Generator) -> Iterator[torch.Tensor]:
    """One epoch of rows in batches of texts about equally long, in random order."""
    noise = torch.from_numpy(rng.uniform(0, 2, len(lengths)).astype(np.float32))
    batches = list((lengths + noise).argsort().split(size))
    for i in rng.permutation(len(batches)):
        yield batches[i]


def train_student(
    shop: Workshop,
    settings: StudentSettings,
    bank: TextBank,
    share: np.ndarray,
    joint: torch.Tensor,
    checkpoint: Path,
) -> dict[str, torch.Tensor]:
    """Distil; ``joint`` (n, 256) are the teacher's unit vectors of the bank's texts.

    ``share`` (n,) is the chance of a text to be in an epoch. Returns the averaged weights.
    """
    torch.manual_seed(shop.seed)
    tokens, device = tokens_of(bank.texts), shop.device
    lengths = (tokens != 0).sum(1).float()
    tower, widen = TextTower().to(device), nn.Linear(WIDTH, SENTENCE).to(device)
    tower.token_embedding.weight.data.copy_(start_embeddings(shop))
    both = nn.ModuleList([tower, widen])
    optimizer = torch.optim.AdamW(
        both.parameters(), lr=settings.rate, weight_decay=settings.decay, betas=(0.9, 0.98), fused=True
    )
    average = Average(both, 0.995)
    step, steps = 0, settings.texts // settings.batch
    if checkpoint.is_file():
        state = torch.load(checkpoint)
        both.load_state_dict(state["both"])
        average.module.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step = average.steps = state["step"]
    progress = Progress(shop, "student", steps, step)
    epoch = 0
    while step < steps:
        rng = np.random.default_rng([shop.seed, step, epoch])
        drawn = torch.from_numpy(np.flatnonzero(rng.random(len(share)) < share))
        for batch in length_batches(lengths[drawn], settings.batch, rng):
            rows = drawn[batch]
            for group in optimizer.param_groups:
                group["lr"] = settings.rate * cosine_rate(min(step, steps), steps + 1, 100)
            with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
                states = tower(tokens[rows].to(device)).float()
            loss = distillation(
                states @ tower.text_projection,
                joint[rows].to(device),
                widen(states),
                bank.embeddings[rows].float().to(device),
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update(both)
            step += 1
            progress(step, f"loss {loss.item():.4f}")
            if step % 200 == 0:
                state = {"both": both.state_dict(), "average": average.module.state_dict()}
                save(state | {"optimizer": optimizer.state_dict(), "step": step}, checkpoint)
            if step >= steps:
                break
        epoch += 1
    return average.module[0].cpu().state_dict()


def distillation(
    mine: torch.Tensor, joint: torch.Tensor, widened: torch.Tensor, sentence: torch.Tensor
) -> torch.Tensor:
    """1 − cosine to both targets, and the batch's softmaxed similarities to the teacher's."""
    unit = functional.normalize(mine, dim=-1)
    cosine = 1 - (unit * joint).sum(1).mean()
    meaning = 1 - functional.cosine_similarity(widened, sentence, dim=-1).mean()
    wanted = functional.log_softmax(15 * joint @ joint.T, dim=1)
    found = functional.log_softmax(15 * unit @ joint.T, dim=1)
    relation = functional.kl_div(found, wanted, log_target=True, reduction="batchmean")
    return cosine + 0.5 * meaning + 0.5 * relation
