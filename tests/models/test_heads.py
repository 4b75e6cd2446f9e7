"""Projector, predictor and the normalization within tasks."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, vmap

from metatc2.errors import InputError
from metatc2.models.heads import Predictor, Projector, TaskNorm


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def norm(dim: int) -> TaskNorm:
    made = TaskNorm(dim).double()
    with torch.no_grad():
        made.weight.copy_(random(dim, seed=7))
        made.bias.copy_(random(dim, seed=8))
    return made


@pytest.mark.parametrize("shape", [(3, 6, 2, 5), (3, 12, 5), (1, 4, 5), (2, 3, 4, 2, 5)])
def test_each_task_is_batch_norm_in_training(shape: tuple[int, ...]) -> None:
    own, oracle = norm(5), nn.BatchNorm1d(5).double().train()
    with torch.no_grad():
        oracle.weight.copy_(own.weight)
        oracle.bias.copy_(own.bias)
    x = 3 * random(*shape) + 2
    out = own(x)
    assert out.shape == x.shape
    for task in range(shape[0]):
        torch.testing.assert_close(out[task].reshape(-1, 5), oracle(x[task].reshape(-1, 5)))


def test_it_has_no_state_and_no_modes() -> None:
    own, x = norm(4), random(2, 6, 4)
    assert not list(own.buffers())
    before = own(x)
    own(10 * x)
    assert torch.equal(own.eval()(x), before)


def test_tasks_stay_apart() -> None:
    for head in (norm(4), Projector(4, 8, 6).double(), Predictor(4, 8).double()):
        x = random(3, 5, 2, 4)
        changed = torch.cat([x[:1], 5 * x[1:] + 1])
        assert torch.equal(head(x)[0], head(changed)[0])
        torch.testing.assert_close(head(x), torch.cat([head(task.unsqueeze(0)) for task in x]))
        # The control: views and samples of one task do meet.
        moved = x.clone()
        moved[0, 0, 0] += 1
        assert not torch.allclose(head(x)[0, 1:], head(moved)[0, 1:])


def test_twice_differentiable() -> None:
    x = random(2, 4, 3).requires_grad_()
    assert gradcheck(norm(3), (x,))
    assert gradgradcheck(norm(3), (x,))
    smooth = Projector(3, 4, 2, activation=nn.GELU).double()
    assert gradgradcheck(lambda z: smooth(z), (x,))
    constant = torch.ones(2, 4, 3, dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(norm(3)(constant).square().sum(), constant, create_graph=True)
    (h,) = torch.autograd.grad(g.square().sum(), constant)
    assert h.isfinite().all()


def test_functional_call_and_vmap_over_parameters() -> None:
    head, x = Projector(3, 4, 2).double(), random(2, 5, 3)
    stacked = {k: torch.stack([p, 2 * p]) for k, p in head.named_parameters()}
    out = vmap(lambda p: functional_call(head, p, (x,)))(stacked)
    torch.testing.assert_close(out[0], head(x))


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_a_projector_is_the_stack_it_says(layers: int) -> None:
    projector = Projector(6, 10, 4, layers=layers)
    linear = [(m.in_features, m.out_features) for m in projector if isinstance(m, nn.Linear)]
    widths = [6, *[10] * (layers - 1), 4]
    assert linear == list(pairwise(widths))
    kinds = [type(m) for m in projector]
    assert kinds == [nn.Linear, TaskNorm, nn.ReLU] * (layers - 1) + [nn.Linear]
    assert projector(random(2, 3, 2, 6, dtype=torch.float32)).shape == (2, 3, 2, 4)


def test_a_norm_may_follow_the_last_layer() -> None:
    projector = Projector(6, 8, 5, norm_out=True)
    out = projector(torch.randn(2, 16, 2, 6))
    torch.testing.assert_close(out.mean((1, 2)), torch.zeros(2, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var((1, 2), correction=0), torch.ones(2, 5), atol=1e-3, rtol=0)
    assert sum(p.numel() for p in projector.parameters()) == 6 * 8 + 2 * 8 + 8 * 5 + 2 * 5  # no bias before a norm


def test_predictor_and_activation() -> None:
    predictor = Predictor(6, 3, activation=nn.SiLU)
    assert [type(m) for m in predictor] == [nn.Linear, TaskNorm, nn.SiLU, nn.Linear]
    assert predictor(random(2, 3, 2, 6, dtype=torch.float32)).shape == (2, 3, 2, 6)


def test_statistics_keep_full_precision_in_bf16() -> None:
    x = (random(1, 4096, 4) + 200).bfloat16()  # a sum in bf16 would be far off
    out = TaskNorm(4)(x)
    assert out.dtype == torch.bfloat16
    assert out.float().mean((0, 1)).abs().max() < 0.01
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Projector(4, 8, 3)(random(2, 5, 4, dtype=torch.float32)).isfinite().all()


def test_bad_input_is_an_error() -> None:
    with pytest.raises(InputError, match=r"at least three axes, found \(8, 4\)"):
        TaskNorm(4)(torch.zeros(8, 4))
    with pytest.raises(InputError, match=r"found \(2, 8, 5\)"):
        TaskNorm(4)(torch.zeros(2, 8, 5))
    with pytest.raises(InputError, match="at least 2 rows a task"):
        TaskNorm(4)(torch.zeros(8, 1, 1, 4))
    with pytest.raises(InputError, match="at least 1 layer"):
        Projector(4, 8, 2, layers=0)
