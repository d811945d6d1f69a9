"""A step in passes, or over processes, has the gradient of the whole batch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from cfbd_core.method.clip_loss import clip_loss
from cfbd_core.training.batches import Batches, RunProcess, epoch_order
from cfbd_core.training.defences import defense_options
from cfbd_core.training.defences.base import Step
from cfbd_core.training.defences.cleanclip import CleanClip
from cfbd_core.training.defences.plain import Plain
from cfbd_core.training.gradients import Backward, Towers
from cfbd_core.training.group import Group
from cfbd_core.training.models import build_model
from cfbd_core.training.run import train
from tests.training.literal import step_of
from tests.training.test_resume import weights
from tests.training.tiny import tiny_folder, tiny_params, toy_set

EPS = 1e-3  # Adam makes steps of noise else: the bias of a key has no gradient

pytestmark = pytest.mark.usefixtures("one_thread")


def gradients(model, tmp_path, passes: int, defense=None) -> tuple[dict[str, torch.Tensor], float]:
    """Of one step of 16 pairs, by name, and its loss."""
    trained = build_model(model, seed=0)
    trained.model.train()
    params = tiny_params(model, batch_size=16 // passes, accumulate=passes)
    defense = defense or Plain(None, 40, 0)
    batches = Batches(toy_set(), trained, params, RunProcess("cpu", tmp_path, Group()), views=defense.views)
    batch = next(batches.epoch(0, epoch_order(40, 16, 0, 0), 0))
    backward = Backward(Towers(trained.model, trained.mean, trained.std), Group(), "cpu")
    step = step_of(batch.rows)
    loss = backward(
        batch, passes, defense.views, 5, lambda features, scale: defense.loss(features, scale, step)
    )
    found = {name: one.grad.clone() for name, one in trained.model.named_parameters() if one.grad is not None}
    return found, loss.total.item()


def assert_close(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    for name, gradient in one.items():
        most = gradient.abs().max()
        assert most > 0, name
        assert (gradient - two[name]).abs().max() <= 2e-5 * most, name


def test_one_pass_is_autograd_of_the_whole(model, tmp_path):
    found, loss = gradients(model, tmp_path, 1)
    trained = build_model(model, seed=0)
    trained.model.train()
    batches = Batches(
        toy_set(), trained, tiny_params(model), RunProcess("cpu", tmp_path, Group()), views=False
    )
    batch = next(batches.epoch(0, epoch_order(40, 16, 0, 0), 0))
    pixels = batch.pictures.permute(0, 3, 1, 2).float() / 255
    pixels = (pixels - torch.tensor(trained.mean).view(3, 1, 1)) / torch.tensor(trained.std).view(3, 1, 1)
    image = normalize(trained.model.encode_image(pixels), dim=-1)
    text = normalize(trained.model.encode_text(batch.tokens), dim=-1)
    total = clip_loss(image, text, trained.model.logit_scale.exp())
    total.backward()
    assert loss == pytest.approx(total.item(), rel=1e-6)
    assert_close(found, {name: one.grad for name, one in trained.model.named_parameters()})


@pytest.mark.parametrize("views", [False, True])
@pytest.mark.parametrize("passes", [2, 4])
def test_several_passes_have_the_gradient_of_one(model, tmp_path, passes, views):
    """Also the temperature's, which open_clip's own accumulation counts once a pass."""

    def defense():
        return CleanClip(defense_options("cleanclip", {}), 40, 0) if views else Plain(None, 40, 0)

    whole, loss = gradients(model, tmp_path, 1, defense())
    parts, same = gradients(model, tmp_path, passes, defense())
    assert same == pytest.approx(loss, rel=1e-6)
    assert_close(whole, parts)


def test_a_defence_is_asked_once_a_step_and_sees_its_rows_in_order(model, tmp_path):
    seen: list[tuple[tuple[int, ...], list[int]]] = []

    class Watching(Plain):
        def loss(self, features, logit_scale, step: Step):
            seen.append((tuple(features["image"].shape), step.rows.tolist()))
            return super().loss(features, logit_scale, step)

    gradients(model, tmp_path, 4, Watching(None, 40, 0))
    assert seen == [((16, 16), epoch_order(40, 16, 0, 0)[0].tolist())]


def test_batch_statistics_count_every_pass_once(tmp_path):
    def statistics(passes: int) -> torch.Tensor:
        trained = build_model(tiny_folder(tmp_path / "resnet", "resnet"))
        trained.model.train()
        params = tiny_params("", batch_size=16 // passes, accumulate=passes)
        batches = Batches(toy_set(), trained, params, RunProcess("cpu", tmp_path, Group()), views=False)
        batch = next(batches.epoch(0, epoch_order(40, 16, 0, 0), 0))
        backward = Backward(Towers(trained.model, trained.mean, trained.std), Group(), "cpu")
        defense = Plain(None, 40, 0)
        backward(batch, passes, False, 5, lambda f, s: defense.loss(f, s, step_of(batch.rows)))
        return trained.model.visual.bn1.num_batches_tracked

    assert [int(statistics(passes)) for passes in (1, 2)] == [1, 2]


SCRIPT = """
import os, sys
from cfbd_core.training.defences import DEFENSES
from cfbd_core.training.defences.plain import Plain
from tests.training.tiny import tiny_params, toy_set
from cfbd_core.training.run import train
import torch
torch.set_num_threads(1)
options = dict(part.split("=") for part in sys.argv[3:])
class Apart(Plain):
    "Prepares by itself in every process, and learns by what it has prepared."
    name, weight = "apart", 0.0
    def begin_epoch(self, epoch, epochs, embed):
        self.weight = 1.0 + epoch + 5 * int(os.environ["RANK"])
    def loss(self, features, logit_scale, step):
        print(f"weight {os.environ['RANK']} {self.weight}", flush=True)
        return super().loss(features, logit_scale, step)
    def state_dict(self):
        return {"weight": torch.tensor(self.weight)}
    def load_state_dict(self, state):
        self.weight = float(state["weight"])
