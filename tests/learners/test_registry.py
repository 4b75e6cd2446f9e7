"""Learners by name: each is built, settings reach it, and settings it has no use for are refused."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import nn

from metatc2.errors import InputError
from metatc2.inner import FirstOrder, Implicit, Recompute, Truncated, Unroll
from metatc2.learners import LEARNERS, LabeledLearner, Tasks, build_labeled, entry_of, learner_options
from metatc2.models.conv4 import Conv4

from .episodes import images


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_is_built_and_learns(name: str) -> None:
    torch.manual_seed(0)
    learner = build_labeled(
        learner_options(name)(), Conv4(1, 4), Tasks(dim=4, way=3, class_of=torch.arange(3))
    ).double()
    assert isinstance(learner, LabeledLearner)
    assert entry_of(name).summary
    assert "20" in entry_of(name).source
    x, y = (t[0] for t in images().support.labeled())
    assert learner.predict(x, y, x).shape == (6, 3)
    if name not in ("linear-probe", "imaml"):  # one needs a store; the other warns when it is far from its minimum
        learner(images()).loss.backward()
        assert any(p.grad is not None and bool(p.grad.abs().max() > 0) for p in learner.network.parameters())


@pytest.mark.parametrize(
    ("name", "kind"), [("maml", Unroll), ("fomaml", FirstOrder), ("imaml", Implicit), ("logistic", Implicit)]
)
def test_adjoint_by_default(name: str, kind: type) -> None:
    learner: Any = build_labeled(learner_options(name)(), Conv4(1, 4), Tasks(dim=4, way=3))
    assert isinstance(learner.inner.adjoint, kind)


def test_settings_take_the_place_of_defaults() -> None:
    options = {"inner_optimizer": "adam", "inner_lr": 0.3, "inner_steps": 7, "test_steps": 9}
    learner: Any = build_labeled(
        learner_options("maml")(**options, adjoint="recompute", adapt=["head.*"]), Conv4(1, 4), Tasks(dim=4, way=3)
    )
    assert (learner.train_inner.steps, learner.test_inner.steps) == (7, 9)
    assert isinstance(learner.inner.adjoint, Recompute)
    assert learner.adapted == ("network.head.weight", "network.head.bias")
    head: Any = build_labeled(learner_options("logistic")(inner_steps=3, test_steps=5), nn.Flatten(), Tasks(dim=4))
    assert (head.inner.steps, head.test_inner.steps) == (3, 5)
    probe: Any = build_labeled(
        learner_options("linear-probe")(test_steps=5), nn.Flatten(), Tasks(dim=4, class_of=torch.arange(2))
    )
    assert probe.inner.steps == 5


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("mamml", {}, "unknown learner 'mamml'; did you mean 'maml'"),
        ("protonet", {"inner_steps": 3}, "unknown key 'learner.inner_steps'; known: .*temperature"),
        ("anil", {"adapt": ["*"]}, "unknown key 'learner.adapt'"),
        ("imaml", {"adjoint": "unroll"}, "unknown key 'learner.adjoint'"),
        ("fomaml", {"adjoint": "unroll"}, "unknown key 'learner.adjoint'"),
        ("linear-probe", {}, "needs the class of every row"),
    ],
)
def test_what_users_get_wrong(name: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        build_labeled(learner_options(name)(**options), Conv4(1, 4), Tasks(dim=4, way=3))


def test_options_of_its_own_reach_a_learner() -> None:
    cosine: Any = build_labeled(learner_options("protonet")(distance="cosine"), nn.Flatten(), Tasks(dim=4))
    assert (cosine.distance, cosine.temperature) == ("cosine", 10.0)
    rates: Any = build_labeled(learner_options("maml++")(annealing=0.5, rate_lr=0.1), Conv4(1, 4), Tasks(dim=4, way=3))
    assert (rates.annealing, rates.rate_lr) == (0.5, 0.1)
    near: Any = build_labeled(learner_options("imaml")(strength=1.0, iterations=7), Conv4(1, 4), Tasks(dim=4, way=3))
    assert (near.inner.adjoint.proximal, near.inner.adjoint.iterations) == (1.0, 7)
    weak: Any = build_labeled(learner_options("logistic")(l2=0.1, scale=2.0), nn.Flatten(), Tasks(dim=4))
    assert (weak.l2, float(weak.scale.detach())) == (0.1, 2.0)


def test_an_adjoint_brings_its_own_options() -> None:
    learner: Any = build_labeled(
        learner_options("maml")(adjoint={"name": "truncated", "last_steps": 2}), Conv4(1, 4), Tasks(dim=4, way=3)
    )
    assert learner.inner.adjoint == Truncated(2)
    with pytest.raises(InputError, match=r"adjoint\.last_steps"):
        build_labeled(learner_options("maml")(adjoint={"name": "unroll", "last_steps": 2}), Conv4(1, 4), Tasks(dim=4))


@pytest.mark.parametrize("name", LEARNERS)
def test_options_are_copied_and_pickled(name: str) -> None:
    made = learner_options(name)(vmap_chunk=1, freeze=["blocks.0.*"])
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    assert type(again) is type(made)
    assert made.name == name
