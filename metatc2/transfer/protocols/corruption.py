"""Robustness to corruptions: a frozen encoder and a head fitted on clean images meet corrupted ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from metatc2.augment.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from metatc2.data.streaming import Images, some_of
from metatc2.episodes.sampler import stream
from metatc2.errors import InputError, nearest
from metatc2.ops.numbers import whole, wholes
from metatc2.transfer.heads.nearest_prototype import prototype_classifier
from metatc2.transfer.protocols._classifier import ClassifierProtocol, classified, target_splits
from metatc2.transfer.protocols.base import Measured, Subject
from metatc2.transfer.protocols.registry import register_protocol
from metatc2.transfer.targets import Target

CLEAN = "clean"


@dataclass(frozen=True, eq=False)
class CorruptionRobustness:
    """Which images were classified rightly, clean and corrupted.

    Args:
        names: of the corruptions.
        severities: from 1 to 5.
        clean: float64 ``(N,)``: 1 where the clean image gets its class, else 0.
        corrupted: float64 ``(corruptions, severities, N)``: likewise.
        seed: of the corruptions.
    """

    names: tuple[str, ...]
    severities: tuple[int, ...]
    clean: Tensor
    corrupted: Tensor
    seed: int

    @property
    def correct(self) -> Tensor:
        """Share of its corruptions under which each image gets its class, float64 ``(N,)``; their mean is `accuracy`."""
        return self.corrupted.mean((0, 1))

    @property
    def accuracy(self) -> float:
        """Mean corruption accuracy: over corruptions, severities and images, all of equal weight."""
        return float(self.corrupted.mean())

    @property
    def clean_accuracy(self) -> float:
        """On the images as they are."""
        return float(self.clean.mean())

    @property
    def table(self) -> Tensor:
        """Accuracy by corruption and severity, float64 ``(corruptions, severities)``."""
        return self.corrupted.mean(2)


def corruption_robustness(
    features: Callable[[Tensor], Tensor],
    classify: Callable[[Tensor], Tensor],
    images: Images,
    labels: Tensor,
    *,
    seed: int = 0,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    batch: int = 512,
) -> CorruptionRobustness:
    """Classify the images clean and under every corruption and severity.

    The corrupted images follow from `seed`, name, severity and the images' order alone, so every encoder meets the same
    ones, to the pixel. They are kept as uint8, as the published sets are, and made a batch at a time.

    Args:
        features: maps uint8 images ``(n, C, H, W)`` to float features ``(n, D)``, e.g. `extract` with an encoder.
        classify: maps features ``(n, D)`` to predicted labels ``(n,)``; fitted on clean images, which is the caller's
            part.
        images: uint8 ``(N, C, H, W)``, test images, in memory or on disk.
        labels: int64 ``(N,)``.
        seed: of the corruptions, at least 0.
        corruptions: of `metatc2.augment.corruptions.CORRUPTIONS`; all by default.
        severities: of 1 to 5; all by default.
        batch: images at a time; changes memory, not results.

    Raises:
        InputError: if a name or severity is unknown or twice, shapes do not fit, or `features` or `classify` return
            something else.

    >>> images = torch.arange(8).remainder(2).mul(255).byte().view(8, 1, 1, 1).repeat(1, 1, 8, 8)
    >>> result = corruption_robustness(lambda x: x.float().flatten(1), lambda f: (f.mean(1) > 127).long(), images,
    ...                               torch.arange(8) % 2, corruptions=["contrast", "fog"])
    >>> result.clean_accuracy, result.table.shape
    (1.0, torch.Size([2, 5]))
    """
    names = tuple(CORRUPTIONS) if corruptions is None else tuple(corruptions)
    for name in names:
        if name not in CORRUPTIONS:
            raise InputError(f"corruption robustness: unknown corruption {name!r}; {nearest(name, CORRUPTIONS)}")
    levels = wholes(severities, "corruption robustness: severities", 1)
    if not names or len(set(names)) < len(names):
        raise InputError(f"corruption robustness: name each corruption once, at least one, got {names}")
    if not levels or len(set(levels)) < len(levels) or not set(levels) <= set(SEVERITIES):
        raise InputError(f"corruption robustness: severities must be different numbers from 1 to 5, got {levels}")
    if images.dtype != torch.uint8 or images.ndim != 4 or not len(images) or labels.shape != (len(images),):
        raise InputError(
            f"corruption robustness: images must be uint8 (N, C, H, W), not empty, with one label each, "
            f"got {images.dtype} {tuple(images.shape)} and {tuple(labels.shape)}"
        )
    batch, seed = whole(batch, "corruption robustness: batch", 1), whole(seed, "corruption robustness: seed", 0)

    def correct(some: Tensor, truth: Tensor) -> Tensor:
        computed = features(some)
        if not isinstance(computed, Tensor) or computed.ndim != 2 or len(computed) != len(some):
            got = tuple(computed.shape) if isinstance(computed, Tensor) else type(computed).__name__
            raise InputError(
                f"corruption robustness: features must map {len(some)} images to ({len(some)}, D), got {got}"
            )
        predicted = classify(computed)
        if not isinstance(predicted, Tensor) or predicted.shape != truth.shape:
            got = tuple(predicted.shape) if isinstance(predicted, Tensor) else type(predicted).__name__
            raise InputError(
                f"corruption robustness: classify must map features of {len(some)} images to labels ({len(some)},), got {got}"
            )
        return (predicted.cpu() == truth.cpu()).double()

    # A stream a corruption and severity: which others are asked for does not change it.
    streams = [[stream(seed, level, *name.encode()) for level in levels] for name in names]
    clean, corrupted = [], []
    with torch.no_grad():
        for start in range(0, len(images), batch):
            some, truth = images[start : start + batch], labels[start : start + batch]
            clean.append(correct(some, truth))
            rows = [
                [correct(corrupt(some, name, level, g), truth) for level, g in zip(levels, row, strict=True)]
                for name, row in zip(names, streams, strict=True)
            ]
            corrupted.append(torch.stack([torch.stack(row) for row in rows]))
    return CorruptionRobustness(names, levels, torch.cat(clean), torch.cat(corrupted, 2), seed)


def mean_corruption_error(
    measured: CorruptionRobustness, reference: CorruptionRobustness, *, relative: bool = False
) -> float:
    """mCE against a reference encoder (Hendrycks & Dietterich 2019, section 4.1): 1 is as robust as the reference.

    For each corruption the errors are added over severities and divided by the reference's, then averaged over
    corruptions. The relative one takes the clean error off each error first: how much is *lost* by corruption.

    Args:
        measured: of the encoder in question.
        reference: of another one on the same images, under the same corruptions.
        relative: whether to take the clean errors off.

    Raises:
        InputError: if the two differ in images, corruptions, severities or seed, or the reference makes no error (loses
            nothing) under some corruption.
    """
    for name in ("names", "severities", "seed"):
        if getattr(measured, name) != getattr(reference, name):
            raise InputError(
                f"mCE: the encoder and the reference differ in {name} ({getattr(measured, name)} and "
                f"{getattr(reference, name)}); measure both alike"
            )
    if len(measured.clean) != len(reference.clean):
        raise InputError(
            f"mCE: the encoder was measured on {len(measured.clean)} images and the reference on {len(reference.clean)}; "
            "measure both on the same"
        )
    own, base = (
        (1 - side.table - (1 - side.clean_accuracy if relative else 0)).sum(1) for side in (measured, reference)
    )
    if bool((base <= 0).any()):
        name = measured.names[int((base <= 0).nonzero()[0])]
        lacks = "loses nothing" if relative else "makes no error"
        raise InputError(
            f"mCE: the reference {lacks} under {name}, so nothing can be divided by it; take a weaker reference"
        )
    return float((own / base).mean())


@register_protocol("corruption")
@dataclass(frozen=True, kw_only=True)
class Corruption(ClassifierProtocol):
    """For each encoder: accuracy on clean test images, under each corruption, and over all of them.

    The classifier is the nearest prototype by cosine of the clean training and validation images: nothing is chosen, and
    what it loses is the features' loss. Every encoder meets the same corrupted images; see `corruption_robustness`.
    """

    needs_images = True
    facts = ("way", "query", "head", "setting")

    def check(self, target: Target) -> tuple[str, ...]:
        """See `Protocol.check`."""
        if target.store.channels not in (1, 3):
            raise InputError(
                f"transfer: corruptions are of images with 1 or 3 channels, and {target.store.name} has {target.store.channels}"
                "; choose another protocol"
            )
        return super().check(target)

    def run(self, subject: Subject) -> Iterator[Measured]:
        """See `Protocol.run`."""
        splits = target_splits(subject.target)
        known = torch.cat([splits.train, splits.validation])
        for name in subject.names:
            robustness = corruption_robustness(
                partial(subject.table.run, name),
                prototype_classifier(subject.table.at(name, known), subject.labels(known)),
                some_of(subject.target.store.images, splits.test),
                subject.labels(splits.test),
            )
            of_all = robustness.corrupted.flatten(0, 1).mean(0)
            each = {corruption: robustness.corrupted[i].mean(0) for i, corruption in enumerate(robustness.names)}
            over = f"mean over {len(robustness.names)} corruptions × {len(robustness.severities)} severities"
            for setting, values in {CLEAN: robustness.clean, over: of_all, **each}.items():
                yield classified(subject, splits, name, values, head="cosine", setting=setting)
