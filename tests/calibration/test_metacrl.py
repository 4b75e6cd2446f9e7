"""MetaCRL's variant of the losses, restated in numpy, with finite differences and what it is for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metatc2.calibration import grouping, named_calibrator, orthogonality, overlap, reconstruction, sparsity
from metatc2.errors import InputError


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def overlap_in_numpy(v: np.ndarray) -> float:
    k = len(v)
    return 2 / k * sum(abs(float(v[i] @ v[j])) for i in range(k) for j in range(i + 1, k))


def grouping_in_numpy(w: np.ndarray) -> float:
    """Weights ``(tasks, samples, views, K)``, task by task."""
    k = w.shape[-1]
    sizes = [np.abs(task.reshape(-1, k).mean(0)) for task in w]
    use = sum(size / size.sum() for size in sizes) / len(sizes)
    entropy = -sum(q * math.log(q) for q in use if q > 0)
    return sum(size.sum() for size in sizes) / len(sizes) / math.sqrt(k) - entropy / math.log(k)


def test_the_losses_restate_their_formulas() -> None:
    v, w = draw(4, 8), draw(3, 5, 2, 4, seed=1)
    assert overlap(v).item() == pytest.approx(overlap_in_numpy(v.numpy()))
    assert grouping(w).item() == pytest.approx(grouping_in_numpy(w.numpy()))
    w[:, ..., 1:3] = 0  # factors that no task uses: 0 log 0 = 0
    assert grouping(w).item() == pytest.approx(grouping_in_numpy(w.numpy()))


def test_gradients_are_those_of_finite_differences() -> None:
    v, w = draw(4, 8).requires_grad_(), draw(2, 2, 2, 3, seed=1).requires_grad_()
    kinks = (v @ v.T).triu(1).abs()
    assert kinks[kinks > 0].min() > 1e-3
    assert w.flatten(1, 2).mean(1).abs().min() > 1e-3
    assert torch.autograd.gradcheck(overlap, v)
    assert torch.autograd.gradcheck(grouping, w)
    assert torch.autograd.gradgradcheck(grouping, w)


def test_the_gradient_is_finite_where_factors_are_not_used_and_where_they_are_orthogonal() -> None:
    for w in (torch.zeros(2, 3, 4), torch.eye(4)[:2, None].expand(2, 3, 4)):
        w = w.clone().requires_grad_()
        grouping(w).backward()
        assert w.grad is not None
        assert bool(w.grad.isfinite().all())
    v = torch.eye(3).requires_grad_()
    overlap(v).backward()
    assert v.grad is not None
    assert not bool(v.grad.any())
    assert grouping(torch.ones(2, 3, 1)).item() == 1.0  # one factor: no entropy to speak of


def test_each_task_with_few_factors_of_its_own_is_best() -> None:
    def loss(uses: list[list[float]]) -> float:
        return grouping(torch.tensor(uses).float()[:, None]).item()

    own = loss([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert own == pytest.approx(1 / math.sqrt(3) - 1)
    assert own < loss([[1, 0, 0]] * 3)  # not all the same one
    assert own < loss([[1, 1, 1]] * 3)  # nor all of them in each task
    assert own < loss([[2, 0, 0], [0, 2, 0], [0, 0, 2]])
    # Signs cancel within a task and not between tasks.
    assert grouping(torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])).item() == 0
    assert loss([[1, 0, 0], [-1, 0, 0]]) == pytest.approx(1 / math.sqrt(3))


def test_the_switch() -> None:
    z = draw(3, 5, 2, 8)
    options = {"orthogonality": 0.7, "sparsity": 0.3}
    plain, sibling = (
        named_calibrator(8, 4, **options, variant=variant, generator=torch.Generator().manual_seed(0)).double()
        for variant in ("tc2", "metacrl")
    )
    for calibrator in (plain, sibling):
        with torch.no_grad():
            for p in calibrator.parameters():
                p.add_(0.1 * draw(*p.shape, seed=p.numel()))
    c = sibling(z)
    assert torch.equal(c.features, plain(z).features)
    w, v = c.weights, c.factors
    expected = reconstruction(z, w, v).item() + 0.7 * overlap_in_numpy(v.detach().numpy())
    assert sibling.loss(z, c).item() == pytest.approx(expected + 0.3 * grouping_in_numpy(w.detach().numpy()))
    # Without the word the loss is what it was, to the last bit.
    default = named_calibrator(8, 4, **options, generator=torch.Generator().manual_seed(0)).double()
    default.load_state_dict(plain.state_dict())
    for calibrator in (default, plain):
        again = calibrator(z)
        before = reconstruction(z, again.weights, again.factors) + 0.7 * orthogonality(again.factors)
        assert torch.equal(calibrator.loss(z, again), before + 0.3 * sparsity(again.weights))


def test_an_unknown_variant() -> None:
    with pytest.raises(InputError, match="unknown variant 'metacrll'; did you mean 'metacrl'"):
        named_calibrator(8, 4, variant="metacrll")  # type: ignore[arg-type]


def test_training_with_it_brings_all_factors_into_use(seed_offset: int) -> None:
    """Two tasks in directions of their own and six factors; TC²'s own penalty leaves most factors idle."""

    def entropy(variant: Any) -> float:
        g = torch.Generator().manual_seed(seed_offset)
        directions = torch.linalg.qr(torch.randn(12, 2, generator=g)).Q.T
        made = named_calibrator(12, 6, variant=variant, sparsity=0.2, generator=g)
        optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
        for _ in range(80):
            z = (2 + 0.3 * torch.randn(2, 16, 1, generator=g)) * directions[:, None]
            result = made(z[:, :, None])
            optimizer.zero_grad()
            made.loss(z[:, :, None], result).backward()
            optimizer.step()
        share = result.weights.detach().mean((1, 2)).abs()
        return torch.special.entr((share / share.sum(1, keepdim=True)).mean(0)).sum().item() / math.log(6)

    assert entropy("metacrl") > 0.9
    assert entropy("tc2") < 0.75
