"""Every objective, projector and momentum update against lightly's, values and gradients, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metatc2.learners import SelfSupervised
from metatc2.models.conv4 import Conv4
from metatc2.models.heads import Predictor, Projector
from metatc2.objectives import (
    BYOL,
    BarlowTwins,
    Embeddings,
    MoCo,
    Objective,
    SimCLR,
    SimSiam,
    VICReg,
)

loss = pytest.importorskip("lightly.loss")
heads = pytest.importorskip("lightly.models.modules.heads")
update_momentum = pytest.importorskip("lightly.models.utils").update_momentum

# Of one task: the loss of its projections, predictions and targets, (samples, 2 views, D) each.
Oracle = Callable[[Tensor, Tensor, Tensor], Tensor]

SHAPES = [(1, 2, 3), (2, 7, 4), (3, 16, 5), (2, 5, 33)]  # tasks, samples, D
QUEUE = 24
# lightly 1.6 has no LeJEPA and no VISReg; test_sigreg.py and test_visreg.py have oracles of their own.
SHARED = ("simclr", "moco", "byol", "simsiam", "barlow", "vicreg")


def draw(tasks: int, samples: int, dim: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    # Dimensions of unlike scale and offset, so that a missing centring, mean or square root shows. Half of the scales are
    # below 1, where VICReg asks for more variance.
    scale = torch.linspace(0.2, 2.0, dim, dtype=torch.float64)
    z, p, t = (torch.randn(tasks, samples, 2, dim, generator=g, dtype=torch.float64) * scale + 0.4 for _ in range(3))
    return z, p, t


def simclr(temperature: float) -> Oracle:
    oracle = loss.NTXentLoss(temperature)
    return lambda z, p, t: oracle(z[:, 0], z[:, 1])


def filled(temperature: float, dim: int) -> MoCo:
    """A MoCo whose queue has gone round once and a half."""
    objective = MoCo(QUEUE, temperature).double()
    for step in range(3):
        keys = draw(2, 3, dim, 90 + step)[0]
        objective.update(Embeddings(keys, targets=keys))
    return objective


def moco(temperature: float, objective: MoCo) -> Oracle:
    oracle = loss.NTXentLoss(temperature, memory_bank_size=(QUEUE, objective.keys.shape[1])).double()

    def both(z: Tensor, p: Tensor, t: Tensor) -> Tensor:
        values = []
        for own, other in ((0, 1), (1, 0)):
            # lightly takes the keys of one direction into its bank before the other; both see the same queue here.
            oracle.memory_bank.bank = objective.keys[: int(objective.filled)].clone()
            oracle.memory_bank.bank_ptr.zero_()
            values.append(oracle(z[:, own], t[:, other].detach()))
        return (values[0] + values[1]) / 2

    return both


def cosines(online: Tensor, other: Tensor) -> Tensor:
    """As in lightly's examples of BYOL and SimSiam: both directions averaged, targets detached."""
    oracle = loss.NegativeCosineSimilarity()
    found: Tensor = (oracle(online[:, 0], other[:, 1].detach()) + oracle(online[:, 1], other[:, 0].detach())) / 2
    return found


def barlow(weight: float) -> Oracle:
    oracle = loss.BarlowTwinsLoss(weight)
    return lambda z, p, t: oracle(z[:, 0], z[:, 1])


def vicreg(invariance: float, variance: float, covariance: float) -> Oracle:
    # lightly follows the authors' code, which averages the variance terms of the two views; equation 6 adds them.
    oracle = loss.VICRegLoss(invariance, 2 * variance, covariance)
    return lambda z, p, t: oracle(z[:, 0], z[:, 1])


def cases(dim: int) -> dict[str, list[tuple[Objective, Oracle]]]:
    queues = [filled(0.2, dim), filled(0.07, dim)]
    return {
        "simclr": [(SimCLR(), simclr(0.5)), (SimCLR(0.07), simclr(0.07)), (SimCLR(2.0), simclr(2.0))],
        "moco": [(queue, moco(queue.temperature, queue)) for queue in queues],
        # Squared distances of unit vectors, 2 − 2 cos, added over the directions where lightly averages cosines.
        "byol": [(BYOL(), lambda z, p, t: 4 + 4 * cosines(p, t))],
        "simsiam": [(SimSiam(), lambda z, p, t: cosines(p, z))],
        "barlow": [(BarlowTwins(), barlow(0.0051)), (BarlowTwins(0.7), barlow(0.7))],
        "vicreg": [
            (VICReg(), vicreg(25, 25, 1)),
            (VICReg(3, 5, 7), vicreg(3, 5, 7)),
            (VICReg(0, 1, 0), vicreg(0, 1, 0)),
        ],
    }


