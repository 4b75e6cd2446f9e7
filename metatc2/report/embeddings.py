"""A few hundred images of a run's target, and what its encoder makes of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metatc2.data import ImageStore
from metatc2.errors import InputError
from metatc2.experiment.run import Run
from metatc2.experiment.targets import Sources, find_targets
from metatc2.io.plain_text import visible
from metatc2.ops.rows import unit_rows
from metatc2.report.methods import Folder
from metatc2.transfer import extract

_MOST = 600
_A_CLASS = 60
_NEIGHBORS = 5
_TEMPERATURE = 0.1  # as in the k-NN protocol


@dataclass(frozen=True, eq=False)
class SampledImages:
    """Images of a target, class after class.

    Args:
        target: e.g. ``"glyphs:greek"``.
        rows: int64 ``(n,)``: rows of the store.
        labels: int64 ``(n,)``: indices into `classes`.
        classes: names, in the order of the labels.
        domains: name of the domain of each image; empty where there is one only.
    """

    target: str
    rows: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    domains: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Vote:
    """Nearest neighbors of a sample in the features of an encoder, and the classes that they vote for.

    Args:
        features: ``(n, d)`` of length 1.
        nearest: int64 ``(n, k)``: the nearest others by cosine.
        similarity: ``(n, k)``: their cosines.
        chosen: int64 ``(n,)``: class that the neighbors vote for, each with weight ``exp(cosine / 0.1)``.
        share: ``(n,)``: of the vote that it got.
    """

    features: Tensor
    nearest: Tensor
    similarity: Tensor
    chosen: Tensor
    share: Tensor


def target_of(folder: Folder) -> str:
    """What the images are taken from: the first target measured, else the first configured, else the run's own source."""
    if folder.rows:
        return folder.rows[0].target
    return next(iter(folder.config.transfer.targets), folder.config.data.source)


def load_target(target: str, run: Run) -> tuple[ImageStore, str]:
    """The store of a target, in the size that a run's encoder takes, and the one split that is looked at.

    Args:
        target: ``"SOURCE[:SPLIT]"``.
        run: its configuration says where data lie.

    Raises:
        InputError: if it cannot be had here.
    """
    # What may be looked at is not what may be claimed: classes seen in pre-training are marked in the table.
    loaded = find_targets(run.pretrained, (target,), Sources(run.config.data.root), allow_seen=True)[0]
    return loaded.store, loaded.split


def draw_sample(store: ImageStore, split: str) -> SampledImages:
    """Up to 600 images, up to 60 a class, of classes drawn at random: always the same ones.

    Raises:
        InputError: if the split has no two classes of two images.

    >>> store = ImageStore("toy", torch.zeros(9, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 3]))
    >>> draw_sample(store, "all").labels.bincount().tolist() in ([3, 3, 2], [3, 2, 3], [2, 3, 3])
    True
    """
    generator = torch.Generator().manual_seed(0)
    rows = store.rows(split)
    labels = store.labels[rows]
    names, counts = torch.unique(labels, return_counts=True)
    names = names[counts >= 2]
    if len(names) < 2:
        raise InputError(f"{store.name}:{split}: a map needs two classes of two images; measure another target")
    picked: list[Tensor] = []
    classes: list[int] = []
    for label in names[torch.randperm(len(names), generator=generator)].tolist():
        own = rows[labels == label]
        own = own[torch.randperm(len(own), generator=generator)[:_A_CLASS]]
        if sum(map(len, picked)) + len(own) > _MOST and len(picked) > 1:
            break
        picked.append(own)
        classes.append(label)
    chosen = torch.cat(picked)
    one_domain = len(store.domain_names) < 2
    return SampledImages(
        target=visible(f"{store.name}:{split}"),
        rows=chosen,
        labels=torch.repeat_interleave(torch.arange(len(picked)), torch.tensor([len(own) for own in picked])),
        classes=tuple(visible(store.class_names[label]) for label in classes),
        domains=() if one_domain else tuple(visible(store.domain_names[d]) for d in store.domains[chosen].tolist()),
    )


def vote_of(run: Run, images: Tensor, labels: Tensor) -> Vote:
    """Features and nearest neighbors of each image among the others.

    Args:
        run: whose encoder.
        images: uint8 ``(n, C, H, W)``, n at least 2.
        labels: int64 ``(n,)``.

    Raises:
        InputError: if the encoder does not take these images.
    """
    return vote(extract(run.encoder, images, name=f"the encoder of {run.path}"), labels)


def vote(features: Tensor, labels: Tensor) -> Vote:
    """Neighbors by cosine, each image left out of its own, and their vote (Wu et al. 2018, arXiv 1805.01978).

    Args:
        features: ``(n, d)``.
        labels: int64 ``(n,)``, from 0.

    >>> result = vote(torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 3.0]]), torch.tensor([0, 0, 1, 1]))
    >>> result.chosen.tolist(), result.nearest[:, 0].tolist()
    ([0, 0, 1, 1], [1, 0, 3, 2])
    """
    unit = unit_rows(features)
    cosine = (unit @ unit.T).fill_diagonal_(-torch.inf)
    similarity, nearest = cosine.topk(min(_NEIGHBORS, len(unit) - 1), dim=1)
    weight = ((similarity - similarity[:, :1]) / _TEMPERATURE).exp()
    votes = torch.zeros(len(unit), int(labels.max()) + 1).scatter_add(1, labels[nearest], weight)
    share, chosen = (votes / votes.sum(1, keepdim=True)).max(1)
    return Vote(unit, nearest, similarity, chosen, share)
