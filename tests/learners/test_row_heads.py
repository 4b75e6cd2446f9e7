"""Heads that take (N, d) alone, as lightly's do: called task by task they are the library's own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torchopt
from torch import Tensor, nn

from metatc2.calibration import TaskCalibrator, named_calibrator
from metatc2.episodes import Episode
from metatc2.inner import InnerLoop, Recompute, Unroll
from metatc2.learners import TC2, Learner, SelfSupervised, SharedTC2
from metatc2.learners.row_heads import task_by_task
from metatc2.models.heads import Predictor, Projector
from metatc2.objectives import BYOL, Custom, SimCLR

heads = pytest.importorskip("lightly.models.modules.heads")


def pair() -> tuple[nn.Module, Projector]:
    """lightly's head and ours with its weights."""
    theirs, ours = heads.SimCLRProjectionHead(6, 8, 4).double(), Projector(6, 8, 4, norm_out=True).double()
    with torch.no_grad():
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            one.copy_(other.add_(0.1 * torch.randn_like(other)))
    return theirs, ours


def views() -> Episode:
    return Episode.of_views(*torch.rand(2, 12, 3, dtype=torch.float64), tasks=3)


def learner(name: str, projector: nn.Module, adjoint: Any = None) -> Learner:
    torch.manual_seed(1)
    encoder = nn.Sequential(nn.Linear(3, 6), nn.Tanh())
    inner = InnerLoop(torchopt.sgd(1.0), steps=2, adjoint=adjoint or Unroll())
    if name == "tc2":
        return TC2(encoder, SimCLR(), projector=projector, calibrator=TaskCalibrator(6, 4), inner=inner).double()
    if name == "shared":
        own = named_calibrator(6, 2)
        return SharedTC2(encoder, SimCLR(), projector=projector, calibrator=own, inner=inner, gamma=1.0).double()
    return SelfSupervised(encoder, SimCLR(), projector=projector, per_task=name == "tasks").double()


@pytest.mark.parametrize(
    ("name", "adjoint"),
    [("batch", None), ("tasks", None), ("tc2", None), ("tc2", Recompute()), ("shared", None)],
)
def test_lightlys_head_gives_the_loss_and_gradients_of_ours(name: str, adjoint: Any) -> None:
    theirs, ours = pair()
    one, other, episode = learner(name, theirs, adjoint), learner(name, ours, adjoint), views()
    for _ in range(2):
        losses = [each(episode).loss for each in (one, other)]
        torch.testing.assert_close(*losses)
        for loss, each in zip(losses, (one, other), strict=True):
            each.zero_grad()
            loss.backward()
            each.end_step()
        for mine, own in zip(one.parameters(), other.parameters(), strict=True):
            assert (mine.grad is None) == (own.grad is None)
            torch.testing.assert_close(mine.grad, own.grad)  # None is close to None


def test_a_momentum_branch_and_a_predictor_of_lightlys() -> None:
    encoder, theirs = nn.Linear(3, 6), heads.BYOLProjectionHead(6, 8, 4)
    predictor, episode = heads.BYOLPredictionHead(4, 8, 4), views().map(torch.Tensor.float)
    one = SelfSupervised(encoder, BYOL(), projector=theirs, predictor=predictor, per_task=True)
    projector, own = Projector(6, 8, 4), Predictor(4, 8)
    for mine, other in ((projector, theirs), (own, predictor)):
        with torch.no_grad():
            for p, q in zip(mine.parameters(), other.parameters(), strict=True):
                p.copy_(q)
    other = SelfSupervised(copy.deepcopy(encoder), BYOL(), projector=projector, predictor=own, per_task=True)
    torch.testing.assert_close(one(episode).loss, other(episode).loss)


def test_no_task_depends_on_another() -> None:
    theirs, _ = pair()
    z = torch.randn(3, 4, 2, 6, dtype=torch.float64)
    changed = torch.cat([z[:1], z[1:] + 5 * torch.randn_like(z[1:])])
    torch.testing.assert_close(task_by_task(theirs, z)[0], task_by_task(theirs, changed)[0])


def test_running_statistics_normalize_in_eval_mode() -> None:
    theirs, _ = pair()
    z = torch.randn(3, 4, 2, 6, dtype=torch.float64)
    task_by_task(theirs, z)
    theirs.eval()
    torch.testing.assert_close(task_by_task(theirs, z), theirs(z.flatten(0, 2)).view(3, 4, 2, 4))


def test_a_head_that_takes_four_axes_is_given_them() -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.BatchNorm1d(6)

        def forward(self, z: Tensor) -> Tensor:
            out: Tensor = self.head(z.flatten(0, 2)).view_as(z)
            return out

    z, head = torch.randn(3, 4, 2, 6), Rows()
    torch.testing.assert_close(task_by_task(head, z), nn.BatchNorm1d(6)(z.flatten(0, 2)).view_as(z))


def test_errors_of_a_head_are_its_own() -> None:
    class Picky(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            raise ValueError("not today")

    with pytest.raises(ValueError, match="not today"):
        SelfSupervised(nn.Linear(3, 6).double(), SimCLR(), projector=Picky())(views())


def test_lightlys_head_with_lightlys_loss() -> None:
    loss = pytest.importorskip("lightly.loss").NTXentLoss(temperature=0.5)
    model = TC2(
        nn.Linear(3, 6),
        Custom(loss),
        projector=heads.SimCLRProjectionHead(6, 8, 4),
        calibrator=TaskCalibrator(6, 4),
        inner=InnerLoop(torchopt.sgd(1.0), steps=2),
    )
    outcome = model(views().map(torch.Tensor.float))
    outcome.loss.backward()
    assert model.calibrator.gates.grad is not None
    assert model.calibrator.gates.grad.abs().sum() > 0


def test_a_head_with_group_normalization_takes_rows_too() -> None:
    head, z = nn.Sequential(nn.Linear(6, 8), nn.GroupNorm(4, 8), nn.Linear(8, 3)), torch.randn(3, 5, 2, 6)
    torch.testing.assert_close(task_by_task(head, z), head(z.flatten(0, 2)).view(3, 5, 2, 3))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        task_by_task(head, torch.randn(3, 5, 2, 7))  # what is wrong in itself is still said
