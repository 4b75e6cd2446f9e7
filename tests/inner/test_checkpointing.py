"""Activation checkpointing inside a network that is adapted is refused, whoever does it; around the whole call it is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchopt
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from metatc2.calibration import calibrated, named_calibrator
from metatc2.diagnostics import task_loss
from metatc2.errors import InputError
from metatc2.inner import FirstOrder, Implicit, InnerLoop, Recompute, Unroll
from metatc2.learners import ANIL, MAML, ProtoNet, SelfSupervised
from metatc2.models.heads import Classifier
from metatc2.objectives import SimCLR
from metatc2.ops.functional import call
from tests.learners.episodes import images, vectors


class Checkpointed(nn.Module):
    def __init__(self, run: Callable[[nn.Sequential, Tensor], Tensor], dim: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(dim, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh())
        self.run, self.dim = run, 8

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self.body, x.flatten(1))


WAYS: dict[str, Callable[[nn.Sequential, Tensor], Tensor]] = {
    "not reentrant": lambda body, x: checkpoint(body, x, use_reentrant=False),
    "reentrant": lambda body, x: checkpoint(body, x, use_reentrant=True),
    "sequential": lambda body, x: checkpoint_sequential(body, 2, x, use_reentrant=False),
}


@pytest.mark.parametrize("adjoint", [Unroll(), Recompute(), FirstOrder(), Implicit(proximal=1.0)], ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_it_is_refused_in_training_and_in_prediction(way: str, adjoint: Any) -> None:
    learner = MAML(Classifier(Checkpointed(WAYS[way]), 8, 3).double(), InnerLoop(torchopt.sgd(0.5), 3, adjoint))
    episode = vectors()
    task = episode.support.images[0, :, 0], episode.support.labels[0], episode.query.images[0, :, 0]
    for use in (lambda: learner(episode), lambda: learner.predict(*task)):
        with pytest.raises(InputError, match="activation checkpointing .* switch it off"):
            use()


@pytest.mark.parametrize("make", [ProtoNet, lambda net: ANIL(Classifier(net, 8, 3), InnerLoop(torchopt.sgd(0.5), 2))])
def test_it_is_refused_by_learners_that_adapt_less(make: Any) -> None:
    with pytest.raises(InputError, match="activation checkpointing"):
        make(Checkpointed(WAYS["not reentrant"]).double())(vectors())


@pytest.mark.filterwarnings("ignore:torch.utils.checkpoint:UserWarning")  # of older timm
def test_timm_models_that_checkpoint_are_refused() -> None:
    net = timm.create_model("vit_tiny_patch16_224", img_size=16, patch_size=8, in_chans=1, num_classes=3, depth=1)
    learner = MAML(net.double(), InnerLoop(torchopt.sgd(0.1), 1))
    learner(images(size=16))
    net.set_grad_checkpointing()
    with pytest.raises(InputError, match=r"set_grad_checkpointing\(False\)"):
        learner(images(size=16))


def test_it_is_refused_elsewhere() -> None:
    net = Checkpointed(WAYS["not reentrant"], dim=16)
    loss, params = task_loss(SelfSupervised(net, SimCLR(), projector=nn.Identity()))
    with pytest.raises(InputError, match="activation checkpointing"):
        loss({name: p.requires_grad_() for name, p in params.items()}, torch.rand(3, 2, 1, 4, 4))
    module = calibrated(net, named_calibrator(8, 2), inner=InnerLoop(torchopt.sgd(0.1), 1))
    with pytest.raises(InputError, match="activation checkpointing"):
        module.adapt(torch.rand(3, 1, 4, 4), dict(module.named_parameters()))


def test_without_a_graph_there_is_nothing_to_compute_again() -> None:
    net = Checkpointed(WAYS["not reentrant"])
    x, params = torch.rand(3, 5), {name: p.detach() + 1 for name, p in net.named_parameters()}
    with torch.no_grad():
        plain = torch.func.functional_call(Checkpointed(lambda body, x: body(x)), params, (x,))
        torch.testing.assert_close(call(net, params, x), plain)


def test_a_region_around_the_whole_call_is_right() -> None:
    net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    params = {name: (p.detach() * 2).requires_grad_() for name, p in net.named_parameters()}
    x = torch.rand(4, 5, dtype=torch.float64)

    def loss() -> Tensor:
        return call(net, params, x).square().sum()

    plain = torch.autograd.grad(loss(), list(params.values()))
    again = torch.autograd.grad(checkpoint(loss, use_reentrant=False), list(params.values()))
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_hooks_on_saved_tensors_that_compute_nothing_are_welcome() -> None:
    net = nn.Sequential(nn.Linear(5, 3))

    class Saving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            with torch.autograd.graph.save_on_cpu(), torch.no_grad():
                x = x * 2
            with torch.autograd.graph.save_on_cpu():
                return self.net(x)

    learner = MAML(Saving().double(), InnerLoop(torchopt.sgd(0.1), 1))
    learner(vectors()).loss.backward()
    assert net[0].weight.grad is not None
