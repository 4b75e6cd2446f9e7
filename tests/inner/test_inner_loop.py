"""Hyper-gradients against central differences in float64, and each trap of torchopt seen and handled."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
import torchopt
from torch import Tensor

from metatc2.errors import InputError
from metatc2.inner import FirstOrder, InnerLoop, Unroll, clip_norm, inner_optimizer
from metatc2.inner._probe import probe
from metatc2.inner.loop import compiled_operator_loads

from ..covering import covered

OPTIMIZERS = {
    "sgd": lambda: torchopt.sgd(0.1),
    "momentum": lambda: torchopt.sgd(0.1, momentum=0.9),
    "nesterov": lambda: torchopt.sgd(0.05, momentum=0.9, nesterov=True),
    "adam": lambda: torchopt.adam(0.05, eps_root=1e-8),
    "clipped": lambda: clip_norm(0.2).chain(torchopt.sgd(0.1)),
}


def problem(name: str) -> tuple[dict[str, Tensor], Tensor, Callable[..., Tensor], Callable[..., Tensor]]:
    """Initial parameters, what the inner loss depends on beside them (features), inner loss, outer loss."""
    g = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    x, y = draw(6, 4), draw(6, 2)
    if name == "ridge":
        return (
            {"w": 0.3 * draw(4, 2)},
            x,
            lambda p, z: ((z @ p["w"] - y) ** 2).mean() + 0.1 * (p["w"] ** 2).sum(),
            lambda p, z: ((z @ p["w"]).tanh() - y).abs().pow(3).mean(),
        )
    if name == "mlp":
        return (
            {"a": 0.5 * draw(4, 5), "b": 0.5 * draw(5, 2)},
            x,
            lambda p, z: ((torch.nn.functional.gelu(z @ p["a"]) @ p["b"] - y) ** 2).mean(),
            lambda p, z: ((z.sin() @ p["a"]).tanh() @ p["b"] - y).square().mean(),
        )
    return (
        {"u": draw(3), "s": draw(1)},
        x,
        lambda p, z: torch.logsumexp(z[:, :3] * p["u"], 0).sum() * p["s"].exp().squeeze(),
        lambda p, z: (p["u"] ** 2).sum() * p["s"].cos().squeeze() + z.mean(),
    )


@pytest.mark.parametrize(("name", "optimizer"), covered(("ridge", "mlp", "logsumexp"), OPTIMIZERS, strength=1))
def test_unrolled_hypergradient_equals_central_differences(name: str, optimizer: str) -> None:
    params, features, inner, outer = problem(name)
    loop = InnerLoop(OPTIMIZERS[optimizer](), steps=3)
    leaves = {k: v.clone().requires_grad_() for k, v in params.items()}
    z = features.clone().requires_grad_()

    def value(p: dict[str, Tensor], f: Tensor) -> Tensor:
        return outer(loop(lambda q: inner(q, f), p), f)

    gradient = torch.autograd.grad(value(leaves, z), [*leaves.values(), z])
    h = 1e-6
    for which, exact in zip([*params, None], gradient, strict=True):
        base = features if which is None else params[which]
        measured = torch.zeros_like(base).flatten()
        for i in range(base.numel()):
            shift = torch.zeros(base.numel(), dtype=torch.float64)
            shift[i] = h
            shift = shift.view_as(base)
            both = []
            for sign in (1, -1):
                p = {k: v + sign * shift if k == which else v for k, v in params.items()}
                both.append(value(p, features + sign * shift if which is None else features).item())
            measured[i] = (both[0] - both[1]) / (2 * h)
        torch.testing.assert_close(exact.flatten(), measured, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_first_order_is_identity_in_the_start_and_blind_to_features(optimizer: str) -> None:
    params, features, inner, outer = problem("mlp")
    leaves = {k: v.clone().requires_grad_() for k, v in params.items()}
    z = features.clone().requires_grad_()
    exact = InnerLoop(OPTIMIZERS[optimizer](), 3)(lambda q: inner(q, features), params)
    adapted = InnerLoop(OPTIMIZERS[optimizer](), 3, FirstOrder())(lambda q: inner(q, z), leaves)
    for key in params:
        torch.testing.assert_close(adapted[key], exact[key])
    fixed = {k: v.detach().requires_grad_() for k, v in adapted.items()}
    expected = torch.autograd.grad(outer(fixed, features), list(fixed.values()))
    got = torch.autograd.grad(outer(adapted, features), list(leaves.values()))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)
    assert torch.autograd.grad(sum(v.sum() for v in adapted.values()), z, allow_unused=True)[0] is None


@pytest.mark.parametrize("make", [torchopt.adam, torchopt.adamw, torchopt.rmsprop, torchopt.adagrad])
def test_dead_relu_gives_finite_meta_gradients(make: Callable[..., object]) -> None:
    w = torch.tensor([-1.0, 2.0], dtype=torch.float64, requires_grad=True)  # the first unit is dead
    x = torch.tensor([1.0, 3.0], dtype=torch.float64)

    def inner(p: dict[str, Tensor]) -> Tensor:
        return (torch.relu(p["w"] * x) ** 2).sum()

    adapted = InnerLoop(make(0.01), 3)(inner, {"w": w})["w"]
    (gradient,) = torch.autograd.grad(adapted.square().sum(), w)
    assert gradient.isfinite().all()
    # Unguarded, the trap is real: if torchopt mends it, the guard can go.
    assert probe(make(0.01)).singular_at_zero


def test_fused_adam_and_torchopt_clipping_are_refused_where_their_derivative_is_used() -> None:
    for optimizer in (
        torchopt.adam(0.1, eps_root=1e-2, use_accelerated_op=True),
        torchopt.chain(torchopt.clip_grad_norm(0.1), torchopt.sgd(0.1)),
        torchopt.chain(torchopt.clip_grad_norm(100.0), torchopt.sgd(0.1)),
    ):
        with pytest.raises(InputError, match="derivative of this optimizer"):
            InnerLoop(optimizer, 1)
    InnerLoop(torchopt.chain(torchopt.clip_grad_norm(0.1), torchopt.sgd(0.1)), 1, FirstOrder())


def test_a_compiled_operator_that_fell_back_is_said() -> None:
    fused = torchopt.adam(0.1, use_accelerated_op=True)
    assert probe(fused).fused
    assert not probe(torchopt.adam(0.1)).fused
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        InnerLoop(fused, 1)
    assert bool(caught) is not compiled_operator_loads()


def test_hidden_state_between_loops_is_refused() -> None:
    with pytest.raises(InputError, match="dampening"):
        InnerLoop(torchopt.sgd(0.1, momentum=0.9, dampening=0.5), 1)


def test_no_steps_and_no_grad() -> None:
    w = torch.tensor([1.0], requires_grad=True)
    same = InnerLoop(torchopt.sgd(0.1), 0)(lambda p: p["w"].sum(), {"w": w})
    assert same["w"] is w
    with torch.no_grad():
        adapted = InnerLoop(torchopt.sgd(0.1), 2)(lambda p: (p["w"] ** 2).sum(), {"w": w})
    assert adapted["w"].item() == pytest.approx(0.64)
    assert not adapted["w"].requires_grad
    assert w.item() == 1.0


@pytest.mark.parametrize("loss", [lambda p: torch.tensor(1.0), lambda p: torch.ones(1, requires_grad=True).sum()])
def test_a_loss_that_ignores_the_parameters_is_an_error(loss: Callable[..., Tensor]) -> None:
    with pytest.raises(InputError, match="does not depend on"):
        InnerLoop(torchopt.sgd(0.1), 1, Unroll())(loss, {"w": torch.ones(1)})


def test_unknown_optimizer_and_bad_values() -> None:
    with pytest.raises(InputError, match="did you mean 'adam'"):
        inner_optimizer("adm", 0.1)
    with pytest.raises(InputError, match="max_norm"):
        clip_norm(0.0)
    with pytest.raises(InputError, match="steps"):
        InnerLoop(torchopt.sgd(0.1), -1)


def test_compiled_loss_is_refused_where_it_would_be_differentiated_twice() -> None:
    compiled = torch.compile(lambda params: params["w"].square().sum(), backend="eager")
    with pytest.raises(InputError, match=r"torch\.compile cannot be used inside an inner loop"):
        InnerLoop(torchopt.sgd(0.1), steps=1)(compiled, {"w": torch.ones(2, requires_grad=True)})


def test_adam_in_float64_has_all_its_digits() -> None:
    """Two steps of Adam (Kingma and Ba 2015, algorithm 1) by hand; torch's default dtype is float32."""
    assert torch.get_default_dtype() is torch.float32
    start = torch.tensor([0.3, -1.2], dtype=torch.float64, requires_grad=True)
    w, m, v = start, torch.zeros_like(start), torch.zeros_like(start)
    for k in (1, 2):
        (g,) = torch.autograd.grad((w**4).sum(), w, create_graph=True)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - 0.1 * (m / (1 - 0.9**k)) / ((v / (1 - 0.999**k) + 1e-8).sqrt() + 1e-8)
    loop = InnerLoop(torchopt.adam(0.1, eps=1e-8, eps_root=1e-8), steps=2)
    adapted = loop(lambda params: (params["w"] ** 4).sum(), {"w": start})["w"]
    torch.testing.assert_close(adapted, w, rtol=1e-12, atol=1e-14)
    for a, b in zip(torch.autograd.grad(adapted.sum(), start), torch.autograd.grad(w.sum(), start), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
