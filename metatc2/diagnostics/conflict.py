"""Task conflict: transferability, conflict rate and gradient cosines, each beside its noise null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metatc2.diagnostics.gradients import ALL, blocks, cosines, grams, magnitude_similarity, task_gradients
from metatc2.diagnostics.kinds import Kinds, kinds_of, mean_by_kind
from metatc2.diagnostics.resplits import enough, resplit, sizes
from metatc2.diagnostics.task_loss import TaskLoss
from metatc2.diagnostics.transfer_gain import conflict_rate, transfer_gains, transferability
from metatc2.episodes import Episode
from metatc2.errors import InputError
from metatc2.inner import Params
from metatc2.metrics.null import FEWEST, AgainstNull, against_null

_WHAT = "task conflict"


@dataclass(frozen=True)
class PairGain:
    """Transfer between two kinds of tasks.

    Args:
        step: kind of the task that the step is on.
        evaluated: kind of the task whose loss is evaluated; of the same kind where both names are one.
        gain: mean gain, above 0 where the step helps.
    """

    step: str
    evaluated: str
    gain: AgainstNull


@dataclass(frozen=True)
class Conflict:
    """Task conflict at the present parameters; every figure is a mean over the episodes, and so is each draw of its null.

    Args:
        transferability: T, mean gain over pairs of different tasks, in units of the loss.
        conflict_rate: C, share of negative gains.
        own_gain: mean gain of a task by its own step; where it is below 0 the step is too long for T and C to mean anything.
        cosine: by block, mean cosine between the gradients of two tasks; ``"all"`` is all parameters.
        cosine_below_zero: by block, share of cosines below 0.
        magnitude_similarity: by block, see `metatc2.diagnostics.magnitude_similarity`.
        without_gradient: blocks left out, because the gradient of a task is exactly zero there.
        gains: G, mean over the episodes; row: the task that the step was on. ``(K, K)`` by kind where episodes say of what
            kinds their tasks are (`Episode.identity`), NaN for kinds that no episode holds together; else ``(M, M)`` by place.
        tasks, support, query: sizes of an episode.
        episodes: how many.
        resplits: draws of the null.
        lr: length α of the step.
        kinds: names of the rows of `gains`.
        pairs: every entry of `gains` beside its null, where episodes say the kinds; else none, as places mean nothing.
    """

    transferability: AgainstNull
    conflict_rate: AgainstNull
    own_gain: AgainstNull
    cosine: Mapping[str, AgainstNull]
    cosine_below_zero: Mapping[str, AgainstNull]
    magnitude_similarity: Mapping[str, AgainstNull]
    without_gradient: tuple[str, ...]
    gains: tuple[tuple[float, ...], ...]
    tasks: int
    support: int
    query: int
    episodes: int
    resplits: int
    lr: float
    kinds: tuple[str, ...] = ()
    pairs: tuple[PairGain, ...] = ()


def task_conflict(
    loss: TaskLoss,
    params: Params,
    episodes: Episode | Sequence[Episode],
    *,
    generator: torch.Generator,
    resplits: int = FEWEST,
    lr: float = 0.05,
    pattern: str | None = None,
) -> Conflict:
    """Measure conflict between the tasks of episodes, and what random re-splits of the same batches give.

    Tasks cut at random from one batch are exchangeable: whatever conflict they show is sampling noise. The null assigns all
    samples of an episode, support and query alike, anew to tasks of the same sizes. Definitions: `transfer_gains`;
    the cosines are those of the gradients that the gains step along, on the support sides.

    Costs ``episodes · (resplits + 1)`` times M gradients and M² + M losses of one task.

    Args:
        loss: of one task, from parameters by name and its samples ``(samples, ...)``; must not depend on their order, nor
            draw random numbers. `task_loss` makes one of a learner.
        params: θ by name.
        episodes: each at least 2 tasks; all of the same sizes. Their `images` may be anything with leading axes
            ``(tasks, samples)``.
        generator: the re-splits are drawn from it.
        resplits: draws of the null, at least 39, which give a 95 % interval.
        lr: α of the gains.
        pattern: see `blocks`.

    Raises:
        InputError: if there is one task alone, sizes or names of kinds differ, a loss is not finite, or a whole gradient is
            zero.

    >>> from metatc2.episodes import Samples
    >>> generator = torch.Generator().manual_seed(0)
    >>> centers = torch.tensor([1.0, -1.0]).view(2, 1, 1).expand(2, 8, 1)
    >>> x = centers + 0.1 * torch.randn(2, 8, 1, generator=generator)             # two tasks that oppose
    >>> side = lambda t: Samples(t, None, None, torch.zeros(t.shape[:2], dtype=torch.int64))
    >>> conflict = task_conflict(
    ...     lambda p, samples: (p["w"] - samples).square().mean(), {"w": torch.zeros(1)},
    ...     Episode(side(x[:, :4]), side(x[:, 4:])), generator=generator)
    >>> conflict.conflict_rate.value, conflict.cosine["all"].value, conflict.transferability.outside
    (1.0, -1.0, True)
    """
    drawn = [episodes] if isinstance(episodes, Episode) else list(episodes)
    tasks, support, query = sizes(drawn, _WHAT)
    kinds = kinds_of(drawn, _WHAT)
    groups = blocks(list(params), pattern)
    gains, observed, silent = [], [], set[str]()
    for episode in drawn:
        matrix, products = _measure(loss, params, episode.support.images, episode.query.images, groups, lr)
        gains.append(matrix)
        observed.append((matrix, products))
        silent |= {name for name, gram in products.items() if not bool((gram.diagonal() > 0).all())}
    if ALL in silent:
        raise InputError(
            "task conflict: the gradient of a task is exactly zero; a MoCo queue that is empty and an encoder that the loss "
            "does not reach do this: give a learner that has trained"
        )
    kept = [name for name in (ALL, *groups) if name not in silent]
    figures = _average([_figures(*measured, kept) for measured in observed])
    draws, null_gains = [], []
    for _ in range(enough(resplits, _WHAT)):
        again = [resplit(episode, generator) for episode in drawn]
        resplits_measured = [_measure(loss, params, s, q, groups, lr) for s, q in again]
        draws.append(_average([_figures(*measured, kept) for measured in resplits_measured]))
        null_gains.append(mean_by_kind([matrix for matrix, _ in resplits_measured], kinds))
    beside = {name: against_null(value, [draw[name] for draw in draws]) for name, value in figures.items()}
    mean_gains = mean_by_kind(gains, kinds)
    return Conflict(
        transferability=beside["T", ALL],
        conflict_rate=beside["C", ALL],
        own_gain=beside["own", ALL],
        cosine={name: beside["cosine", name] for name in kept},
        cosine_below_zero={name: beside["below", name] for name in kept},
        magnitude_similarity={name: beside["magnitude", name] for name in kept},
        without_gradient=tuple(name for name in groups if name in silent),
        gains=tuple(tuple(row) for row in mean_gains.tolist()),
        tasks=tasks,
        support=support,
        query=query,
        episodes=len(drawn),
        resplits=resplits,
        lr=lr,
        kinds=kinds.names,
        pairs=_pairs(mean_gains, null_gains, kinds) if kinds.known else (),
    )


Figures = dict[tuple[str, str], float]


def _measure(
    loss: TaskLoss, params: Params, support: Tensor, query: Tensor, groups: Mapping[str, Sequence[str]], lr: float
) -> tuple[Tensor, dict[str, Tensor]]:
    gradients = task_gradients(loss, params, support)
    return transfer_gains(loss, params, gradients, query, lr=lr), grams(gradients, groups)


def _figures(gains: Tensor, products: Mapping[str, Tensor], kept: Sequence[str]) -> Figures:
    figures = {
        ("T", ALL): transferability(gains),
        ("C", ALL): conflict_rate(gains),
        ("own", ALL): float(gains.diagonal().mean()),
    }
    for name in kept:
        cosine = cosines(products[name])
        figures["cosine", name] = float(cosine.mean())
        figures["below", name] = float((cosine < 0).double().mean())
        figures["magnitude", name] = float(magnitude_similarity(products[name]).mean())
    return figures


def _pairs(gains: Tensor, draws: Sequence[Tensor], kinds: Kinds) -> tuple[PairGain, ...]:
    null = torch.stack(list(draws))
    seen = gains.isfinite().nonzero().tolist()
    return tuple(
        PairGain(kinds.names[i], kinds.names[j], against_null(float(gains[i, j]), null[:, i, j].tolist()))
        for i, j in seen
    )


def _average(parts: Sequence[Figures]) -> Figures:
    return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}
