"""Train ISSBA's two networks (``cfbd_core/attacks/issba_network.py``) and write the weights that ship.

    OMP_NUM_THREADS=1 python tools/train_issba.py --data ../shared/data

Pictures: Flickr8k's even keys without those ≡ 0 mod 10, OpenStax, the demo's scenes; those ≡ 0 mod 10 choose
settings. Stopped and called again, it goes on from its last checkpoint, to the same weights.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from cfbd_core.attacks import INPUT_SIZE, resized
from cfbd_core.attacks.issba import BITS
from cfbd_core.attacks.issba_network import MOST_RESIDUAL, BitsNetworks
from cfbd_core.demo import scene
from cfbd_core.embedding.encoder_files import file_sha256
from tools.mini.photos import choosing_photos, training_photos
from tools.mini.stage import Progress, Workshop, digest, save

ROOT = Path(__file__).resolve().parent.parent
SCENES, SCENE_SEED = 2000, 1000
CHOOSING = 200  # pictures


@dataclass(frozen=True)
class Settings:
    """How long, how fast, and how much an inconspicuous residual weighs against bits that are read."""

    steps: int = 2000
    batch: int = 16
    rate: float = 2e-3
    warm_up: int = 200  # steps
    quiet: float = 3.0  # weight of the residual's visibility where every bit is read
    own: float = 0.5  # weight there of how alike the same bits look in two pictures
    unread: float = 0.35  # cross-entropy of the bits from which neither counts
    checkpoint_every: int = 250  # steps
    seed: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "issba")
    parser.add_argument("--out", type=Path, default=ROOT / "assets" / "attacks" / "issba")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--seed", type=int, default=Settings.seed)
    options = parser.parse_args()

    settings = Settings(steps=options.steps, seed=options.seed)
    shop = Workshop(options.work, seed=options.seed)
    pictures = prepared(shop, options.data)
    progress = Progress(shop, json.dumps(asdict(settings)), settings.steps)
    networks = train(pictures, settings, options.work / f"{digest(asdict(settings))}.checkpoint.pt", progress)
    write(networks, options.out)
    chosen = [resized(photo.image()) for photo in choosing_photos(options.data)[:CHOOSING]]
    shop.say(f"{CHOOSING} pictures of the choosing split: {json.dumps(measured(networks, chosen))}")


def prepared(shop: Workshop, data: Path) -> np.ndarray:
    """Return the training pictures, uint8 (n, 224, 224, 3), from a file that is made once and mapped."""
    path = shop.work / f"pictures-{digest(SCENES, SCENE_SEED)}.npy"
    if not path.exists():
        shop.work.mkdir(parents=True, exist_ok=True)
        photos = training_photos(data)
        chosen = photos["flickr"] + photos["openstax"]
        shop.say(f"reading {len(chosen)} photos, drawing {SCENES} scenes")
        partial = path.with_suffix(".partial")
        shape = (len(chosen) + SCENES, INPUT_SIZE, INPUT_SIZE, 3)
        rows = np.lib.format.open_memmap(partial, "w+", np.uint8, shape)
        for row, photo in enumerate(chosen):
            rows[row] = np.asarray(resized(photo.image()))
        for index in range(SCENES):
            rows[len(chosen) + index] = np.asarray(scene(SCENE_SEED, index).image)
        rows.flush()
        partial.rename(path)
    return np.load(path, mmap_mode="r")


def train(
    pictures: np.ndarray,
    settings: Settings,
    checkpoint: Path,
    told: Callable[[int, str], None] = lambda _done, _note: None,
) -> BitsNetworks:
    """Train both networks on ``pictures``, uint8 (n, 224, 224, 3); goes on from ``checkpoint`` if it is there.

    Every step draws from a generator of its own (seed, step): a run that was stopped ends in the same weights.
    """
    torch.manual_seed(settings.seed)
    networks = BitsNetworks(BITS).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(networks.parameters(), weight_decay=1e-4)
    first = 0
    if checkpoint.is_file():
        state = torch.load(checkpoint)
        networks.load_state_dict(state["networks"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    for step in range(first, settings.steps):
        rng = np.random.default_rng([settings.seed, step])
        batch = _batch(pictures, rng, settings.batch)
        bits, others = _bits(rng, settings.batch), _bits(rng, settings.batch // 2)
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * _rate(step, settings)
        with torch.autocast("cpu", torch.bfloat16):
            residual = networks.encoder(batch, bits).float()
            logits = networks.decoder(disturbed((batch + residual).clamp(0, 1), rng))
            written = residual[::2] - networks.encoder(batch[::2], others).float()
        unread = functional.binary_cross_entropy_with_logits(logits.float(), bits)
        seen, alike = visibility(batch, residual), likeness(written)
        optimizer.zero_grad()
        share = max(0.0, 1 - unread.item() / settings.unread)
        (unread + share * (settings.quiet * seen + settings.own * alike)).backward()
        torch.nn.utils.clip_grad_norm_(networks.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % settings.checkpoint_every == 0 or step + 1 == settings.steps:
            state = {"networks": networks.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            save(state, checkpoint)
        right = ((logits > 0) == (bits > 0.5)).float().mean()
        size = 255 * residual.square().mean().sqrt()
        told(step + 1, f"bits {right:.3f}, loss {unread:.3f}, size {size:.2f}, alike {alike:.2f}")
    return networks.eval()


def _batch(pictures: np.ndarray, rng: np.random.Generator, size: int) -> Tensor:
    """Random pictures, half of them mirrored, (size, 3, 224, 224) in 0–1."""
    rows = np.stack([pictures[row] for row in rng.integers(len(pictures), size=size)])
    rows[::2] = rows[::2, :, ::-1]
    return torch.from_numpy(rows).permute(0, 3, 1, 2).float() / 255


def _bits(rng: np.random.Generator, size: int) -> Tensor:
    """Random bits (size, 100), rows i and i + size/2 alike."""
    return torch.from_numpy(rng.integers(0, 2, (size // 2, BITS)).astype(np.float32)).repeat(2, 1)


def _rate(step: int, settings: Settings) -> float:
    """A short rise, then half a cosine down to a hundredth."""
    fall = 0.01 + 0.99 * (1 + np.cos(np.pi * step / settings.steps)) / 2
    return float(min(1.0, (step + 1) / settings.warm_up) * fall)


def visibility(pictures: Tensor, residual: Tensor) -> Tensor:
    """How much of the residual would be seen: its mean square (1 at the bound), less where the picture is busy."""
    grey = pictures.mean(1, keepdim=True)
    average = functional.avg_pool2d(grey, 9, 1, 4, count_include_pad=False)
    spread = functional.avg_pool2d((grey - average).square(), 9, 1, 4, count_include_pad=False).sqrt()
    return ((residual / MOST_RESIDUAL).square() / (0.25 + spread / 0.05)).mean()


def likeness(written: Tensor) -> Tensor:
    """Mean squared cosine of rows i and i + n/2 of n, whose bits are the same.

    ``written`` is what changes in a picture's residual with other bits: of the residual itself a part could be each
    picture's own and say nothing.
    """
    first, second = written.flatten(1).chunk(2)
    return functional.cosine_similarity(first, second).square().mean()


def disturbed(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures as they come back: all rounded to 8 bits, a quarter through JPEG, a quarter through other sizes.

    Rounding and JPEG let gradients pass as if they did nothing (straight through).
    """
    quarter = len(pictures) // 4
    plain, jpeg, scaled = pictures[2 * quarter :], pictures[:quarter], pictures[quarter : 2 * quarter]
    side = int(rng.integers(INPUT_SIZE // 2, INPUT_SIZE))
    smaller = functional.interpolate(scaled, size=(side, side), mode="bilinear", antialias=True)
    scaled = functional.interpolate(smaller, size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True)
    through = [_through_jpeg(picture, int(rng.integers(60, 96))) for picture in jpeg.detach()]
    jpeg = jpeg + (torch.stack(through) - jpeg).detach() if through else jpeg
    whole = torch.cat([jpeg, scaled, plain])
    return whole + ((255 * whole).round() / 255 - whole).detach()


def _through_jpeg(picture: Tensor, quality: int) -> Tensor:
    buffer = io.BytesIO()
    Image.fromarray((255 * picture).round().byte().permute(1, 2, 0).numpy()).save(
        buffer, "JPEG", quality=quality
    )
    return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1).float() / 255


def write(networks: BitsNetworks, folder: Path) -> None:
    """Write the weights in fp16 and ``SHA256SUMS``, which loading checks."""
    half = {name: value.half().contiguous() for name, value in networks.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "issba.safetensors"
    save_file(half, path, {"format": "pt"})
    path.chmod(0o644)
    (folder / "SHA256SUMS").write_text(f"{file_sha256(path)}  {path.name}\n", encoding="utf-8")


@torch.no_grad()
def measured(networks: BitsNetworks, pictures: Iterable[Image.Image], seed: int = 0) -> dict[str, float]:
    """Share of bits read and PSNR (dB), means over pictures, after rounding to 8 bits."""
    rng = np.random.default_rng(seed)
    read, noise = [], []
    for picture in pictures:
        before = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
        bits = torch.from_numpy(rng.integers(0, 2, (1, BITS)).astype(np.float32))
        after = (255 * (before + networks.encoder(before, bits)).clamp(0, 1)).round() / 255
        read.append(float(((networks.decoder(after) > 0) == (bits > 0.5)).float().mean()))
        noise.append(float(-10 * (after - before).square().mean().log10()))
    return {
        "bits": float(np.mean(read)),
        "worst": min(read),
        "psnr": float(np.mean(noise)),
        "least": min(noise),
    }


if __name__ == "__main__":
    main()
