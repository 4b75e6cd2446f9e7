"""Small networks on cached features: many fits as one, and hyper-parameters chosen inside the labels given."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from metatc2.metrics.selection import choose
from metatc2.transfer.fusion.attention.base import Params
from metatc2.transfer.fusion.labeled import Fitted, LabeledSet

_EPSILON = 1e-5
_BETAS = (0.9, 0.999)


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How a network on cached features is trained, and what is chosen by cross-validation.

    Args:
        entropies: candidates of λ_e, the weight of ``KL(mean α ‖ uniform)``.
        decays: candidates of ρ in ``ρ/2 |θ − θ_0|²``: the pull toward the start, which is the plain mean of the encoders.
        steps: of Adam.
        rate: its learning rate, which falls to zero along a cosine.
        batch: labeled images a step; all of them where there are no more.
    """

    entropies: Sequence[float] = (0.0, 0.1, 1.0)
    decays: Sequence[float] = (0.01, 0.1)
    steps: int = 100
    rate: Annotated[float, Gt(0)] = 0.01
    batch: int = 128


class Network(ABC):
    """A classifier on the blocks of several encoders whose parameters are given: B fits go through it at once."""

    @abstractmethod
    def initial(self, generator: torch.Generator) -> Params:
        """Trained parameters of one fit at the start."""

    def constants(self, generator: torch.Generator) -> Params:
        """Parameters of one fit that are not trained."""
        return {}

    @abstractmethod
    def forward(
        self, p: Params, blocks: Sequence[Tensor], counted: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Classify.

        Args:
            p: parameters, ``(B, ...)`` each.
            blocks: standardized features ``(n, d_k)``, the same for all fits.
            counted: in training, ``(B, n)``: 1 for rows that the fit may learn from, else 0.

        Returns:
            scores ``(B, n, classes)``, and weights over encoders ``(B, n, K)`` or None.
        """

    def finished(self, p: Params, blocks: Sequence[Tensor], counted: Tensor) -> Params:
        """Parameters after training, with what has to be taken from all training rows."""
        return p


def fit(network: Network, labeled: LabeledSet, options: FitOptions, generator: torch.Generator) -> Fitted:
    """Train a network on the labels given, with λ_e and ρ chosen by cross-validation inside them.

    All folds of all candidates are trained as one. Where a class has one label there is
    nothing to validate on, and the strongest candidates are taken: the fit stays close to the plain mean of the encoders.
    Of one candidate each there is nothing to choose, and nothing is validated.

    Args:
        network: see `Network`.
        labeled: see `LabeledSet`.
        options: see `FitOptions`.
        generator: of the start and of the batches.
    """
    entropies, decays = sorted(set(options.entropies)), sorted(set(options.decays))
    grid = list(itertools.product(entropies, decays))
    n = len(labeled.labels)
    chosen = len(grid) - 1  # the strongest of both
    # Once: what is chosen is chosen for the start and the constants that are fitted with.
    begin = network.initial(generator), network.constants(generator)
    if labeled.folds is not None and len(grid) > 1:
        count = int(labeled.folds.max()) + 1
        held = one_hot(labeled.folds, count).T.bool()  # (folds, n)
        each = [pair for pair in grid for _ in range(count)]
        params = _trained(network, labeled, options, (~held).float().repeat(len(grid), 1), each, begin, generator)
        with torch.no_grad():
            logits = network.forward(params, labeled.blocks)[0].unflatten(0, (len(grid), count))
        out_of_fold = logits[:, held]  # (grid, n, classes), fold by fold
        labels = labeled.labels.expand(count, -1)[held]
        accuracy = (out_of_fold.argmax(-1) == labels).double().mean(1)
        loss = torch.stack([cross_entropy(one.double(), labels) for one in out_of_fold])
        shape = len(entropies), len(decays)
        place = choose(accuracy.view(shape), loss.view(shape))
        chosen = chosen if place is None else place[0] * len(decays) + place[1]
    entropy, decay = grid[chosen]
    p = _trained(network, labeled, options, torch.ones(1, n), [grid[chosen]], begin, generator)

    def ask(features: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        with torch.no_grad():
            logits, weights = network.forward(p, labeled.standardized(features))
        return logits[0], None if weights is None else weights[0]

    with torch.no_grad():
        has_weights = network.forward(p, [block[:1] for block in labeled.blocks])[1] is not None
    return Fitted(
        lambda features: ask(features)[0],
        (lambda features: _present(ask(features)[1])) if has_weights else None,
        {"entropy": entropy, "decay": decay} if has_weights else {"decay": decay},
    )


def _present(weights: Tensor | None) -> Tensor:
    assert weights is not None
    return weights


def _trained(
    network: Network,
    labeled: LabeledSet,
    options: FitOptions,
    counted: Tensor,
    penalties: Sequence[tuple[float, float]],
    begin: tuple[Params, Params],
    generator: torch.Generator,
) -> Params:
    """Parameters of B fits, by the rows ``(B, n)`` that each may learn from, its λ_e and ρ, and where all begin."""
    fits, n = len(counted), len(labeled.labels)
    entropy, decay = (torch.tensor(column) for column in zip(*penalties, strict=True))
    start = begin[0]
    constants = {name: value.expand(fits, *value.shape) for name, value in begin[1].items()}
    sizes = [value.numel() for value in start.values()]
    # One vector a fit: a step of Adam is then a few operations, however many parameters there are.
    origin = torch.cat([value.flatten() for value in start.values()])
    flat = origin.repeat(fits, 1)

    def named(vector: Tensor) -> Params:
        parts = zip(start.items(), vector.split(sizes, 1), strict=True)
        return {**{name: part.view(fits, *value.shape) for (name, value), part in parts}, **constants}

    def loss(vector: Tensor, rows: Tensor) -> Tensor:
        own = counted[:, rows]
        share = own / own.sum(1, keepdim=True).clamp(min=1)
        logits, weights = network.forward(named(vector), [block[rows] for block in labeled.blocks], own)
        labels = labeled.labels[rows].expand(fits, -1)
        total = (share * cross_entropy(logits.mT, labels, reduction="none")).sum()
        if weights is not None:
            mean = (share[..., None] * weights).sum(1)
            # The slope of m log m is infinite at an encoder that no image listens to, as sparsemax allows.
            seen = mean.clamp_min(torch.finfo(mean.dtype).tiny)
            total = total + (entropy * torch.special.xlogy(mean, seen * mean.shape[1]).sum(1)).sum()
        return total

    first, second = torch.zeros_like(flat), torch.zeros_like(flat)
    order = torch.arange(0)
    for step in range(1, options.steps + 1):
        rows = torch.arange(n)
        if n > options.batch:
            if len(order) < options.batch:
                order = torch.randperm(n, generator=generator)
            rows, order = order[: options.batch], order[options.batch :]
        with torch.enable_grad():
            vector = flat.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(vector, rows), vector)
        gradient += decay[:, None] * (flat - origin)
        # Adam (Kingma and Ba 2015, arXiv 1412.6980), its rate along a cosine.
        first.lerp_(gradient, 1 - _BETAS[0])
        second.lerp_(gradient.square(), 1 - _BETAS[1])
        rate = options.rate * (1 + math.cos(math.pi * (step - 1) / options.steps)) / 2
        denominator = (second / (1 - _BETAS[1] ** step)).sqrt_().add_(1e-8)
        flat = flat - rate / (1 - _BETAS[0] ** step) * first / denominator
    with torch.no_grad():
        return network.finished(named(flat), labeled.blocks, counted)


def batch_statistics(z: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation ``(B, 1, m)`` of z ``(B, n, m)`` over the rows that count."""
    share = (counted / counted.sum(1, keepdim=True).clamp(min=1))[..., None]
    mean = (share * z).sum(1, keepdim=True)
    return mean, ((share * (z - mean).square()).sum(1, keepdim=True) + _EPSILON).sqrt()
