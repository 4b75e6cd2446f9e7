"""Learners in the loops of others: validation in inference mode, as Lightning has it, Lightning itself, Fabric, Accelerate."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from metatc2.calibration import TaskCalibrator, named_calibrator
from metatc2.data import ImageStore
from metatc2.episodes import Episode, LabeledTasks, Samples
from metatc2.inner import InnerLoop, inner_optimizer
from metatc2.learners import MAML, TC2, Learner, Outcome, ProtoNet, SelfSupervised, SharedTC2, Tasks, build_labeled
from metatc2.learners.registry import LEARNERS, learner_options
from metatc2.models.heads import Classifier, Projector
from metatc2.objectives import SimCLR

pytestmark = [
    pytest.mark.filterwarnings("ignore:Implicit. the inner loop stopped short"),
    pytest.mark.filterwarnings("ignore:calibrated. no averages yet"),
]


def encoder() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4))


def tasks() -> LabeledTasks:
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (30, 1, 8, 8), generator=g).to(torch.uint8)
    store = ImageStore("toy", images, torch.arange(3).repeat(10))
    return LabeledTasks(store, way=3, shot=2, query=3, tasks=2, split="all")


def pairs() -> Episode:
    def side() -> Samples:
        images = torch.rand(2, 8, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        return Samples(images, None, None, torch.full((2, 8), -1))

    return Episode(side(), side())


def self_supervised(name: str) -> Learner:
    parts: dict[str, Any] = {"projector": Projector(4, 6, 4)}
    if name == "plain":
        return SelfSupervised(encoder(), SimCLR(), **parts)
    if name == "tc2":
        own = TaskCalibrator(4, 2, weights="sample")
        return TC2(encoder(), SimCLR(), calibrator=own, inner=InnerLoop(inner_optimizer("sgd", 1.0), 1), **parts)
    inner = InnerLoop(inner_optimizer("sgd", 0.1), 1)
    return SharedTC2(encoder(), SimCLR(), calibrator=named_calibrator(4, 2), inner=inner, gamma=1.0, **parts)


@pytest.mark.parametrize("name", [*LEARNERS, "plain", "tc2", "shared"])
def test_inference_mode_gives_what_evaluation_without_gradients_gives(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name in LEARNERS:
            episode = tasks().sample()
            learner: Learner = build_labeled(
                learner_options(name)(), encoder(), Tasks(4, 3, torch.arange(3).repeat(10))
            )
        else:
            episode, learner = pairs(), self_supervised(name)
    learner.eval()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        expected = learner(episode).loss
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(0)
        inside = episode.map(torch.clone)  # tensors that no gradient may pass
        assert inside.images.is_inference()
        loss = learner(inside).loss
    assert torch.equal(loss, expected)


def maml() -> MAML:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU()), 8, 3)
    return MAML(network, InnerLoop(inner_optimizer("sgd", 0.1), 2))


def reference(steps: int) -> MAML:
    learner, source = maml(), tasks()
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        learner(source.sample()).loss.backward()
        optimizer.step()
    return learner


@pytest.mark.filterwarnings("ignore")  # Lightning's, of loaders and checkpoints
def test_lightning_with_its_sanity_check() -> None:
    import pytorch_lightning as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.learner = maml()

        def training_step(self, episode: Episode, index: int) -> Any:
            return self.learner(episode).loss

        def validation_step(self, episode: Episode, index: int) -> None:
            validated.append(float(self.learner(episode).loss))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    validated: list[float] = []
    module = Module()
    quiet: Any = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(
        max_steps=2,
        accelerator="cpu",
        devices=1,
        num_sanity_val_steps=1,
        val_check_interval=2,
        limit_val_batches=1,
        **quiet,
    )
    trainer.fit(module, DataLoader(tasks(), batch_size=None), DataLoader(tasks(), batch_size=None))
    assert len(validated) == 2  # the sanity check, and after training
    for name, tensor in reference(2).state_dict().items():
        torch.testing.assert_close(module.learner.state_dict()[name], tensor)


def test_accelerate_prepares_a_loader_of_episodes() -> None:
    accelerate = pytest.importorskip("accelerate")
    settings = accelerate.utils.DataLoaderConfiguration(dispatch_batches=False)
    accelerator, learner = accelerate.Accelerator(cpu=True, dataloader_config=settings), maml()
    made, loader = accelerator.prepare(learner, DataLoader(tasks(), batch_size=None))
    assert torch.isfinite(made(next(iter(loader))).loss)


def test_accelerate() -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerator, learner = accelerate.Accelerator(cpu=True), maml()
    made, optimizer = accelerator.prepare(learner, torch.optim.SGD(learner.parameters(), lr=0.1))
    source = tasks()
    for _ in range(2):
        optimizer.zero_grad()
        accelerator.backward(made(source.sample()).loss)
        optimizer.step()
    for name, tensor in reference(2).state_dict().items():
        torch.testing.assert_close(accelerator.unwrap_model(made).state_dict()[name], tensor)


@pytest.mark.filterwarnings("ignore")  # Fabric's, of workers of loaders
def test_fabric_in_single_precision_takes_the_steps_of_a_loop_of_ones_own() -> None:
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    learner = maml()
    made, optimizer = fabric.setup(learner, torch.optim.SGD(learner.parameters(), lr=0.1))
    episodes = iter(fabric.setup_dataloaders(DataLoader(tasks(), batch_size=None)))
    for _ in range(2):
        outcome = made(next(episodes))
        assert set(outcome.metrics) >= {"accuracy"}
        optimizer.zero_grad()
        fabric.backward(outcome.loss)
        optimizer.step()
    for name, tensor in reference(2).state_dict().items():
        assert torch.equal(learner.state_dict()[name], tensor)


@pytest.mark.parametrize("name", ["maml", "plain", "tc2", "shared"])
def test_fabric_in_mixed_precision_is_autocast(name: str) -> None:
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner: Learner = maml() if name == "maml" else self_supervised(name)
    same, episode = copy.deepcopy(learner), tasks().sample() if name == "maml" else pairs()
    with torch.autocast("cpu", torch.bfloat16):
        expected = same(episode).loss
    expected.backward()
    made = fabric.setup(learner)
    before = episode.images
    outcome = made(episode)
    assert isinstance(outcome, Outcome)
    assert torch.equal(episode.images, before)
    fabric.backward(outcome.loss)
    made.end_step()
    assert torch.equal(outcome.loss, expected)
    for mine, own in zip(learner.parameters(), same.parameters(), strict=True):
        assert (mine.grad is None) == (own.grad is None)
        assert mine.grad is None or own.grad is None or torch.equal(mine.grad, own.grad)


@pytest.mark.parametrize("name", ["maml", "anil", "protonet"])
@pytest.mark.parametrize("own_autocast", [False, True])
def test_running_statistics_in_mixed_precision_move_as_by_a_plain_forward(name: str, own_autocast: bool) -> None:
    """Fabric hands the forward inputs in bfloat16 and ends its autocast before the step ends; the weights are in float32."""
    from lightning_fabric import Fabric

    norms = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 4))
    given = Tasks(4, 3, torch.arange(3).repeat(10))
    learner, episode = build_labeled(learner_options(name)(), norms, given), tasks().sample()
    network = copy.deepcopy(learner.network)
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    made, optimizer = fabric.setup(learner, torch.optim.SGD(learner.parameters(), lr=0.0))
    for _ in range(2):
        optimizer.zero_grad()
        fabric.backward(made(episode).loss)
        optimizer.step()
        with torch.autocast("cpu", torch.bfloat16, enabled=own_autocast):
            learner.end_step()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            network(episode.support.images[0, :, 0].bfloat16())
    for key, expected in network.named_buffers():
        assert expected.dtype != torch.bfloat16
        assert torch.equal(learner.network.get_buffer(key), expected), key


def test_the_network_is_called_in_full_precision_where_the_forward_was() -> None:
    norms = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4))
    learner, episode = ProtoNet(norms), tasks().sample()
    network = copy.deepcopy(norms)
    learner(episode).loss.backward()
    with torch.autocast("cpu", torch.bfloat16):
        learner.end_step()
    network(episode.support.images[0, :, 0])
    assert torch.equal(learner.network.get_buffer("2.running_mean"), network.get_buffer("2.running_mean"))
