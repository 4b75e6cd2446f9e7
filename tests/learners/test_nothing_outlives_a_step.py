"""As many tensors are alive after six steps as after three, for every learner and every adjoint."""

from __future__ import annotations

import gc
import warnings
from typing import Any

import pytest
import torch
import torchopt
from torch import Tensor, nn

from metatc2.calibration import TaskCalibrator, calibrated, named_calibrator
from metatc2.episodes import Episode, Samples
from metatc2.inner import (
    Adjoint,
    EvolutionStrategies,
    FirstOrder,
    Implicit,
    InnerLoop,
    Recompute,
    Truncated,
    Unroll,
    inner_optimizer,
)
from metatc2.learners import (
    LEARNERS,
    MAML,
    TC2,
    GradientSurgery,
    Learner,
    LookAheadTC2,
    SelfSupervised,
    SharedTC2,
    Tasks,
    build_labeled,
    learner_options,
)
from metatc2.learners.aggregators.registry import AGGREGATORS
from metatc2.models.heads import Classifier, Predictor, Projector
from metatc2.objectives import build_objective
from metatc2.objectives.regularizers import Isotropy

from ..covering import covered
from ..two_views import TWO_VIEWS
from .episodes import vectors

ADJOINTS: dict[str, Adjoint] = {
    "unroll": Unroll(),
    "recompute": Recompute(),
    "truncated": Truncated(1),
    "first order": FirstOrder(),
    "implicit": Implicit(proximal=2.0, iterations=2, warn_above=float("inf")),
    "evolution": EvolutionStrategies(samples=1),
}
WITH_TC2 = ("unroll", "recompute", "truncated", "first order")


@pytest.fixture(scope="module", autouse=True)
def only_what_is_made_here() -> None:
    """What is alive before is left out of every count, which takes long enough as it is; see `tests/conftest.py`."""
    gc.collect()
    gc.freeze()


def body() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh())


def alive() -> int:
    gc.collect()
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


def grown(learner: Learner, episode: Any) -> int:
    """Tensors alive after six steps, less those after three."""
    optimizer = torch.optim.Adam([p for p in learner.parameters() if p.requires_grad], lr=1e-4)
    counts = {}
    for step in range(1, 7):
        learner.begin_step(step - 1, 6)
        optimizer.zero_grad(set_to_none=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of minima that these few steps do not reach
            learner(episode).loss.backward()
        optimizer.step()
        learner.end_step()
        if step in (3, 6):
            counts[step] = alive()
    return counts[6] - counts[3]


@pytest.mark.parametrize("name", LEARNERS)
def test_labeled_learners(name: str) -> None:
    torch.manual_seed(0)
    tasks = Tasks(dim=4, way=3, class_of=torch.arange(3))
    options = {"inner_steps": 2} if "inner_steps" in learner_options(name).model_fields else {}
    learner = build_labeled(learner_options(name)(**options), body(), tasks).double()
    episode = vectors(tasks=1)
    if name == "linear-probe":  # classes are found by the rows that samples come from
        own = [Samples(s.images, s.labels, None, s.labels) for s in (episode.support, episode.query)]
        episode = Episode(*own)
    assert grown(learner, episode) == 0


@pytest.mark.parametrize(("name", "optimizer"), covered(ADJOINTS, ("sgd", "adam"), strength=1))
def test_adjoints(name: str, optimizer: str) -> None:
    torch.manual_seed(0)
    inner = InnerLoop(inner_optimizer(optimizer, 0.01, clip=1.0), steps=2, adjoint=ADJOINTS[name])
    assert grown(MAML(Classifier(body(), 4, 3), inner).double(), vectors(tasks=1)) == 0


def pairs() -> Episode:
    def side(n: int) -> Samples:
        return Samples(torch.randn(2, n, 2, 5), None, None, torch.zeros(2, n, dtype=torch.int64))

    return Episode(side(4), side(3))


def ssl(kind: type[SelfSupervised], objective: str, **options: Any) -> Learner:
    made = build_objective(objective)
    predictor = Predictor(6, 4) if made.predictor else None
    return kind(body(), made, projector=Projector(4, 6, 6), predictor=predictor, regularizer=Isotropy(), **options)


@pytest.mark.parametrize("objective", TWO_VIEWS)
def test_self_supervised_learners(objective: str) -> None:
    torch.manual_seed(0)
    assert grown(ssl(SelfSupervised, objective), pairs()) == 0


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "nash-mtl")) for name in AGGREGATORS]
)
def test_gradient_surgery(name: str) -> None:
    pytest.importorskip("torchjd")
    torch.manual_seed(0)
    assert grown(ssl(GradientSurgery, "byol", aggregator=name), pairs()) == 0


@pytest.mark.parametrize(("kind", "adjoint"), covered((SharedTC2, LookAheadTC2), WITH_TC2, strength=1))
def test_tc2(kind: type[SharedTC2], adjoint: str) -> None:
    torch.manual_seed(0)
    inner = InnerLoop(torchopt.sgd(0.01), steps=2, adjoint=ADJOINTS[adjoint])
    learner = ssl(kind, "byol", calibrator=named_calibrator(4, 2), inner=inner, gamma=0.5)
    assert grown(learner, pairs()) == 0


@pytest.mark.parametrize(("weights", "adjoint"), covered(("task", "sample"), WITH_TC2, strength=1))
def test_tc2_whose_tasks_adapt(weights: Any, adjoint: str) -> None:
    torch.manual_seed(0)
    inner = InnerLoop(torchopt.sgd(1.0), steps=2, adjoint=ADJOINTS[adjoint])
    learner = ssl(TC2, "byol", calibrator=TaskCalibrator(4, 2, weights=weights), inner=inner, outer_on="others")
    assert grown(learner, pairs()) == 0


@pytest.mark.parametrize("adjoint", ["unroll", "recompute"])
def test_calibrated_encoders(adjoint: str) -> None:
    torch.manual_seed(0)
    inner = InnerLoop(torchopt.sgd(0.01), steps=2, adjoint=ADJOINTS[adjoint])
    encoder = calibrated(body(), named_calibrator(4, 2), inner=inner)
    learner = MAML(Classifier(encoder, 4, 3), InnerLoop(torchopt.sgd(0.01), steps=2)).double()
    assert grown(learner, vectors(tasks=1)) == 0


def test_the_count_sees_a_leak() -> None:
    kept = []

    class Hoards(SelfSupervised):
        def forward(self, episode: Episode) -> Any:
            outcome = super().forward(episode)
            kept.append(outcome.loss)
            return outcome

    assert grown(ssl(Hoards, "simclr"), pairs()) >= 3
