"""Conflict between the tasks of one network, each figure beside its null: the same images assigned to tasks at random."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from metatc2.data import ImageStore
from metatc2.diagnostics import (
    blocks,
    conflict_rate,
    cosines,
    grams,
    task_gradients,
    transfer_gains,
    transferability,
)
from metatc2.diagnostics.task_loss import TaskLoss
from metatc2.episodes import Episode, SplitBatch
from metatc2.experiment.build import build_views
from metatc2.experiment.config import Config
from metatc2.inner import Params
from metatc2.transfer import mean_interval

EPISODES, TASKS, BATCH = 5, 4, 128
# Length of the step of the gains over that of θ: a learning rate would mean another step under every objective and arm. In
# trained encoders a task's own loss falls at 0.002 and rises again at 0.03.
STEP = 0.002
SEED = 20_000  # of evaluation episodes and re-splits; no cell is trained with it
ALL = "all"


def evaluation_episodes(config: Config, store: ImageStore, split: str, count: int = EPISODES) -> list[Episode]:
    """The same for every arm, objective and seed of a study: tasks of neighboring domains, in the views of pre-training."""
    sampler = SplitBatch(
        store,
        build_views(config, store.image_size),
        tasks=TASKS,
        batch=BATCH,
        assign="domain",
        split=split,
        seed=SEED,
    )
    return [sampler.sample() for _ in range(count)]


def resplit(episode: Episode, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Support and query images of as many tasks, assigned anew at random."""
    images = episode.images
    order = torch.randperm(images.shape[0] * images.shape[1], generator=generator)
    again = images.flatten(0, 1)[order].unflatten(0, images.shape[:2])
    support = episode.support.images.shape[1]
    return again[:, :support], again[:, support:]


def figures(loss: TaskLoss, params: Params, support: Tensor, query: Tensor) -> dict[str, float]:
    """Transferability, conflict rate, a task's own gain, and by block gradient cosines and their share below 0."""
    gradients = task_gradients(loss, params, support)
    products = grams(gradients, blocks(list(params)))
    lengths = products[ALL].diagonal().sqrt()
    theta = math.sqrt(sum(float(p.double().square().sum()) for p in params.values()))
    lr = STEP * theta / max(float(lengths.mean()), 1e-12)
    gains = transfer_gains(loss, params, gradients, query, lr=lr)
    result = {"T": transferability(gains), "C": conflict_rate(gains), "own_gain": float(gains.diagonal().mean())}
    for name, gram in products.items():
        angles = cosines(gram)
        result[f"cosine_{name}"] = float(angles.mean())
        result[f"below_zero_{name}"] = float((angles < 0).double().mean())
    return result


def conflict(loss: TaskLoss, params: Params, episodes: Sequence[Episode]) -> dict[str, float]:
    """`figures` over episodes: mean, mean of the null, and their paired difference with its 95 % interval over episodes.

    Args:
        loss, params: see `metatc2.diagnostics.task_loss`.
        episodes: at least two, of tasks whose images differ in kind.

    Returns:
        Of each figure F: F, F_null, F_excess and F_excess_ci95.
    """
    generator = torch.Generator().manual_seed(SEED)
    own = [figures(loss, params, e.support.images, e.query.images) for e in episodes]
    null = [figures(loss, params, *resplit(e, generator)) for e in episodes]
    result: dict[str, float] = {}
    for name in own[0]:
        a, b = (np.array([part[name] for part in parts]) for parts in (own, null))
        excess, half = mean_interval((a - b).tolist())
        result |= {name: float(a.mean()), f"{name}_null": float(b.mean())}
        result |= {f"{name}_excess": excess, f"{name}_excess_ci95": half}
    return result
