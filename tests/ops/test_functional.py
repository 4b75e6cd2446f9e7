"""Modules as functions: the three policies for batch normalization restated, and what never leaks."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from metatc2.errors import InputError
from metatc2.ops.functional import Functional, select

Policy = Literal["batch", "support", "frozen"]


def net() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 4)).double()
    module[1].running_mean.uniform_(-1, 1)
    module[1].running_var.uniform_(0.5, 2)
    return module


def restated(module: nn.Module, x: Tensor, support: Tensor, policy: Policy) -> Tensor:
    """Every policy by hand: which rows mean and variance come from."""
    conv, norm, *rest = module
    h = conv(x)
    rows = {"batch": h, "support": conv(support)}.get(policy)
    if rows is None:
        mean, var = norm.running_mean, norm.running_var
    else:
        flat = rows.transpose(0, 1).flatten(1)
        mean, var = flat.mean(1), flat.var(1, unbiased=False)
    c = (1, -1, 1, 1)
    h = (h - mean.view(c)) / (var.view(c) + norm.eps).sqrt() * norm.weight.view(c) + norm.bias.view(c)
    for part in rest:
        h = part(h)
    return h


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("policy", ["batch", "support", "frozen"])
def test_policies_are_what_they_say(policy: Policy, training: bool) -> None:
    module = net().train(training)
    x, support = torch.randn(5, 2, 4, 4, dtype=torch.float64), torch.randn(7, 2, 4, 4, dtype=torch.float64) + 1
    before = {name: b.clone() for name, b in module.named_buffers()}
    params = dict(module.named_parameters())
    ours, expected = Functional(module, policy)(params, x, support), restated(module, x, support, policy)
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)
    for a, b in zip(
        torch.autograd.grad(ours.square().sum(), list(params.values())),
        torch.autograd.grad(expected.square().sum(), list(params.values())),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
    assert all(torch.equal(b, before[name]) for name, b in module.named_buffers())


def test_support_policy_is_inductive_and_batch_is_not() -> None:
    module = net()
    x, support = torch.randn(5, 2, 4, 4, dtype=torch.float64), torch.randn(7, 2, 4, 4, dtype=torch.float64)
    alone = {policy: Functional(module, policy)({}, x[:1], support) for policy in ("batch", "support", "frozen")}
    among = {policy: Functional(module, policy)({}, x, support)[:1] for policy in ("batch", "support", "frozen")}
    torch.testing.assert_close(alone["support"], among["support"])
    torch.testing.assert_close(alone["frozen"], among["frozen"])
    assert not torch.allclose(alone["batch"], among["batch"])


def test_support_policy_refuses_modules_that_fold_axes_into_the_batch() -> None:
    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x.flatten(0, 1)).unflatten(0, x.shape[:2]).mean(1)

    with pytest.raises(InputError, match="10 rows inside the module for 5 samples"):
        Functional(Patches(), "support")({}, torch.randn(3, 2, 3), torch.randn(2, 2, 3))


def test_compiled_modules_are_refused() -> None:
    with pytest.raises(InputError, match=r"torch\.compile cannot be used inside an inner loop"):
        Functional(nn.Sequential(torch.compile(nn.Linear(2, 2))))


def test_unknown_policy() -> None:
    with pytest.raises(InputError, match="did you mean 'support'"):
        Functional(nn.Linear(2, 2), "suport")  # type: ignore[arg-type]


def test_recurrent_modules_run_without_cudnn() -> None:
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTM(2, 2)
            self.seen: list[bool] = []

        def forward(self, x: Tensor) -> Tensor:
            self.seen.append(torch.backends.cudnn.enabled)
            return self.cell(x)[0]

    module, before = Asks(), torch.backends.cudnn.enabled
    Functional(module)({}, torch.randn(3, 1, 2))
    assert module.seen == [False]
    assert torch.backends.cudnn.enabled is before


def test_select_by_pattern_and_predicate() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    module[0].bias.requires_grad_(False)
    assert select(module, "*") == ("0.weight", "1.weight", "1.bias", "2.weight", "2.bias")
    assert select(module, ["2.*", "1.bias"]) == ("1.bias", "2.weight", "2.bias")
    assert select(module, lambda name: name.endswith("weight")) == ("0.weight", "1.weight", "2.weight")


def test_select_names_what_there_is_when_nothing_matches() -> None:
    module = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"no trainable parameter matches head\.\*; there are: weight, bias"):
        select(module, "head.*")
    with pytest.raises(InputError, match="none, all are frozen"):
        select(module.requires_grad_(False), "*")
