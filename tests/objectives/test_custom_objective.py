"""A loss written by somebody else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from metatc2.errors import InputError
from metatc2.objectives import Custom, Embeddings, SimCLR, nt_xent


def embeddings() -> Embeddings:
    return Embeddings(torch.randn(3, 6, 2, 4, generator=torch.Generator().manual_seed(0)))


def test_a_function_for_one_task_runs_over_all() -> None:
    e = embeddings()
    torch.testing.assert_close(Custom(lambda z1, z2: nt_xent(z1, z2, 0.3))(e), SimCLR(0.3)(e))


def test_the_function_is_given_the_two_views_of_one_task() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def loss(z1: Tensor, z2: Tensor) -> Tensor:
        seen.append((z1, z2))
        return (z1 - z2).square().mean()

    e = embeddings()
    Custom(loss)(e)
    assert len(seen) == 3
    for task, (z1, z2) in zip(e.projections, seen, strict=True):
        assert torch.equal(z1, task[:, 0])
        assert torch.equal(z2, task[:, 1])


def test_a_module_keeps_its_parameters() -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

        def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
            return (self.weight * (z1 - z2)).square().mean().view(1)  # of one element is scalar enough

    objective = Custom(Weighted(), min_samples=5)
    objective(embeddings()).backward()
    assert [name for name, p in objective.named_parameters() if p.grad is not None] == ["loss.weight"]
    with pytest.raises(InputError, match="at least 5 samples"):
        objective.check(4)


def test_what_is_no_loss_is_an_error() -> None:
    with pytest.raises(InputError, match=r"must give a scalar tensor, found shape \(6, 4\)"):
        Custom(lambda z1, z2: z1 - z2)(embeddings())
    with pytest.raises(InputError, match="must give a scalar tensor, found float"):
        Custom(lambda z1, z2: 1.0)(embeddings())  # type: ignore[arg-type,return-value]
    with pytest.raises(InputError, match="must be a callable"):
        Custom("mse")  # type: ignore[arg-type]
