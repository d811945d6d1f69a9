"""The training loop: steps, evaluations, checkpoints; it goes on exactly where a checkpoint left off."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from cfbd_core.embedding.encoders import Encoder
from cfbd_core.errors import TrainingError
from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.store.training import LogLine, Measured
from cfbd_core.training.batches import Batch, Batches, RunProcess, epoch_order
from cfbd_core.training.checkpoints import Checkpoints
from cfbd_core.training.config import CALMER, TrainParams
from cfbd_core.training.defences.base import Defense, Loss, Step
from cfbd_core.training.embedding import embed_rows
from cfbd_core.training.gradients import Backward, Towers
from cfbd_core.training.interrupts import Interrupts
from cfbd_core.training.models import TrainedModel, as_encoder
from cfbd_core.training.optimiser import MAX_LOG_SCALE, adamw, learning_rate, set_rate
from cfbd_core.training.sets import TrainingSet
from cfbd_core.training.streams import stream

Evaluate = Callable[[Encoder], Measured]
Log = Callable[[LogLine], None]


@dataclass
class Position:
    """Where a run is: steps done in all and in the epoch, seconds so far.

    ``evaluated`` is the last step after which the model was measured; ``pairs`` were seen in ``stepping`` seconds.
    """

    epoch: int = 0
    step: int = 0
    done: int = 0
    begun: bool = False
    evaluated: int = -1
    seconds: float = 0.0
    pairs: int = 0
    stepping: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """What learns and how: a model, a defence, and settings, which are resolved (:meth:`TrainParams.resolved`)."""

    trained: TrainedModel
    defense: Defense
    params: TrainParams


class Loop:
    """One run on ``pairs``.

    ``log`` gets steps and evaluations, as lines of ``metrics.jsonl``; ``progress`` the pairs done, in the stage
    "train". ``loss`` is the mean since the last step that was logged, ``measured`` what ``evaluate`` found last.
    """

    def __init__(
        self,
        pairs: TrainingSet,
        recipe: Recipe,
        checkpoints: Checkpoints,
        process: RunProcess,
        evaluate: Evaluate | None = None,
    ) -> None:
        trained, defense, params = recipe.trained, recipe.defense, recipe.params
        device = process.device
        self.pairs, self.trained, self.defense, self.params = pairs, trained, defense, params
        self.group, self.device, self.checkpoints = process.group, device, checkpoints
        self.evaluate = evaluate
        self.log: Log = lambda _line: None
        self.progress: Progress = no_progress
        self.epochs, self.steps = params.length(len(pairs))
        self.encoder = as_encoder(trained, device)
        self.at = Position()
        self.loss: float | None = None
        self.measured: Measured = {}
        self._recent: list[torch.Tensor] = []
        self._optimiser = adamw(trained.model, params)
        half = precision(params, device)
        self._scaler = torch.amp.GradScaler("cuda") if half == torch.float16 else None
        towers: torch.nn.Module = Towers(trained.model, trained.mean, trained.std).to(device)
        if self.group.size > 1:
            towers = torch.nn.parallel.DistributedDataParallel(towers)
        self._backward = Backward(towers, self.group, device, half, self._scaler)
        self._batches = Batches(
            pairs,
            trained,
            params,
            replace(process, crops=crops_on(device)),
            views=defense.views,
        )
        self._interrupts = Interrupts()

    def run(self) -> None:
        """Go on from the newest checkpoint, or begin; to the end of the run.

        Raises KeyboardInterrupt after a checkpoint where a signal asks to stop, and TrainingError for a loss that is
        not finite.
        """
        self._clock = time.monotonic()
        # Several processes stop together, after a step: one that left alone would be waited for.
        together = self._interrupts.hold() if self.group.size > 1 else nullcontext()
        with self._interrupts, together:
            try:
                while self.at.epoch < self.epochs and (self.at.step < self.steps or self.at.begun):
                    self._epoch()
                self._measure()
            except KeyboardInterrupt:
                if not self._interrupts.broke_in:
                    self._save()
                raise

    @property
    def seconds(self) -> float:
        """How long it has been at work, also before it was resumed."""
        return self.at.seconds + time.monotonic() - self._clock

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what a checkpoint holds."""
        self.trained.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        if self._scaler is not None:
            self._scaler.load_state_dict(state["scaler"])
        self.defense.load_state_dict(state["defense"])
        self.at = Position(**{name: state["position"][name] for name in vars(self.at)})
        self.loss, self.measured = state["loss"], state["measured"]
        self._recent = list(state["recent"].to(self.device).unbind())

    def forget_measured(self) -> None:
        """Let the model be measured again after the step that it is at."""
        self.at.evaluated, self.measured = -1, {}

    def _epoch(self) -> None:
        """The rest of the epoch that the run is in."""
        at, params = self.at, self.params
        if not at.begun:
            self._settle()  # a broken model must choose nothing
            with self._interrupts.hold():
                self._begin_epoch()
                at.begun = True
            self._stop_on_request()
        order = epoch_order(len(self.pairs), params.step_pairs, params.seed, at.epoch)
        self.trained.model.train()
        last = min(len(order), at.done + self.steps - at.step)
        with closing(self._batches.epoch(at.epoch, order[:last], at.done)) as batches:
            self._steps(batches)
        if at.step == self.steps:
            self._save()  # an evaluation that fails must not cost the training
        self._measure()
        at.epoch, at.done, at.begun = at.epoch + 1, 0, False

    def _begin_epoch(self) -> None:
        """Let the first process's defence prepare for the epoch; the others learn of what it remembers."""
        prepared: dict[str, torch.Tensor] = {}
        if self.group.is_first:
            self.defense.begin_epoch(self.at.epoch, self.epochs, self._embed)
            if self.group.size > 1:
                prepared = {name: value.cpu() for name, value in self.defense.state_dict().items()}
        prepared = self.group.broadcast(prepared)
        if not self.group.is_first:
            self.defense.load_state_dict(prepared)

    def _steps(self, batches: Iterator[Batch]) -> None:
        at, params = self.at, self.params
        began, logged = time.monotonic(), (at.pairs, at.stepping)
        for batch in batches:
            with self._interrupts.hold():
                loss = self._step(batch)
                at.pairs += len(batch.rows)
                began, at.stepping = time.monotonic(), at.stepping + time.monotonic() - began
                if at.step % params.log_every == 0 or at.step == self.steps:
                    self._log_step(loss, (at.pairs - logged[0]) / (at.stepping - logged[1]))
                    logged = (at.pairs, at.stepping)
            self.progress("train", at.step * params.step_pairs, self.steps * params.step_pairs)
            if at.step % params.checkpoint_every == 0 and at.step < self.steps:
                self._save()
            self._stop_on_request()

    def _stop_on_request(self) -> None:
        if self.group.any(self._interrupts.is_requested, self.device):
            raise KeyboardInterrupt

    def _step(self, batch: Batch) -> Loss:
        at, params = self.at, self.params
        assert params.lr is not None
        assert params.warmup is not None
        step = Step(at.epoch, at.step, self.epochs, batch.rows)
        set_rate(self._optimiser, learning_rate(at.step, self.steps, params.lr, params.warmup))
        self._optimiser.zero_grad(set_to_none=True)
        seed = int(stream("towers", params.seed, at.step).generate_state(1)[0])
        loss = self._backward(
            batch,
            params.accumulate,
            self.defense.views,
            seed,
            lambda features, logit_scale: self.defense.loss(features, logit_scale, step),
        )
        if self._scaler is None:
            self._optimiser.step()
        else:
            self._scaler.step(self._optimiser)
            self._scaler.update()
        with torch.no_grad():
            self.trained.model.logit_scale.clamp_(0, MAX_LOG_SCALE)
        self.defense.seen(step, loss)
        self._recent.append(loss.total.detach())
        at.step, at.done = at.step + 1, at.done + 1
        return loss

    def _log_step(self, loss: Loss, rate: float) -> None:
        """Log a step, with the mean loss since the last one."""
        self._settle()
        line: LogLine = {
            "kind": "step",
            "step": self.at.step,
            "epoch": self.at.epoch,
            "loss": self.loss,
            "parts": {name: float(value) for name, value in loss.parts.items()},
            "lr": self._optimiser.param_groups[0]["lr"],
            "logit_scale": float(self.trained.model.logit_scale.detach().exp().mean()),
            "pairs_per_s": round(rate, 2),
            "time": time.time(),
        }
        self._recent.clear()
        self.log(line)

    def _settle(self) -> None:
        """The mean of the losses since the last log; TrainingError where one is not finite."""
        if not self._recent:
            return
        losses = torch.stack(self._recent).tolist()
        broken = next((place for place, loss in enumerate(losses) if not np.isfinite(loss)), None)
        if broken is not None:
            step = self.at.step - len(losses) + broken + 1
            raise TrainingError(f"the loss is {losses[broken]} at step {step}; {CALMER}")
        self.loss = float(np.mean(losses))

    def _measure(self) -> None:
        """Evaluate the model as it is, if it was not yet; the first process alone does."""
        if self.evaluate is None or self.at.evaluated == self.at.step:
            return
        self._settle()  # nor be measured
        if self.group.is_first:
            self.measured = json.loads(json.dumps(dict(self.evaluate(self.encoder))))
            epoch = min(self.at.epoch, self.epochs - 1)
            self.log(
                {
                    "kind": "eval",
                    "epoch": epoch,
                    "step": self.at.step,
                    **self.measured,
                    "time": time.time(),
                }
            )
        self.at.evaluated = self.at.step

    def _save(self) -> None:
        self._settle()
        self.at.seconds, self._clock = self.seconds, time.monotonic()
        if not self.group.is_first:
            return
        with self._interrupts.hold():
            self.checkpoints.save(self.at.step, self._state())

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.trained.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": {} if self._scaler is None else self._scaler.state_dict(),
            "defense": self.defense.state_dict(),
            "position": dict(vars(self.at)),
            "loss": self.loss,
            "measured": self.measured,
            "recent": torch.stack(self._recent).cpu() if self._recent else torch.zeros(0),
        }

    def _embed(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return embeddings by the model as it is, in eval mode, of whole pictures."""
        return embed_rows(self.encoder, self.pairs, rows, self.params.workers)


def crops_on(device: str) -> bool:
    """Whether crops are cut on the device, and not by the workers: a GPU waits for whatever Python does beside it."""
    return device.startswith("cuda")


def precision(params: TrainParams, device: str) -> torch.dtype | None:
    """Return the half precision that the towers run in, None for single. Raises TrainingError where there is no GPU."""
    on_gpu = device.startswith("cuda")
    if params.precision == "amp" and not on_gpu:
        raise TrainingError("--precision amp: needs a GPU; give fp32 or auto")
    if params.precision == "fp32" or not on_gpu:
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
