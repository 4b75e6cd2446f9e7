"""What a person may get wrong about learners is one sentence, and nothing is silently something else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchopt
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from metatc2.calibration import calibrated, named_calibrator
from metatc2.episodes import Episode, Samples, SinusoidTasks
from metatc2.errors import InputError
from metatc2.inner import InnerLoop, Recompute, Unroll
from metatc2.learners import (
    ANIL,
    BOIL,
    MAML,
    LinearProbe,
    MAMLPlusPlus,
    MetaSGD,
    ProtoNet,
    Reptile,
    SelfSupervised,
    learner_options,
)
from metatc2.learners.imaml import iMAML
from metatc2.models import Conv4, Projector
from metatc2.models.heads import Classifier
from metatc2.objectives import SimCLR


def inner(steps: int = 2) -> InnerLoop:
    return InnerLoop(torchopt.sgd(0.1), steps=steps)


def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.Linear(4, 6), nn.Tanh()), dim=6, way=3)


def episode(tasks: int = 2) -> Episode:
    g = torch.Generator().manual_seed(1)
    labels = torch.arange(6).remainder(3).expand(tasks, 6)

    def side() -> Samples:
        return Samples(torch.randn(tasks, 6, 1, 4, generator=g), labels, None, torch.arange(6).expand(tasks, 6))

    return Episode(side(), side())


@pytest.mark.parametrize("kind", [MAML, MetaSGD, MAMLPlusPlus, iMAML, ANIL, BOIL, Reptile])
def test_a_frozen_learner_still_adapts(kind: type[MAML]) -> None:
    learner = kind(classifier(), inner()).eval()
    x, y = torch.randn(6, 4), torch.arange(6).remainder(3)
    before = learner.predict(x, y, x)
    assert torch.equal(learner.requires_grad_(False).predict(x, y, x), before)


def test_a_part_of_the_head_may_be_frozen() -> None:
    x, y = torch.randn(6, 4), torch.arange(6).remainder(3)
    network = classifier()
    network.head.weight.requires_grad_(False)
    for learner in (ANIL(network, inner()), MAML(network, inner())):
        learner.predict(x, y, x)
        learner(episode()).loss.backward()
        assert network.head.weight.grad is None
        assert network.head.bias.grad is not None


def test_calibration_reaches_reptile_and_the_baseline() -> None:
    def gradient(make: Any, weight: float) -> Tensor:
        torch.manual_seed(0)
        module = calibrated(
            nn.Linear(4, 6), named_calibrator(6, 2, generator=torch.Generator().manual_seed(0)), inner=inner()
        )
        learner = make(module, weight)
        learner(episode()).loss.backward()
        return torch.cat([p.grad.flatten() for p in module.calibrator.parameters() if p.grad is not None])

    for make in (
        lambda m, w: Reptile(Classifier(m, dim=6, way=3), inner(), calibration_weight=w),
        lambda m, w: LinearProbe(m, 6, torch.arange(6).remainder(3), calibration_weight=w),
    ):
        none, some, twice = (gradient(make, w) for w in (0.0, 1.0, 2.0))
        assert (some - none).abs().max() > 1e-4
        torch.testing.assert_close(twice - none, 2 * (some - none), rtol=1e-3, atol=1e-6)


def test_frozen_statistics_stay_in_the_baseline() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))
    learner = LinearProbe(network, 6, torch.arange(6).remainder(3), norm="frozen")
    learner(episode()).loss.backward()
    assert torch.equal(network[1].running_mean, torch.zeros(6))


def test_a_counter_of_ones_own_counts_in_what_is_done_again() -> None:
    def loss(p: dict[str, Tensor]) -> Tensor:
        k = torch.zeros((), dtype=torch.long)
        k.add_(2)
        return (p["w"] ** k).sum()

    found = []
    for adjoint in (Unroll(), Recompute()):
        start = torch.tensor([1.0, 2.0], requires_grad=True)
        end = InnerLoop(torchopt.sgd(0.1), steps=3, adjoint=adjoint)(loss, {"w": start})["w"]
        found.append(torch.autograd.grad(end.square().sum(), start)[0])
    torch.testing.assert_close(*found)


def test_regression_is_not_broadcast_and_not_classified() -> None:
    net = nn.Linear(1, 1)
    with pytest.raises(InputError, match="criterion is cross-entropy; pass criterion="):
        MAML(net, inner())(next(iter(SinusoidTasks(shot=5, query=5, tasks=2, seed=0))))
    learner = MAML(nn.Linear(1, 10), inner(), criterion=mse_loss)
    with pytest.raises(InputError, match=r"predictions are \(5, 10\) and targets \(5,\)"):
        learner(next(iter(SinusoidTasks(shot=5, query=5, tasks=2, seed=0))))


def test_a_loss_that_depends_on_nothing_is_found_under_vmap_too() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.used(x)
            return out

    for vmap_chunk in (1, 2):
        with pytest.raises(InputError, match="task 0 of the episode: inner loss does not depend"):
            MAML(Two(), inner(), adapt="unused.*", vmap_chunk=vmap_chunk)(episode())


@pytest.mark.parametrize("labels", [[3, 7], [-1, 0], [0, 2]])
def test_labels_of_a_prediction_are_looked_at(labels: list[int]) -> None:
    x = torch.randn(2, 4)
    for learner in (ProtoNet(nn.Linear(4, 3)), MAML(classifier(), inner())):
        with pytest.raises(InputError, match="predict: support labels must be task-local"):
            learner.predict(x, torch.tensor(labels), x)


def test_labels_may_be_any_whole_numbers() -> None:
    x, y = torch.randn(3, 4), torch.arange(3, dtype=torch.int32)
    assert MAML(classifier(), inner()).predict(x, y, x).shape == (3, 3)


def test_only_a_classifier_has_its_encoder_taken_out() -> None:
    class Necked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.neck = nn.Linear(4, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.neck(self.encoder(x))
            return out

    network = Necked()
    assert ProtoNet(network).exports()["encoder"] is network
    whole = classifier()
    assert MAML(whole, inner()).exports()["encoder"] is whole.encoder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InnerLoop(torch.optim.SGD([torch.zeros(1)], 0.1), 1), "torchopt transformation such as torchopt.sgd"),
        (lambda: InnerLoop(torchopt.sgd, 1), "torchopt transformation .* got sgd"),
        (lambda: InnerLoop(torchopt.sgd(0.1), 1.5), "steps must be a whole number ≥ 0, got 1.5"),
        (lambda: InnerLoop(torchopt.sgd(0.1), 1, Unroll), "adjoint must be one such as .* got Unroll"),
        (lambda: InnerLoop(torchopt.sgd(0.1), 1, "unroll"), "adjoint must be one such as"),
        (lambda: inner()(lambda p: p[0].sum(), [torch.zeros(1)]), "params must be a dictionary of tensors, got list"),
        (lambda: MAML(nn.Linear(4, 3), torchopt.sgd(0.1)), "MAML: inner must be an InnerLoop"),
        (lambda: ANIL(classifier(), inner(), adapt="*"), "ANIL: what adapts is what makes it ANIL"),
        (lambda: BOIL(classifier(), inner(), adapt="*"), "BOIL: what adapts is what makes it BOIL"),
        (lambda: BOIL(nn.Sequential(nn.Linear(4, 3)), inner()), "BOIL: network must be a Classifier"),
        (lambda: learner_options("protonet")(inner_clip=1.0), "unknown key 'learner.inner_clip'"),
        (lambda: learner_options("r2d2")(shared_head=True), "unknown key 'learner.shared_head'"),
        (lambda: learner_options("reptile")(adjoint="first-order"), "unknown key .*adjoint"),
    ],
)  # fmt: skip
def test_wrong_arguments(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_inference_mode_and_a_single_query() -> None:
    x, y = torch.randn(6, 4), torch.arange(6).remainder(3)
    learner = MAML(classifier(), inner())
    with torch.inference_mode(), pytest.raises(InputError, match="use torch.no_grad"):
        learner.predict(x, y, x)
    network = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    with pytest.raises(InputError, match="more than one value a channel"):
        MAML(network, inner()).predict(x, y, x[:1])


def test_feature_maps_are_no_rows() -> None:
    """As of the backbones of lightly's examples, which flatten what comes out of them."""
    backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1))
    x = torch.rand(4, 1, 8, 8)
    learner = SelfSupervised(backbone, SimCLR(), projector=Projector(4, 8, 4))
    with pytest.raises(InputError, match=r"got \(8, 4, 1, 1\); end it with a pooling or nn.Flatten"):
        learner(Episode.of_views(x, x, tasks=2))
    with pytest.raises(InputError, match=r"SelfSupervised takes an Episode, got a Samples; make one with Episode.of"):
        learner(Episode.of_views(x, x, tasks=2).support)


def test_channels_that_the_encoder_does_not_take_are_named() -> None:
    learner = SelfSupervised(Conv4(channels=3, width=4), SimCLR(), projector=Projector(4, 8, 4))
    x = torch.rand(4, 5, 16, 16)
    with pytest.raises(InputError, match="images have 5 channels and the encoder takes 3; make it with channels=5"):
        learner(Episode.of_views(x, x, tasks=2))
