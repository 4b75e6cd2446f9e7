"""Small networks on cached features: many fits as one, and hyper-parameters chosen inside the labels given."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from metatc2.metrics.selection import choose
from metatc2.transfer.fusion.attention.base import Params
from metatc2.transfer.fusion.labeled import Fitted, LabeledSet

_EPSILON = 1e-5


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
    decays: Sequence[float] = (0.001, 0.01)
    steps: int = 200
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


@dataclass(eq=False)
class _Fits:
    """B fits, by what each may learn from and how it is penalized."""

    counted: Tensor  # (B, n)
    entropy: Tensor  # (B,)
    decay: Tensor  # (B,)
    params: Params = field(default_factory=dict)


def fit(network: Network, labeled: LabeledSet, options: FitOptions, generator: torch.Generator) -> Fitted:
    """Train a network on the labels given, with λ_e and ρ chosen by cross-validation inside them.

    Every fold of every candidate, and every candidate on all labels, are trained as one. Where a class has one label there is
    nothing to validate on, and the strongest candidates are taken: the fit stays close to the plain mean of the encoders.

    Args:
        network: see `Network`.
        labeled: see `LabeledSet`.
        options: see `FitOptions`.
        generator: of the start and of the batches.
    """
    entropies, decays = sorted(set(options.entropies)), sorted(set(options.decays))
    grid = list(itertools.product(entropies, decays))
    n = len(labeled.labels)
    if labeled.folds is None:
        grid, chosen = [(entropies[-1], decays[-1])], 0
        fits = _trained(network, labeled, options, torch.ones(1, n), grid, generator)
    else:
        count = int(labeled.folds.max()) + 1
        held = one_hot(labeled.folds, count).T.bool()  # (folds, n)
        counted = torch.cat([(~held).float(), torch.ones(1, n)]).repeat(len(grid), 1)
        each = [pair for pair in grid for _ in range(count + 1)]
        fits = _trained(network, labeled, options, counted, each, generator)
        with torch.no_grad():
            logits = network.forward(fits.params, labeled.blocks)[0].unflatten(0, (len(grid), count + 1))[:, :count]
        out_of_fold = logits[:, held]  # in the order of `held`: fold by fold
        labels = labeled.labels.expand(count, -1)[held]
        accuracy = (out_of_fold.argmax(-1) == labels).double().mean(1).view(len(entropies), len(decays))
        loss = cross_entropy(out_of_fold.flatten(0, 1), labels.repeat(len(grid)), reduction="none").view(len(grid), -1)
        place = choose(accuracy, loss.mean(1).view(len(entropies), len(decays)))
        which = 0 if place is None else place[0] * len(decays) + place[1]
        chosen = which * (count + 1) + count
        grid = each
    p = {name: value[chosen : chosen + 1].clone() for name, value in fits.params.items()}

    def ask(features: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        with torch.no_grad():
            logits, weights = network.forward(p, labeled.standardized(features))
        return logits[0], None if weights is None else weights[0]

    with torch.no_grad():
        has_weights = network.forward(p, [block[:1] for block in labeled.blocks])[1] is not None
    entropy, decay = grid[chosen]
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
    generator: torch.Generator,
) -> _Fits:
    fits = len(counted)
    entropy, decay = (torch.tensor(column) for column in zip(*penalties, strict=True))
    start = network.initial(generator)
    constants = {name: value.expand(fits, *value.shape) for name, value in network.constants(generator).items()}
    params = {name: value.repeat(fits, *[1] * value.ndim).requires_grad_() for name, value in start.items()}
    optimizer = torch.optim.Adam(params.values(), lr=options.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(options.steps, 1))
    n = len(labeled.labels)
    order = torch.arange(0)
    with torch.enable_grad():
        for _ in range(options.steps):
            rows = torch.arange(n)
            if n > options.batch:
                if len(order) < options.batch:
                    order = torch.randperm(n, generator=generator)
                rows, order = order[: options.batch], order[options.batch :]
            own = counted[:, rows]
            share = own / own.sum(1, keepdim=True).clamp(min=1)
            logits, weights = network.forward({**params, **constants}, [b[rows] for b in labeled.blocks], own)
            labels = labeled.labels[rows].expand(fits, -1)
            losses = (share * cross_entropy(logits.mT, labels, reduction="none")).sum()
            if weights is not None:
                mean = (share[..., None] * weights).sum(1)
                losses = losses + (entropy * torch.special.xlogy(mean, mean * mean.shape[1]).sum(1)).sum()
            for name, value in params.items():
                losses = losses + (decay / 2 * (value - start[name]).flatten(1).square().sum(1)).sum()
            optimizer.zero_grad()
            losses.backward()
            optimizer.step()
            schedule.step()
    final = {name: value.detach() for name, value in {**params, **constants}.items()}
    with torch.no_grad():
        return _Fits(counted, entropy, decay, network.finished(final, labeled.blocks, counted))


def batch_statistics(z: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation ``(B, 1, m)`` of z ``(B, n, m)`` over the rows that count."""
    share = (counted / counted.sum(1, keepdim=True).clamp(min=1))[..., None]
    mean = (share * z).sum(1, keepdim=True)
    return mean, ((share * (z - mean).square()).sum(1, keepdim=True) + _EPSILON).sqrt()
