"""Do the optimised patches work: how far unseen photos move towards the target, against patches of noise.

    python benchmarks/patches.py [--encoder mini] [--target banana] [--seed 0] [--keep FOLDER]

Patches are optimised on Flickr8k's even keys (those ≡ 0 mod 10, on which settings were chosen, left out) and
measured on 200 odd keys. *Gain* is the mean over these photos of (cosine with the target after the patch − cosine
before); the target is the mean embedding of the 80 template captions, or of the natural ones. Patches of noise have
the same size, mask and place; of five, their mean gain and the largest in size, which *ratio* is taken to.
*Other classes* tell a patch that moves pictures towards the target from one that moves them towards text in general:
the mean gain towards each of 20 classes of ImageNet (drawn with seed 0, each the mean of the 80 templates), and the
target's rank by gain among the 21, 1 being the largest.
*Named target* is the share of photos whose zero-shot class among ImageNet's thousand and the target is the target
(7 prompts a class). Neurons are those that Trojan chose, in standard deviations over unpatched photos.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from PIL import Image

from cfbd_core.attacks import ATTACKS, Attack, Trigger, Workshop, resized
from cfbd_core.attacks.neurons import LastNeurons
from cfbd_core.attacks.patch_search import PixelTransform, as_pixels, embedded, in_batches, mean_direction
from cfbd_core.attacks.patches import noise
from cfbd_core.embedding.encoders import Encoder, load_encoder
from cfbd_core.embedding.torchvision_compat import import_torchvision
from cfbd_core.poisoning.captions import imagenet_classes, imagenet_templates, natural_captions
from tools.mini.photos import Photo, held_out_photos, read_tars

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
RANDOM_SEEDS = range(1000, 1005)
OTHERS = 20  # classes
COLUMNS = (
    "attack",
    "target as",
    "cosine before",
    "after",
    "gain",
    "noise patches' gain: mean, largest",
    "ratio",
    "mean gain to other classes (rank)",
    "named target: before / noise / after",
    "neurons: noise → after",
    "CPU s",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="mini")
    parser.add_argument("--target", default="banana")
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the patches; photos are always the same")
    parser.add_argument("--attacks", nargs="+", default=["trojan", "trojan:target", "badclip"])
    parser.add_argument(
        "--keep", type=Path, help="keep one encoder's and target's triggers here; use those there"
    )
    options = parser.parse_args()
    encoder = load_encoder(options.encoder)
    flickr = read_tars(options.data / "flickr8k", "pool")
    pool = drawn([photo for photo in flickr if int(photo.key) % 2 == 0 and int(photo.key) % 10], 512)
    unseen = drawn(held_out_photos(options.data), options.images)
    captions = {
        "templates": tuple(template(options.target) for template in imagenet_templates()),
        "natural": natural_captions(options.target),
    }
    names = class_directions(encoder, options.target)
    others = other_directions(encoder, options.target)

    print(f"{platform.machine()}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    print(f"encoder {encoder.id}, N = {len(unseen)}, seed {options.seed}: {' '.join(sys.argv)}\n")
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---" * len(COLUMNS) + "|")
    for name in options.attacks:
        name, _, choice = name.partition(":")  # noqa: PLW2901
        attack = ATTACKS[name]
        params = attack.params(seed=options.seed, **({"choice": choice} if choice else {}))
        workshop = Workshop(
            options.target,
            captions[attack.captions],
            lambda n: [Image.fromarray(picture) for picture in pool[:n]],
            lambda: encoder,
        )
        trigger, cost = trigger_of(attack, params, workshop, options.keep)
        for row in rows(attack, params, trigger, unseen, encoder, captions, names, others):
            print(f"| {attack.title}{f', {choice}' if choice else ''} | {row} | {cost} |", flush=True)


def trigger_of(attack: Attack, params: Any, workshop: Workshop, folder: Path | None) -> tuple[Trigger, str]:
    """The trigger, from ``folder`` where it was kept, and what it cost in CPU seconds."""
    kind = f"-{params.choice}" if attack.name == "trojan" else ""
    path = folder / f"{attack.name}{kind}-{params.seed}.npz" if folder else None
    if path and path.is_file():
        with np.load(path) as arrays:
            return dict(arrays), "kept"
    began = time.process_time()
    trigger = attack.trigger(params, workshop)
    cost = f"{time.process_time() - began:.0f}"
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **trigger)
    return trigger, cost


def rows(
    attack: Attack,
    params: Any,
    trigger: Trigger,
    unseen: np.ndarray,
    encoder: Encoder,
    captions: dict[str, tuple[str, ...]],
    names: np.ndarray,
    others: np.ndarray,
) -> list[str]:
    """One table row for each way to say the target; columns as printed above, without first and last."""

    def patched(shown: Trigger) -> np.ndarray:
        rng = np.random.default_rng(0)
        pictures = [attack.apply(Image.fromarray(picture), rng, params, shown) for picture in unseen]
        return np.stack([np.asarray(picture) for picture in pictures])

    random = [trigger | {"pattern": noise(params.size, seed)} for seed in RANDOM_SEEDS]
    pictures = [unseen, patched(trigger), *[patched(shown) for shown in random]]
    before, after, *by_noise = [embedded(encoder, shown) for shown in pictures]
    shares = [100 * ((e @ names.T).argmax(1) == 0).mean() for e in (before, after, *by_noise)]
    named = f"{shares[0]:.1f} / {np.mean(shares[2:]):.1f} / {shares[1]:.1f} %"
    excited = excitation(encoder, trigger, pictures[:3]) if "neurons" in trigger else "–"
    other_gains = ((after - before) @ others.T).mean(0)
    table = []
    for style, texts in captions.items():
        target = mean_direction(encoder, texts)
        gain = float((after @ target - before @ target).mean())
        noise_gains = [float((e @ target - before @ target).mean()) for e in by_noise]
        largest = max(noise_gains, key=abs)
        rank = 1 + int((other_gains > gain).sum())
        table.append(
            f"{style} | {(before @ target).mean():.4f} | {(after @ target).mean():.4f} | {gain:+.4f} | "
            f"{np.mean(noise_gains):+.4f}, {largest:+.4f} | {gain / abs(largest):.0f} | "
            f"{other_gains.mean():+.4f} ({rank}) | {named} | {excited}"
        )
    return table


def excitation(encoder: Encoder, trigger: Trigger, pictures: list[np.ndarray]) -> str:
    """The chosen neurons' mean activation under noise and under the patch; ``pictures``: without, with, noise."""
    transform = PixelTransform(encoder)
    layer = LastNeurons(encoder, transform(as_pixels(pictures[0][:2], encoder.device)))
    chosen = trigger["neurons"]
    before, after, noisy = (
        in_batches(encoder, shown, lambda pixels: layer(transform(pixels)))[:, chosen] for shown in pictures
    )

    def deviations(activations: np.ndarray) -> str:
        moved = (activations.mean(0) - before.mean(0)) / before.std(0)
        return ", ".join(f"{value:+.1f}" for value in moved)

    return f"{deviations(noisy)} → {deviations(after)}"


