"""iMAML: the meta-gradient against finite differences of the converged learner and against the paper's matrix."""

from __future__ import annotations

import pytest
import torch
import torchopt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from metatc2.errors import InputError
from metatc2.inner import InnerLoop, Unroll
from metatc2.learners.imaml import iMAML
from metatc2.learners.maml import MAML
from metatc2.models.heads import Classifier

from .episodes import assert_exact_gradient, flat_gradient, images, mlp, vectors

MOMENTUM = torchopt.sgd(0.1, momentum=0.7)


@pytest.mark.parametrize("adapt", ["*", "head.*"])
def test_meta_gradient_by_finite_differences(adapt: str) -> None:
    """Both for the parameters that adapt and for those that the inner loss takes as they are."""
    network = mlp(dim=2, way=2, width=2)
    learner = iMAML(
        network, InnerLoop(torchopt.sgd(0.4, momentum=0.5), steps=60), strength=2.0, iterations=60, adapt=adapt
    )
    episode = vectors(tasks=1, way=2, shot=2, query=2, dim=2)
    assert_exact_gradient(learner, episode)


@pytest.mark.parametrize("norm", ["batch", "support", "frozen"])
@pytest.mark.parametrize("kind", ["mlp", "conv-batch-norm"])
def test_meta_gradient_is_equation_6(kind: str, norm: str) -> None:
    """g = (1 + H / λ)⁻¹ ∇L_query(φ), with the matrix H written out by plain autograd at the φ that the loop reached."""
    strength = 4.0
    network, episode = (mlp(), vectors(tasks=1)) if kind == "mlp" else (conv(), images(tasks=1, size=6))
    options = {"strength": strength, "norm": norm, "iterations": 200, "warn_above": float("inf")}
    learner = iMAML(network, InnerLoop(torchopt.sgd(0.05), steps=4), **options)
    (x, y), (query_x, query_y) = episode.support.labeled(), episode.query.labeled()
    start, rest = learner.split(learner.theta(), 3)
    with torch.no_grad():
        phi = learner.inner(learner.support_loss(x[0], y[0], 3), start, rest)
    phi = {n: p.clone().requires_grad_() for n, p in phi.items()}
    leaves = list(phi.values())
    slope = flat(torch.autograd.grad(cross_entropy(learner.scores(phi, x[0], 3), y[0]), leaves, create_graph=True))
    hessian = torch.stack([flat(torch.autograd.grad(s, leaves, retain_graph=True)) for s in slope])
    query = cross_entropy(learner.scores(phi, query_x[0], 3, x[0]), query_y[0])
    g = flat(torch.autograd.grad(query, leaves))
    expected = torch.linalg.solve(torch.eye(len(g), dtype=g.dtype) + hessian / strength, g)
    # The solver stops where the residual is 1e-6 of g: small entries are known to that much of the whole.
    torch.testing.assert_close(flat_gradient(learner, episode), expected, rtol=1e-5, atol=1e-6 * float(g.norm()) + 1e-7)
    assert (expected - g).norm() > 0.02 * g.norm()  # first order would be seen


def conv() -> Classifier:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.BatchNorm2d(2), nn.Softplus(), nn.Flatten())
    return Classifier(body, dim=8, way=3).double()


def flat(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors])


@pytest.mark.parametrize("solver", ["normal-cg", "neumann"])
def test_solvers_agree(solver: str) -> None:
    inner, episode = InnerLoop(MOMENTUM, steps=30), vectors(tasks=1)
    expected = flat_gradient(iMAML(mlp(), inner, iterations=100), episode)
    got = flat_gradient(iMAML(mlp(), inner, solver=solver, iterations=100), episode)  # type: ignore[arg-type]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-7)


def test_five_iterations_come_near(seed_offset: int) -> None:
    inner, episode = InnerLoop(MOMENTUM, steps=30), vectors(tasks=1, seed=seed_offset)
    exact = flat_gradient(iMAML(mlp(seed=seed_offset), inner, iterations=100), episode)
    assert (flat_gradient(iMAML(mlp(seed=seed_offset), inner), episode) - exact).norm() < 0.02 * exact.norm()


def test_a_strong_pull_leaves_the_task_where_it_started() -> None:
    """λ → ∞: θ' = θ, and the meta-gradient is that of plain training on the queries."""
    network, episode = mlp(), vectors()
    learner = iMAML(network, InnerLoop(torchopt.sgd(1e-6), steps=5), strength=1e6)
    plain = MAML(network, InnerLoop(torchopt.sgd(0.1), steps=0))
    torch.testing.assert_close(flat_gradient(learner, episode), flat_gradient(plain, episode), rtol=1e-3, atol=1e-5)


@pytest.mark.slow  # that it is trained, and predicts, `test_registry` asserts of every learner
def test_it_learns_and_predicts(seed_offset: int) -> None:
    network, episode = mlp(seed=seed_offset), vectors(tasks=2, seed=seed_offset)
    learner = iMAML(network, InnerLoop(MOMENTUM, steps=16))
    optimizer = torch.optim.Adam(learner.parameters(), 0.1)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = learner(episode).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    before = {n: p.clone() for n, p in learner.named_parameters()}
    x, y = episode.support.labeled()
    scores = learner.predict(x[0], y[0], episode.query.labeled()[0][0])
    assert scores.shape == (12, 3)
    assert not scores.requires_grad
    assert all(torch.equal(p, before[n]) for n, p in learner.named_parameters())


def test_the_adjoint_of_the_loop_is_replaced_in_training_and_testing() -> None:
    learner = iMAML(mlp(), InnerLoop(MOMENTUM, 3, Unroll()), strength=0.7, solver="normal-cg", test_steps=9)
    for inner, steps in ((learner.train_inner, 3), (learner.test_inner, 9)):
        assert inner.steps == steps
        assert repr(inner.adjoint).startswith("Implicit(solver='normal-cg', proximal=0.7, iterations=5")


def test_bad_settings() -> None:
    inner = InnerLoop(MOMENTUM, 3)
    with pytest.raises(InputError, match="strength must be > 0, got 0"):
        iMAML(mlp(), inner, strength=0)
    with pytest.raises(InputError, match="set vmap_chunk to 1"):
        iMAML(mlp(), inner, vmap_chunk=4)
    with pytest.raises(InputError, match="unknown solver 'cgg'"):
        iMAML(mlp(), inner, solver="cgg")  # type: ignore[arg-type]
    with pytest.warns(RuntimeWarning, match="stopped short of a minimum"):
        iMAML(mlp(), InnerLoop(torchopt.sgd(1e-3), 3))(vectors())
