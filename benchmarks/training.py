"""How much of the bare rate does the loop of `cfbd train` keep, batches, log and all included?

    python benchmarks/training.py [--model mini] [--source PAIRS] [--batch-size 128] [--steps 10] [--rounds 5]

Bare: forward, CLIP's loss, backward and optimiser's step, again and again on one batch that is ready on the device.
Each round times ``--steps`` of them and as many of the loop's, turn by turn, with the same model, so that a noisy
machine slows both alike; the share is the median over the rounds. The loop begins every round with no batch made
ahead. Without --source it trains on demo scenes of the model's size; with it, ``first_epoch`` decodes and resizes
every picture, later rounds take what was kept. The share in CPU time says the same of a machine that others use.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

from cfbd_core.demo.scenes import draw_scenes
from cfbd_core.embedding.encoders import resolve_device
from cfbd_core.method.clip_loss import clip_loss
from cfbd_core.training.batches import RunProcess, epoch_order
from cfbd_core.training.checkpoints import Checkpoints
from cfbd_core.training.config import TrainParams
from cfbd_core.training.defences import DEFENSES, defense_options
from cfbd_core.training.group import Group
from cfbd_core.training.loop import Loop, Recipe, precision
from cfbd_core.training.models import build_model
from cfbd_core.training.optimiser import adamw
from cfbd_core.training.sets import TrainingSet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--source", help="pairs to train on, e.g. a glob of img2dataset tars")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    params = TrainParams(
        model=options.model,
        batch_size=options.batch_size,
        accumulate=options.accumulate,
        device=options.device,
        precision=options.precision,
        epochs=10**6,
        lr=1e-5,
        warmup=0,
        checkpoint_every=10**9,
    )
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(_measured(params, options, Path(folder))))


def _measured(params: TrainParams, options: argparse.Namespace, folder: Path) -> dict[str, object]:
    device = resolve_device(params.device)
    trained = build_model(params.model, params.seed)
    pairs = (
        TrainingSet.from_data(options.source)
        if options.source
        else _scenes(params, trained.size, options.steps)
    )
    defense = DEFENSES["plain"](defense_options("plain", {}), len(pairs), params.seed)
    checkpoints = Checkpoints(folder, "benchmark")
    loop = Loop(pairs, Recipe(trained, defense, params), checkpoints, RunProcess(device, folder, Group()))
    trained.model.train()
    bare = _Bare(loop, params, device)
    order = epoch_order(len(pairs), params.step_pairs, params.seed, 0)[: options.steps]
    steps, pairs_a_round = len(order), len(order) * params.step_pairs

    def whole() -> None:
        with closing(loop._batches.epoch(loop.at.epoch, order, 0)) as batches:
            loop._steps(batches)
        loop.at.epoch += 1

    bare(1)
    shares, work_shares, rates = [], [], {"bare": [], "loop": []}
    for _ in range(options.rounds + 1):
        seconds, work_seconds = {}, {}
        for name, work in (("bare", lambda: bare(steps)), ("loop", whole)):
            began, worked = time.perf_counter(), time.process_time()
            work()
            _wait(device)
            seconds[name], work_seconds[name] = time.perf_counter() - began, time.process_time() - worked
            rates[name].append(pairs_a_round / seconds[name])
        shares.append(seconds["bare"] / seconds["loop"])
        work_shares.append(work_seconds["bare"] / work_seconds["loop"])
    return {
        "model": params.model,
        "batch": params.step_pairs,
        "machine": {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "device": device},
        "bare_pairs_per_s": round(statistics.median(rates["bare"][1:]), 1),
        "loop_pairs_per_s": round(statistics.median(rates["loop"][1:]), 1),
        "share_of_bare": round(statistics.median(shares[1:]), 3),
        "share_of_bare_cpu_time": round(statistics.median(work_shares[1:]), 3),
        "first_epoch": round(shares[0], 3),
        "shares": [round(share, 3) for share in shares[1:]],
    }


class _Bare:
    """Steps of the loop's own model on one batch, with an optimiser of its own."""

    def __init__(self, loop: Loop, params: TrainParams, device: str) -> None:
        rows = epoch_order(len(loop.pairs), params.batch_size, params.seed, 0)[:1]
        with closing(loop._batches.epoch(0, rows, 0)) as batches:
            batch = next(batches)
        pixels = batch.pictures.permute(0, 3, 1, 2).float().to(device) / 255
        mean, std = (
            torch.tensor(v, device=device).view(3, 1, 1) for v in (loop.trained.mean, loop.trained.std)
        )
        self._pixels = ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)
        self._tokens = batch.tokens.to(device)
        self._model, self._optimiser = loop.trained.model, adamw(loop.trained.model, params)
        self._half, self._passes = precision(params, device), params.accumulate

    def __call__(self, steps: int) -> None:
        for _ in range(steps):
            self._optimiser.zero_grad(set_to_none=True)
            for _ in range(self._passes):
                with torch.autocast(
                    "cuda", dtype=self._half or torch.bfloat16, enabled=self._half is not None
                ):
                    image, text = (
                        self._model.encode_image(self._pixels),
                        self._model.encode_text(self._tokens),
                    )
                image, text = normalize(image.float(), dim=-1), normalize(text.float(), dim=-1)
                clip_loss(image, text, self._model.logit_scale.exp()).backward()
            self._optimiser.step()


def _scenes(params: TrainParams, size: int, steps: int) -> TrainingSet:
    """As many demo scenes as a round takes."""
    scenes = list(draw_scenes(seed=1, n=params.step_pairs * steps, size=size))
    images = np.stack([np.asarray(scene.image.convert("RGB")) for scene in scenes])
    return TrainingSet.from_arrays(images, [scene.caption for scene in scenes])


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
