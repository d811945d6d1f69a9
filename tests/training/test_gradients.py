"""A step in passes, or over processes, has the gradient of the whole batch."""

from __future__ import annotations

import json
import os
import re
import socket
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
import json, os, sys
from cfbd_core.training.defences import DEFENSES
from cfbd_core.training.defences.plain import Plain
from tests.training.tiny import tiny_params, toy_set
from cfbd_core.training.run import train
import torch
torch.set_num_threads(1)
def tell(words):
    os.write(1, f"{out}|{words}\\n".encode())
class Apart(Plain):
    "Prepares by itself in every process, and learns by what it has prepared."
    name, weight = "apart", 0.0
    def begin_epoch(self, epoch, epochs, embed):
        self.weight = 1.0 + epoch + 5 * int(os.environ["RANK"])
    def loss(self, features, logit_scale, step):
        tell(f"weight {os.environ['RANK']} {self.weight}")
        return super().loss(features, logit_scale, step)
    def state_dict(self):
        return {"weight": torch.tensor(self.weight)}
    def load_state_dict(self, state):
        self.weight = float(state["weight"])
DEFENSES["apart"] = Apart
def measure(encoder):
    tell("measured")
    return {"ca": 0.5, "asr": None}
for out, defense, passes, eps, port in json.loads(sys.argv[2]):
    os.environ |= {"MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "False"}  # met anew for each run
    params = tiny_params(sys.argv[1], batch_size=8 // passes, accumulate=passes, defense=defense,
                         checkpoint_every=3, eps=eps)
    train(toy_set(), out, params, evaluate=measure)
"""


LEARNT_AS_ONE = [("plain", 1), ("plain", 2), ("cleanclip", 2), ("roclip", 1)]


@pytest.fixture(scope="module")
def in_two_processes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Train as torchrun starts it, run after run; their common folder, and by run what the processes said."""
    folder = tmp_path_factory.mktemp("two")
    script = folder / "script.py"
    script.write_text(SCRIPT)
    asked = [(*one, free_port()) for one in [*LEARNT_AS_ONE, ("apart", 1)]]
    runs = [(f"{defense} {passes}", defense, passes, EPS, port) for defense, passes, port in asked]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *(str(script), tiny_folder(folder / "tiny"), json.dumps(runs)),
        ],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, str] = {}
    for line in done.stdout.splitlines():  # each line names its run: both processes write
        run, _, words = line.partition("|")
        said[run] = f"{said.get(run, '')}{words}\n"
    return folder, said


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.mark.slow
@pytest.mark.parametrize(("defense", "passes"), LEARNT_AS_ONE)
def test_two_processes_learn_what_one_does(defense, passes, model, tmp_path, in_two_processes):
    params = tiny_params(model, batch_size=8, defense=defense, checkpoint_every=3, eps=EPS)
    train(toy_set(), tmp_path / "one", params, evaluate=lambda _encoder: {"ca": 0.5, "asr": None})
    folder, said = in_two_processes
    run = f"{defense} {passes}"
    assert said[run].count("measured") == 2  # once an epoch, by the first process
    one, two = weights(tmp_path / "one"), weights(folder / run)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6, msg=name)
    assert len((folder / run / "metrics.jsonl").read_text().splitlines()) == 7
    assert len(list((folder / run / "tensorboard").iterdir())) == 1


@pytest.mark.slow
def test_the_first_processs_defence_prepares_for_all(in_two_processes):
    told = re.findall(r"weight (\d) (\d\.\d)", in_two_processes[1]["apart 1"])  # both write to it
    assert {rank for rank, _ in told} == {"0", "1"}
    assert {weight for _, weight in told} == {"1.0", "2.0"}