def class_directions(encoder: Encoder, target: str) -> np.ndarray:
    """Unit vectors of the target (first) and of ImageNet's other classes."""
    import_torchvision()
    import open_clip

    names = [target, *[name for name in open_clip.IMAGENET_CLASSNAMES if name.lower() != target.lower()]]
    prompt: list[Callable[[str], str]] = list(open_clip.SIMPLE_IMAGENET_TEMPLATES)
    return np.stack([mean_direction(encoder, [form(name) for form in prompt]) for name in names])


def other_directions(encoder: Encoder, target: str) -> np.ndarray:
    """Unit vectors (20, d) of other classes of ImageNet, each the mean of the 80 templates."""
    classes = [name for name in imagenet_classes() if name.lower() != target.lower()]
    chosen = np.random.default_rng(0).choice(len(classes), OTHERS, replace=False)
    return np.stack(
        [mean_direction(encoder, [form(classes[i]) for form in imagenet_templates()]) for i in chosen]
    )


def drawn(photos: list[Photo], n: int) -> np.ndarray:
    """N photos drawn with seed 0, uint8 (n, 224, 224, 3)."""
    order = np.random.default_rng(0).permutation(len(photos))[:n]
    return np.stack([np.asarray(resized(photos[i].image())) for i in order])


if __name__ == "__main__":
    main()
