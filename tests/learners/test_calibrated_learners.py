"""TC² as a plug-in inside learners on labeled tasks: it takes part, its gradient is exact, and nothing leaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchopt
from torch import nn
from torch.func import functional_call

from metatc2.calibration import calibrated, named_calibrator
from metatc2.errors import InputError
from metatc2.inner import InnerLoop, Recompute
from metatc2.learners import ANIL, MAML, LabeledLearner, ProtoNet
from metatc2.models.heads import Classifier

from ..covering import some
from .episodes import assert_exact_gradient, flat_gradient, vectors

LOOP = InnerLoop(torchopt.sgd(0.3), steps=2)


def encoder(hook: InnerLoop | None) -> nn.Module:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(5, 6), nn.Tanh())
    generator = torch.Generator().manual_seed(0)
    return calibrated(body, named_calibrator(6, 2, hidden=3, form="add", generator=generator), inner=hook)


LEARNERS: dict[str, Callable[..., LabeledLearner]] = {
    "protonet": lambda network, **options: ProtoNet(network, **options),
    "maml": lambda network, **options: MAML(Classifier(network, 6, 3), LOOP, **options),
    "anil": lambda network, **options: ANIL(Classifier(network, 6, 3), LOOP, **options),
}


def build(name: str, hook: InnerLoop | None = LOOP, **options: Any) -> LabeledLearner:
    torch.manual_seed(1)
    return LEARNERS[name](encoder(hook), **options).double()


@pytest.mark.parametrize("name", some(LEARNERS, ("protonet", "maml")))
def test_meta_gradient_by_finite_differences(name: str) -> None:
    """For the head and the calibrator; L_tc2 itself does not reach the encoder, so its parameters are judged without it."""
    for weight, calibrator in ((1.0, True), (0.0, False)):
        learner, episode = build(name, calibration_weight=weight), vectors(tasks=2)
        for parameter, p in learner.named_parameters():
            p.requires_grad_(("calibrator" in parameter) is calibrator or "head" in parameter)
        if name != "protonet":
            # Parameters that do not require a gradient do not adapt either.
            learner = type(learner)(learner.network, LOOP, calibration_weight=weight)  # type: ignore[call-arg]
        assert_exact_gradient(learner, episode, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", some(LEARNERS, ("protonet", "maml")))
def test_weight_and_hook_take_part(name: str) -> None:
    episode = vectors(tasks=2)
    losses = [float(build(name, calibration_weight=w)(episode).loss.detach()) for w in (0.0, 1.0, 2.0)]
    assert losses[1] - losses[0] > 1e-2
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0])
    idle = float(build(name, hook=None, calibration_weight=0.0)(episode).loss.detach())
    assert abs(idle - losses[0]) > 1e-4


@pytest.mark.parametrize("name", some(LEARNERS, ("protonet", "maml")))
def test_tasks_at_once_give_the_same_gradient(name: str) -> None:
    a, b = (build(name, vmap_chunk=n) for n in (1, 2))
    torch.testing.assert_close(a(vectors()).loss.detach(), b(vectors()).loss.detach())
    torch.testing.assert_close(flat_gradient(a, vectors()), flat_gradient(b, vectors()), rtol=1e-8, atol=1e-11)


def test_protonet_restated() -> None:
    """By hand: the calibrator adapted on the support, then class means of calibrated features."""
    learner, episode = build("protonet", calibration_weight=0.5), vectors(tasks=1)
    module: Any = learner.network
    (x, y), (query_x, query_y) = ([t[0] for t in side.labeled()] for side in (episode.support, episode.query))
    adapted = module.adapt(x)
    support = functional_call(module, adapted, (x,))
    queries = functional_call(module, adapted, (query_x,))
    own = module.calibration_loss()
    means = torch.stack([support[y == c].mean(0) for c in range(3)])
    scores = -torch.cdist(queries, means).square()
    expected = nn.functional.cross_entropy(scores, query_y) + 0.5 * own
    torch.testing.assert_close(learner(episode).loss, expected, check_dtype=False)


def test_averages_move_once_a_step_and_prediction_uses_them() -> None:
    learner, episode = build("protonet"), vectors()
    before = learner.network.calibrator.average_factors.clone()  # type: ignore[union-attr]
    learner(episode).loss.backward()
    assert torch.equal(learner.network.calibrator.average_factors, before)  # type: ignore[union-attr]
    learner.end_step()
    assert not torch.equal(learner.network.calibrator.average_factors, before)  # type: ignore[union-attr]
    x, y = (t[0] for t in episode.support.labeled())
    learner.eval()
    together, alone = learner.predict(x, y, x), torch.cat([learner.predict(x, y, row[None]) for row in x])
    torch.testing.assert_close(together, alone)


def test_what_is_exported_is_the_bare_encoder() -> None:
    learner = build("maml")
    exported = learner.exports()["encoder"]
    assert exported is learner.network.encoder.encoder  # type: ignore[union-attr]


def test_hook_by_recompute() -> None:
    a = build("maml", hook=LOOP)
    b = build("maml", hook=InnerLoop(torchopt.sgd(0.3), 2, Recompute()))
    torch.testing.assert_close(flat_gradient(a, vectors()), flat_gradient(b, vectors()), rtol=1e-10, atol=1e-12)


def test_everything_frozen() -> None:
    with pytest.raises(InputError, match="ProtoNet: all parameters are frozen"):
        ProtoNet(nn.Linear(5, 2).requires_grad_(False).double())(vectors())