def outcome(value: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """A loss, its gradients, and the gradient of a sum that depends on the gradients: objectives are differentiated twice."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    found = value(*leaves)
    first = torch.autograd.grad(found, leaves, create_graph=True, materialize_grads=True)
    weighted = sum(((g * torch.linspace(-1, 1, g.numel()).view_as(g)).sum() for g in first), found * 0)
    second = torch.autograd.grad(weighted, leaves, allow_unused=True, materialize_grads=True)
    return [found.detach(), *(g.detach() for g in first), *second]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", SHARED)
def test_objective_is_that_of_lightly(name: str, shape: tuple[int, int, int], seed_offset: int) -> None:
    for number, (objective, oracle) in enumerate(cases(shape[-1])[name]):
        inputs = draw(*shape, seed_offset + number)

        def expected(*tensors: Tensor, oracle: Oracle = oracle) -> Tensor:
            return torch.stack([oracle(*task) for task in zip(*tensors, strict=True)]).mean()

        ours = outcome(lambda *tensors, made=objective: made(Embeddings(*tensors)), inputs)
        theirs = outcome(expected, inputs)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_queue_is_lightlys_memory_bank() -> None:
    """Where the steps divide the queue: lightly drops the rest of a step that meets the end, ours goes on at the start."""
    objective = MoCo(QUEUE)
    bank = loss.NTXentLoss(0.2, memory_bank_size=(QUEUE, 5)).memory_bank
    for step in range(7):
        keys = draw(1, 4, 5, step)[0].float()
        objective.update(Embeddings(keys, targets=keys))
        bank(nn.functional.normalize(keys.flatten(0, 2), dim=-1), update=True)
        if int(objective.filled) == QUEUE:
            torch.testing.assert_close(objective.keys, bank.bank)
            assert int(objective.pointer) == int(bank.bank_ptr)
    assert int(objective.filled) == QUEUE


HEADS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "byol projector": (lambda: Projector(6, 9, 4), lambda: heads.BYOLProjectionHead(6, 9, 4)),
    "barlow projector": (lambda: Projector(6, 9, 4, layers=3), lambda: heads.BarlowTwinsProjectionHead(6, 9, 4)),
    "simsiam projector": (
        lambda: Projector(6, 9, 4, layers=3, norm_out=True),
        lambda: heads.SimSiamProjectionHead(6, 9, 4),
    ),
    "byol predictor": (lambda: Predictor(4, 9), lambda: heads.BYOLPredictionHead(4, 9, 4)),
    "simsiam predictor": (lambda: Predictor(4, 9), lambda: heads.SimSiamPredictionHead(4, 9, 4)),
}


@pytest.mark.parametrize("name", HEADS)
def test_head_is_that_of_lightly(name: str) -> None:
    """Ours normalizes both views of a task together, as lightly's does when it is given both in one batch."""
    ours, theirs = (make().double().train() for make in HEADS[name])
    g = torch.Generator().manual_seed(3)
    # The last norm of SimSiam's projector is without weights in lightly; ours starts at ones and zeros.
    theirs_parameters = list(theirs.parameters())
    for own, other in zip(ours.parameters(), theirs_parameters, strict=False):
        with torch.no_grad():
            own.copy_(torch.randn(own.shape, generator=g, dtype=own.dtype))
            other.copy_(own)
    assert len(theirs_parameters) == len(list(ours.parameters())) - 2 * (name == "simsiam projector")
    x = torch.randn(3, 8, 2, 4 if "predictor" in name else 6, generator=g, dtype=torch.float64)
    out = ours(x)
    for task in range(len(x)):
        torch.testing.assert_close(out[task].flatten(0, 1), theirs(x[task].flatten(0, 1)), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.996, 1.0])
def test_momentum_branch_moves_as_lightlys(momentum: float) -> None:
    torch.manual_seed(0)
    learner = SelfSupervised(
        Conv4(1, 4), BYOL(), projector=Projector(4, 8, 4), predictor=Predictor(4, 8), momentum=momentum
    ).double()
    online: Any = nn.ModuleList([learner.encoder, learner.projector])
    target: Any = nn.ModuleList([learner.target_encoder, learner.target_projector])
    with torch.no_grad():
        for p in online.parameters():
            p.add_(torch.randn_like(p))
    expected = copy.deepcopy(target)
    update_momentum(online, expected, momentum)
    learner.end_step()
    for own, other in zip(target.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-14)