DEFENSES["apart"] = Apart
params = tiny_params(sys.argv[2], batch_size=int(options["batch"]), accumulate=int(options["passes"]),
                     defense=options["defense"], checkpoint_every=3, eps=float(options["eps"]))
def measure(encoder):
    print("measured", flush=True)
    return {"ca": 0.5, "asr": None}
train(toy_set(), sys.argv[1], params, evaluate=measure)
"""


def in_two_processes(
    tmp_path: Path, model: str, passes: int, defense: str
) -> subprocess.CompletedProcess[str]:
    """Train into ``tmp_path``/two, as torchrun starts it."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *(str(script), str(tmp_path / "two"), model),
            *(f"batch={8 // passes}", f"passes={passes}", f"defense={defense}", f"eps={EPS}"),
        ],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("defense", "passes"), [("plain", 1), ("plain", 2), ("cleanclip", 2), ("roclip", 1)])
def test_two_processes_learn_what_one_does(defense, passes, model, tmp_path):
    params = tiny_params(model, batch_size=8, defense=defense, checkpoint_every=3, eps=EPS)
    train(toy_set(), tmp_path / "one", params, evaluate=lambda _encoder: {"ca": 0.5, "asr": None})
    done = in_two_processes(tmp_path, model, passes, defense)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("measured") == 2  # once an epoch, by the first process
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6, msg=name)
    assert len((tmp_path / "two" / "metrics.jsonl").read_text().splitlines()) == 7
    assert len(list((tmp_path / "two" / "tensorboard").iterdir())) == 1


@pytest.mark.slow
def test_the_first_processs_defence_prepares_for_all(model, tmp_path):
    done = in_two_processes(tmp_path, model, 1, "apart")
    assert done.returncode == 0, done.stderr
    told = re.findall(r"weight (\d) (\d\.\d)", done.stdout)  # both write to it
    assert {rank for rank, _ in told} == {"0", "1"}
    assert {weight for _, weight in told} == {"1.0", "2.0"}
