"""Options of a learner are found out from it, and are believed only if they make one that predicts the same."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
import torchopt
from torch import nn

from metatc2.calibration import calibrated, named_calibrator
from metatc2.errors import InputError
from metatc2.inner import FirstOrder, InnerLoop, inner_optimizer
from metatc2.learners import LEARNERS, MAML, LabeledLearner, LogisticHead, ProtoNet, Tasks, build_labeled, iMAML
from metatc2.learners.learner_settings import learner_settings
from metatc2.learners.registry import learner_options
from metatc2.models.heads import Classifier

IMAGES = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
pytestmark = pytest.mark.filterwarnings("ignore:Implicit. the inner loop stopped short")


def encoder() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.BatchNorm1d(6), nn.ReLU())


def sgd(lr: float = 0.1, steps: int = 2, **more: Any) -> InnerLoop:
    return InnerLoop(inner_optimizer("sgd", lr), steps, **more)


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_by_its_name(name: str) -> None:
    with torch.random.fork_rng():
        learner = build_labeled(learner_options(name)(), encoder(), Tasks(6, 3, torch.arange(4)))
    assert learner_settings(learner, IMAGES, classes=4)[0] == f'learner.name="{name}"'


@pytest.mark.parametrize(
    ("made", "settings"),
    [
        (
            lambda: MAML(Classifier(encoder(), 6, 3), sgd(0.3, 1, adjoint=FirstOrder())),
            {"inner_lr=0.3", "inner_steps=1"},
        ),
        (
            lambda: MAML(
                Classifier(encoder(), 6, 3),
                InnerLoop(inner_optimizer("momentum", 0.02, clip=0.5), 3),
                test_steps=5,
                adapt="head.*",
                norm="support",
            ),
            {
                'inner_optimizer="momentum"',
                "inner_lr=0.02",
                "inner_clip=0.5",
                "test_steps=5",
                'norm="support"',
                'adapt=["head.weight", "head.bias"]',
            },
        ),
        (
            lambda: MAML(Classifier(encoder(), 6, 1, shared=True), InnerLoop(torchopt.sgd(0.05), 3)),
            {"shared_head=true"},
        ),
        (lambda: iMAML(Classifier(encoder(), 6, 3), sgd(0.05, 10), strength=3.0), {"strength=3.0"}),
        (lambda: LogisticHead(encoder(), l2=0.1, test_steps=7), {"l2=0.1", "test_steps=7"}),
        (lambda: ProtoNet(encoder(), distance="cosine"), {'distance="cosine"', "temperature=10.0"}),
    ],
    ids=["rate", "many", "shared", "imaml", "logistic", "protonet"],
)
def test_what_differs_from_the_defaults_is_told(made: Any, settings: set[str]) -> None:
    learner: LabeledLearner = made()
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    state = torch.get_rng_state()
    first, *told = learner_settings(learner, IMAGES, classes=0)
    assert first.startswith("learner.name=")
    assert {each.removeprefix("learner.") for each in told} - {"episode.way=3"} == settings
    assert ("episode.way=3" in told) == (isinstance(learner, MAML) and "shared_head=true" not in settings)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.state_dict().items())


def other_criterion() -> LabeledLearner:
    learner = MAML(Classifier(encoder(), 6, 3), sgd(), criterion=lambda scores, y: scores[:, 0].mean())
    return learner


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_a_module_that_torch_does_not_copy_by_itself() -> None:
    net = nn.Sequential(nn.Flatten(), nn.utils.weight_norm(nn.Linear(16, 6)))
    assert learner_settings(ProtoNet(net), IMAGES, classes=0) == ('learner.name="protonet"',)


def locked() -> LabeledLearner:
    net = encoder()
    net.lock = threading.Lock()  # type: ignore[assignment]
    return ProtoNet(net)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: MAML(nn.Sequential(nn.Flatten(), nn.Linear(16, 5)), sgd()), "has other parameters"),
        (lambda: ProtoNet(calibrated(encoder(), named_calibrator(6, 2))), "its encoder is calibrated"),
        (lambda: MAML(Classifier(encoder(), 6, 3), InnerLoop(torchopt.sgd(0.1, momentum=0.5), 2)), "no name"),
        (lambda: MAML(Classifier(encoder(), 6, 3), InnerLoop(torchopt.sgd(0.1, weight_decay=1e-3), 2)), "no name"),
        (locked, r"it cannot be copied \(cannot pickle"),
        (other_criterion, "of the same weights predicts otherwise"),
    ],
    ids=["head", "calibrated", "optimizer", "decay", "lock", "criterion"],
)
def test_what_cannot_be_made_again_is_refused(made: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        learner_settings(made(), IMAGES, classes=0)
