"""States of checkpoints that are well formed and cannot be meant: refused when they are taken over, not by a later step."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from metatc2.contrib.learn2learn._rng import GlobalRandomState
from metatc2.episodes.epochs import EpochOrder
from metatc2.episodes.sampler import GroupOrders
from metatc2.learners.base import ParameterGroup
from metatc2.training import TrainerOptions
from metatc2.training.lars import LARS
from metatc2.training.optimizer_state import load_optimizer
from metatc2.training.outer_optimizer import LearningRates

REFUSED = (ValueError, TypeError, LookupError, RuntimeError)  # what a checkpoint's reader turns into one sentence
NAN = float("nan")


def stepped(kind: str) -> Optimizer:
    parameters = [torch.ones(2, 3, requires_grad=True), torch.ones(3, requires_grad=True)]
    made: dict[str, Optimizer] = {
        "adamw": AdamW(parameters, lr=0.1, weight_decay=0.1),
        "sgd": SGD(parameters, lr=0.1, momentum=0.9),
        "lars": LARS(parameters, lr=0.1, momentum=0.9),
    }
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    made[kind].step()
    return made[kind]


@pytest.mark.parametrize("kind", ["adamw", "sgd", "lars"])
def test_its_own_state_is_taken_over(kind: str) -> None:
    one, other = stepped(kind), stepped(kind)
    one.step()
    saved = copy.deepcopy(one.state_dict())
    load_optimizer(other, saved)
    assert str(other.state_dict()) == str(one.state_dict())
    other.step()


def test_how_it_computes_is_for_the_machine() -> None:
    one = stepped("adamw")
    saved = one.state_dict()
    saved["param_groups"][0].update(foreach=True, fused=True, capturable=True)
    del saved["param_groups"][0]["maximize"]  # of a version of torch that had it not
    load_optimizer(one, saved)
    assert [one.param_groups[0][name] for name in ("foreach", "fused", "capturable", "maximize")] == [
        None,
        None,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        *(("adamw", "step", value) for value in (torch.zeros(3), torch.tensor(NAN), torch.tensor(-1.0), "x", None, 1j)),
        *(("adamw", "exp_avg", value) for value in (torch.zeros(3), torch.zeros(0), "x", None, [1.0])),
        ("adamw", "exp_avg_sq", torch.zeros(3, 2)),
        ("sgd", "momentum_buffer", torch.zeros(3, 2)),
        ("lars", "momentum", torch.zeros(3, 2)),
    ],
)
def test_states_of_parameters(kind: str, name: str, value: Any) -> None:
    optimizer = stepped(kind)
    saved = copy.deepcopy(optimizer.state_dict())
    saved["state"][0][name] = value
    with pytest.raises(REFUSED):
        load_optimizer(optimizer, saved)


def test_a_part_of_a_state() -> None:
    for left_out in ("exp_avg", "step"):
        for parameters in ([0], [0, 1]):
            optimizer = stepped("adamw")
            saved = copy.deepcopy(optimizer.state_dict())
            for i in parameters:
                del saved["state"][i][left_out]
            with pytest.raises(REFUSED):
                load_optimizer(optimizer, saved)
    saved["state"][0] = []
    with pytest.raises(REFUSED):
        load_optimizer(optimizer, saved)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("weight_decay", value) for value in (None, "x", NAN, float("inf"), [1], True, {}, torch.zeros(2))),
        *(("betas", value) for value in (None, 0.9, "xy", NAN, [0.9], [0.9, 0.9, 0.9], [0.9, NAN], {})),
        *(("amsgrad", value) for value in (True, None, -1, "x")),
        ("maximize", True),
        ("lr", "x"),
    ],
)
def test_options(name: str, value: Any) -> None:
    optimizer = stepped("adamw")
    saved = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][0][name] = value
    with pytest.raises(REFUSED, match=f"the optimizer's {name} is "):
        load_optimizer(optimizer, saved)
    load_optimizer(optimizer, stepped("adamw").state_dict())
    optimizer.step()


@pytest.mark.parametrize(
    "wrong",
    [
        {"order": torch.zeros(4)},
        {"order": torch.tensor([0, 1, 2, 9])},
        {"order": torch.tensor([0, 0, 1, 2])},
        {"order": torch.arange(3)},
        {"order": "abcd"},
        *({"position": value} for value in (-1, 5, 10**30, 1.0, True, None, "x")),
    ],
)
def test_orders_of_epochs(wrong: dict[str, Any]) -> None:
    order, generator = EpochOrder(torch.arange(4), 2), torch.Generator().manual_seed(0)
    order.next(generator)
    saved = order.state_dict()
    EpochOrder(torch.arange(4), 2).load_state_dict(saved)
    with pytest.raises((*REFUSED, AttributeError)):
        order.load_state_dict({**saved, **wrong})
    assert order.state_dict() == saved


@pytest.mark.parametrize(
    "wrong",
    [
        {"items": torch.tensor([0, 1, 2, 3, 0, 2])},
        {"items": torch.full((6,), -1)},
        {"items": torch.zeros(6)},
        {"left": torch.tensor([5, 0])},
        {"left": torch.tensor([0, -1])},
        {"left": torch.zeros(2)},
    ],
)
def test_orders_of_groups(wrong: dict[str, Any]) -> None:
    orders = GroupOrders(torch.tensor([4, 2]))
    orders.draw(torch.tensor([0, 1]), 2, torch.Generator().manual_seed(0))
    saved = orders.state_dict()
    GroupOrders(torch.tensor([4, 2])).load_state_dict(saved)
    with pytest.raises(ValueError, match="items that its groups have not"):
        orders.load_state_dict({**saved, **wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"numpy_rest": [10**6, 0, 0.0]},  # NumPy would read beyond its words
        {"numpy_rest": [-1, 0, 0.0]},
        {"numpy": torch.zeros(3, dtype=torch.int64)},
        {"python": torch.zeros(3, dtype=torch.int64)},
        {"python_version": 9},
        {"torch": torch.zeros(3, dtype=torch.uint8)},
    ],
)
def test_global_streams(wrong: dict[str, Any]) -> None:
    streams = GlobalRandomState(0)
    saved = streams.state_dict()
    with pytest.raises(REFUSED):
        streams.load_state_dict({**saved, **wrong})
    assert str(streams.state_dict()) == str(saved)


@pytest.mark.parametrize(
    "wrong", [{"last_epoch": "x"}, {"last_epoch": NAN}, {"base_lrs": [0.1, 0.1]}, {"step": 1}, {"T_max": None}]
)
def test_schedulers(wrong: dict[str, Any]) -> None:
    options = TrainerOptions(schedule=lambda optimizer: CosineAnnealingLR(optimizer, 9))
    optimizer = stepped("sgd")
    rates = LearningRates(optimizer, ParameterGroup("a", [], None), options)
    optimizer.step()
    rates.after()
    saved = rates.state_dict()
    rates.load_state_dict(saved)
    with pytest.raises(ValueError, match="the scheduler's"):
        rates.load_state_dict({**saved, **wrong})
    rates.after()


def test_what_a_scheduler_of_another_version_of_torch_had_besides_is_left_out() -> None:
    optimizer = stepped("sgd")
    rates = LearningRates(
        optimizer, ParameterGroup("a", [], None), TrainerOptions(schedule=lambda of: CosineAnnealingLR(of, 9))
    )
    rates.load_state_dict({**rates.state_dict(), "no_longer": False, "last_epoch": 3})
    assert rates.state_dict()["last_epoch"] == 3
    assert not hasattr(rates.scheduler, "no_longer")
