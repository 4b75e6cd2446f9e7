"""Agreement of tasks' expected gradients, without the bias of noise: two independent batches of every task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metatc2.diagnostics.gradients import ALL, blocks, grams, task_gradients
from metatc2.diagnostics.kinds import Kinds, kinds_of, mean_by_kind
from metatc2.diagnostics.resplits import enough, resplit, sizes
from metatc2.diagnostics.task_loss import TaskLoss
from metatc2.episodes import Episode
from metatc2.errors import InputError
from metatc2.inner import Params
from metatc2.metrics.null import FEWEST, AgainstNull, against_null

_WHAT = "gradient agreement"
Matrix = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class PairAgreement:
    """Two kinds of tasks, all parameters.

    Args:
        first, second: their names.
        cosine: see `Agreement.cosines`.
        difference: unbiased ``|E g_a − E g_b|² / 2``; 0 on average where both kinds have one expected gradient.
    """

    first: str
    second: str
    cosine: float | None
    difference: AgainstNull


@dataclass(frozen=True)
class Agreement:
    """Agreement of gradients; mappings are by block, ``"all"`` is all parameters.

    Args:
        within: mean over kinds of ``<g_a(1), g_a(2)>``, which estimates ``|E g_a|²``: above 0 where there is any signal.
        between: mean over pairs of different kinds of ``<g_a(1), g_b(2)>``, which estimates ``<E g_a, E g_b>``.
        difference: ``within − between``; 0 on average where tasks do not differ. The figure to test by: its null is exact.
        ratio: ``between / within``: 1 where expected gradients are the same, below 1 where they differ, below 0 where they
            oppose each other; its draws are ``1 − difference of the draw / within``. None where `within` is not above 0.
        signal: `within` over the mean squared length of one batch's gradient: the share of it that is no noise.
        cosines: ``(K, K)``, ``G_ab / √(G_aa G_bb)`` with G the mean of ``<g_a(1), g_b(2)>`` both ways. Noise may bring it
            beyond ±1. None where a root is of nothing above 0, or where no episode holds both kinds.
        pairs: of kinds, where episodes say of what kinds their tasks are; else none, as places mean nothing.
        without_gradient: blocks left out, because all their gradients are exactly zero.
        kinds: names of the rows of `cosines`.
        tasks, support, query: sizes of an episode.
        episodes: how many.
        resplits: draws of the null.
    """

    within: Mapping[str, AgainstNull]
    between: Mapping[str, AgainstNull]
    difference: Mapping[str, AgainstNull]
    ratio: Mapping[str, AgainstNull | None]
    signal: Mapping[str, AgainstNull]
    cosines: Mapping[str, Matrix]
    pairs: tuple[PairAgreement, ...]
    without_gradient: tuple[str, ...]
    kinds: tuple[str, ...]
    tasks: int
    support: int
    query: int
    episodes: int
    resplits: int


def gradient_agreement(
    loss: TaskLoss,
    params: Params,
    episodes: Episode | Sequence[Episode],
    *,
    generator: torch.Generator,
    resplits: int = FEWEST,
    pattern: str | None = None,
) -> Agreement:
    """Measure how far tasks' *expected* gradients agree, beside what re-splits of the same samples give.

    The cosine between two gradients of one batch each falls with their noise, whatever the tasks. Products of gradients of
    *independent* batches do not: ``E <g_i(1), g_j(2)> = <E g_i, E g_j>``, for i = j too. The support side of a task is its
    batch 1 and the query side its batch 2. Products are averaged over all episodes, by kind of task where `Episode.identity`
    says it, else by place, and ratios are taken of the means. (Dot products across batches as the measure of what tasks
    share: our estimator; the bias it avoids is that of any squared mean.)

    The null assigns all samples of an episode, both sides alike, anew to tasks of the same sizes (as `task_conflict`); under it
    `difference` is 0 on average and the value one draw among others.

    Costs ``episodes · (resplits + 1)`` times 2 M gradients of one task, one backward each; 2 M gradients are held at once.

    Args:
        loss: of one task, see `task_conflict`. Where it changes with the number of samples (contrastive losses), give both
            sides equally many.
        params: θ by name.
        episodes: each at least 2 tasks; all of the same sizes. Both sides of a task must be drawn independently of each
            other. More episodes make all figures sharper.
        generator: the re-splits are drawn from it.
        resplits: draws of the null, at least 39, which give a 95 % interval.
        pattern: see `blocks`.

    Raises:
        InputError: if there is one task alone, sizes or names of kinds differ, a loss is not finite, or all gradients are zero.

    >>> from metatc2.episodes import Samples
    >>> generator = torch.Generator().manual_seed(0)
    >>> centers = torch.tensor([1.0, -1.0]).view(2, 1, 1).expand(2, 8, 1)
    >>> x = centers + 0.1 * torch.randn(2, 8, 1, generator=generator)             # two tasks that oppose
    >>> side = lambda t: Samples(t, None, None, torch.zeros(t.shape[:2], dtype=torch.int64))
    >>> agreement = gradient_agreement(
    ...     lambda p, samples: (p["w"] - samples).square().mean(), {"w": torch.zeros(1)},
    ...     Episode(side(x[:, :4]), side(x[:, 4:])), generator=generator)
    >>> round(agreement.ratio["all"].value, 2), agreement.difference["all"].outside, agreement.signal["all"].value > 0.9
    (-1.0, True, True)
    """
    drawn = [episodes] if isinstance(episodes, Episode) else list(episodes)
    tasks, support, query = sizes(drawn, _WHAT)
    kinds = kinds_of(drawn, _WHAT)
    groups = blocks(list(params), pattern)
    observed = _measure(loss, params, [(e.support.images, e.query.images) for e in drawn], groups, kinds)
    silent = {block for block, one in observed.items() if not one.length > 0}
    if ALL in silent:
        raise InputError(
            f"{_WHAT}: all gradients are exactly zero; a MoCo queue that is empty and an encoder that the loss does not reach "
            "do this: give a learner that has trained"
        )
    kept = [block for block in (ALL, *groups) if block not in silent]
    draws = [
        _measure(loss, params, [resplit(episode, generator) for episode in drawn], groups, kinds)
        for _ in range(enough(resplits, _WHAT))
    ]
    beside = {block: _beside(observed[block], [draw[block] for draw in draws]) for block in kept}
    return Agreement(
        within={block: figures["within"] for block, figures in beside.items()},
        between={block: figures["between"] for block, figures in beside.items()},
        difference={block: figures["difference"] for block, figures in beside.items()},
        ratio={block: _ratio(observed[block], [draw[block] for draw in draws]) for block in kept},
        signal={block: figures["signal"] for block, figures in beside.items()},
        cosines={block: _cosines(observed[block].gram) for block in kept},
        pairs=_pairs(observed[ALL].gram, [draw[ALL].gram for draw in draws], kinds) if kinds.known else (),
        without_gradient=tuple(block for block in groups if block in silent),
        kinds=kinds.names,
        tasks=tasks,
        support=support,
        query=query,
        episodes=len(drawn),
        resplits=resplits,
    )


@dataclass(frozen=True, eq=False)
class _Products:
    """Of one block: ``(K, K)`` products of gradients of independent batches, symmetrical; mean squared length of a gradient."""

    gram: Tensor
    length: float

    @property
    def within(self) -> float:
        return float(self.gram.diagonal().mean())

    @property
    def between(self) -> float:
        others = ~torch.eye(len(self.gram), dtype=torch.bool)
        return float(self.gram[others].nanmean())

    def figures(self) -> dict[str, float]:
        return {
            "within": self.within,
            "between": self.between,
            "difference": self.within - self.between,
            "signal": self.within / self.length if self.length > 0 else 0.0,
        }


def _measure(
    loss: TaskLoss,
    params: Params,
    episodes: Sequence[tuple[Tensor, Tensor]],
    groups: Mapping[str, Sequence[str]],
    kinds: Kinds,
) -> dict[str, _Products]:
    products: dict[str, list[Tensor]] = {block: [] for block in (ALL, *groups)}
    lengths: dict[str, list[Tensor]] = {block: [] for block in products}
    for sides in episodes:
        first, second = (task_gradients(loss, params, side) for side in sides)
        crossed = grams(first, groups, second)
        squared = [grams(side, groups) for side in (first, second)]
        for block, gram in crossed.items():
            products[block].append(gram)
            lengths[block] += [square[block].diagonal().mean() for square in squared]
    per_block = {}
    for block, each in products.items():
        mean = mean_by_kind(each, kinds)
        per_block[block] = _Products((mean + mean.mT) / 2, float(torch.stack(lengths[block]).mean()))
    return per_block


def _beside(observed: _Products, draws: Sequence[_Products]) -> dict[str, AgainstNull]:
    null = [draw.figures() for draw in draws]
    return {name: against_null(value, [draw[name] for draw in null]) for name, value in observed.figures().items()}


def _ratio(observed: _Products, draws: Sequence[_Products]) -> AgainstNull | None:
    """Draws have the denominator of the value: tasks that cancel each other leave re-splits none of their own."""
    if not observed.within > 0:
        return None
    null = [1 - (draw.within - draw.between) / observed.within for draw in draws]
    return against_null(observed.between / observed.within, null)


def _cosines(gram: Tensor) -> Matrix:
    squares = gram.diagonal()
    roots = squares.where(squares > 0, torch.full_like(squares, torch.nan)).sqrt()
    cosine = gram / (roots[:, None] * roots)
    return tuple(tuple(x if x == x else None for x in row) for row in cosine.tolist())


def _pairs(gram: Tensor, draws: Sequence[Tensor], kinds: Kinds) -> tuple[PairAgreement, ...]:
    cosine, null = _cosines(gram), torch.stack([_differences(draw) for draw in draws])
    value = _differences(gram)
    seen = [(a, b) for a, b in value.isfinite().nonzero().tolist() if a < b]
    return tuple(
        PairAgreement(
            kinds.names[a], kinds.names[b], cosine[a][b], against_null(float(value[a, b]), null[:, a, b].tolist())
        )
        for a, b in seen
    )


def _differences(gram: Tensor) -> Tensor:
    squares = gram.diagonal()
    return (squares[:, None] + squares) / 2 - gram
