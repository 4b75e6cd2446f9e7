"""SimCLR (Chen et al., ICML 2020, arXiv 2002.05709): tell the other view of an image from all other images."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.objectives.base import Embeddings, Objective, pair, positive
from metatc2.objectives.registry import register_objective
from metatc2.ops.numbers import Positive
from metatc2.ops.precision import unit, upcast


def nt_xent(z1: Tensor, z2: Tensor, temperature: Positive = 0.5) -> Tensor:
    """Normalized-temperature cross-entropy, equation 1 of the paper, averaged over the 2n views of each task.

    Args:
        z1: ``(..., n, D)``, first views.
        z2: ``(..., n, D)``, second views, in the same order.
        temperature: τ.

    Returns:
        ``(...)``, one loss a task.

    >>> nt_xent(torch.eye(4), torch.eye(4), temperature=0.1) < nt_xent(torch.eye(4), torch.eye(4).flip(0), 0.1)
    tensor(True)
    """
    with upcast(z1, z2) as (z1, z2):
        z1, z2 = unit(z1), unit(z2)
        z = torch.cat([z1, z2], -2)
        similarity = z @ z.mT / temperature
        itself = torch.eye(z.shape[-2], dtype=torch.bool, device=z.device)
        normalizer = similarity.masked_fill(itself, -torch.inf).logsumexp(-1).mean(-1)
        return normalizer - (z1 * z2).sum(-1).mean(-1) / temperature


@register_objective("simclr")
class SimCLR(Objective):
    """`nt_xent` between the projections of two views.

    The same as lightly's ``NTXentLoss(temperature)``.

    Args:
        temperature: τ; 0.5 is what the paper found best on CIFAR-10 (its appendix B.9), 0.1 on ImageNet.

    Raises:
        InputError: if the temperature is not above 0.

    >>> round(SimCLR(temperature=0.2)(Embeddings(torch.ones(3, 4, 2, 8))).item(), 4)  # collapsed: log(2n - 1)
    1.9459
    """

    def __init__(self, temperature: Positive = 0.5) -> None:
        super().__init__()
        self.temperature = positive(temperature, "temperature", self.name)

    def per_task(self, e: Embeddings) -> Tensor:
        """Loss of every task, ``(tasks,)``."""
        return nt_xent(*pair(e.projections), self.temperature)
