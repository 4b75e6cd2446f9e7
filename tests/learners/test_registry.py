"""Learners by name: each is built, settings reach it, and settings it has no use for are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from metatc2.errors import InputError
from metatc2.inner import FirstOrder, Implicit, Recompute, Unroll
from metatc2.learners import LEARNERS, LabeledLearner, Settings, build_labeled, entry_of
from metatc2.models.conv4 import Conv4

from .episodes import images


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_is_built_and_learns(name: str) -> None:
    torch.manual_seed(0)
    learner = build_labeled(name, Conv4(1, 4), Settings(dim=4, way=3, class_of=torch.arange(3))).double()
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
    learner: Any = build_labeled(name, Conv4(1, 4), Settings(dim=4, way=3))
    assert isinstance(learner.inner.adjoint, kind)


def test_settings_take_the_place_of_defaults() -> None:
    settings = Settings(
        dim=4, way=3, optimizer="adam", lr=0.3, steps=7, test_steps=9, adjoint=Recompute(), adapt=["head.*"]
    )
    learner: Any = build_labeled("maml", Conv4(1, 4), settings)
    assert (learner.train_inner.steps, learner.test_inner.steps) == (7, 9)
    assert isinstance(learner.inner.adjoint, Recompute)
    assert learner.adapted == ("network.head.weight", "network.head.bias")
    head: Any = build_labeled("logistic", nn.Flatten(), Settings(dim=4, steps=3, test_steps=5))
    assert (head.inner.steps, head.test_steps) == (3, 5)
    probe: Any = build_labeled("linear-probe", nn.Flatten(), Settings(dim=4, test_steps=5, class_of=torch.arange(2)))
    assert probe.inner.steps == 5


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("mamml", {}, "unknown learner 'mamml'; did you mean 'maml'"),
        ("protonet", {"steps": 3}, "'protonet' has no use for learner.inner_steps: it has no inner loop"),
        ("anil", {"adapt": ["*"]}, "'anil' has no use for learner.adapt: it makes that choice itself"),
        ("imaml", {"adjoint": Unroll()}, "'imaml' has no use for learner.adjoint: it makes that choice itself"),
        ("fomaml", {"adjoint": Unroll()}, "'fomaml' has no use for learner.adjoint: it makes that choice itself"),
        ("linear-probe", {}, "needs the class of every row"),
    ],
)
def test_what_users_get_wrong(name: str, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        build_labeled(name, Conv4(1, 4), Settings(dim=4, way=3, **settings))
