"""How much of each augmentation parameter frozen features tell: R² of what was done to the views."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from metatc2.augment import Views
from metatc2.augment.descriptor import DESCRIPTOR
from metatc2.augment.recipes import RECIPES
from metatc2.data.splits import TransferSplits
from metatc2.episodes.sampler import stream
from metatc2.errors import InputError
from metatc2.io.options import Names
from metatc2.metrics.regression import MLP, RidgeFit, fit_mlp, fit_ridge, r2_by_row
from metatc2.ops.numbers import whole
from metatc2.transfer.protocols._classifier import target_splits
from metatc2.transfer.protocols.base import Measured, Protocol, Subject, target_seed
from metatc2.transfer.protocols.registry import register_protocol
from metatc2.transfer.row import R2

SHUFFLED = "descriptors shuffled"
_FULL_TURN = 2 * torch.pi


class Described(NamedTuple):
    """Views and what was done to them.

    Args:
        images: uint8 ``(N, 2, C, H, W)``.
        descriptors: float64 ``(N, 2, P)``.
    """

    images: Tensor
    descriptors: Tensor


def describe(images: Tensor, views: Views, seed: int, batch: int = 512) -> Described:
    """Two views of each image. They follow from images, recipe and seed, so every encoder meets the same ones.

    Args:
        images: uint8 ``(N, C, H, W)``.
        views: the recipe.
        seed: at least 0.
        batch: images at a time.
    """
    generator = stream(whole(seed, "augmentation: seed", 0))
    made, told = [], []
    for some in images.split(batch):
        view, descriptor = views(some, generator, views=2)
        made.append((view * 255).round().byte())
        told.append(descriptor.double())
    return Described(torch.cat(made), torch.cat(told))


def columns(descriptors: Tensor, views: Views) -> dict[str, Tensor]:
    """What is to be told, by part of the descriptor; angles as sine and cosine.

    Args:
        descriptors: ``(N, P)``.
        views: the recipe that they are of, whose ranges are the units of rotation and hue.

    >>> parts = columns(Views(rotation=90).sample(5, torch.Generator().manual_seed(0)), Views(rotation=90))
    >>> parts["rotation"].shape, parts["crop"].shape
    (torch.Size([5, 2]), torch.Size([5, 4]))
    """
    parts = {name: descriptors[:, place] for name, place in DESCRIPTOR.items()}
    turn = parts["rotation"] * torch.pi * views.rotation / 180
    hue = parts["color"][:, 3:] * views.hue * _FULL_TURN
    parts["rotation"] = torch.cat([turn.sin(), turn.cos()], 1)
    parts["color"] = torch.cat([parts["color"][:, :3], hue.sin(), hue.cos()], 1)
    return parts


@register_protocol("augmentation")
@dataclass(frozen=True, kw_only=True)
class Augmentation(Protocol):
    """For each encoder and part of the descriptor: R² of its columns, told by a probe from features of views.

    From a single view its own descriptor is to be told, from two views of an image the difference of theirs, as in AugSelf. R²
    is of test images, about each column's own mean there, and averaged over the columns of a part that vary; it can be
    negative. A second set of rows, of the ridge, has descriptors of other images: they tell whether it finds what is not
    there, and should not be above 0. Every encoder meets the same views.

    Args:
        recipe: how views are made, of `metatc2.augment.recipes.RECIPES`; by default every operation, wide.
        images: images at most that are used, training, validation and test together.
        probe: ridge regression in closed form, a network of three layers, or both. Strength and number of steps are chosen
            on validation.

    Raises:
        InputError: if a number is out of range or a name unknown.
    """

    needs_images = True
    facts = ("query", "head", "selection", "chosen", "setting")

    recipe: Annotated[str, Names(RECIPES)] = "every-operation"
    images: Annotated[int, Field(ge=30)] = 2000
    probe: Literal["ridge", "mlp", "both"] = "both"

    def run(self, subject: Subject) -> Iterator[Measured]:
        """See `Protocol.run`."""
        target, store = subject.target, subject.target.store
        views = RECIPES[self.recipe]()
        splits = _fewer(target_splits(target), self.images)
        rows = [splits.train, splits.validation, splits.test]
        seeds = [target_seed("augmentation", target.name, side) for side in ("train", "validation", "test")]
        sides = [describe(store.images[r], views, seed) for r, seed in zip(rows, seeds, strict=True)]
        asked = _asked([_targets(side, views) for side in sides])
        if not asked:
            raise InputError(
                f"augmentation: no parameter of the recipe {self.recipe!r} varies on {target.name}, so there is nothing to "
                "tell; choose another recipe"
            )
        for name in subject.names:
            features = [_features(partial(subject.table.run, name), side.images) for side in sides]
            for seen, told in asked.items():
                for head, setting, chosen, values in self._probed([side[seen] for side in features], told):
                    facts = {
                        "query": len(splits.test),
                        "head": head,
                        "setting": f"{seen}, {setting}",
                        "selection": "R² on validation",
                        "chosen": dict(chosen),
                    }
                    yield Measured(name, values, torch.cat(rows), facts, metric=R2)

    def _probed(self, x: list[Tensor], told: _Told) -> Iterator[tuple[str, str, Mapping[str, float], Tensor]]:
        """Head, what is told, what was chosen, and what each test image adds to R²."""
        wanted = _FITS if self.probe == "both" else {self.probe: _FITS[self.probe]}
        for head, fit in wanted.items():
            probe = fit(x[0], told.sides[0], x[1], told.sides[1])
            each = r2_by_row(probe(x[2]), told.sides[2])
            for part, values in zip(told.widths, each.split(list(told.widths.values()), 1), strict=True):
                yield head, part, probe.chosen, values.mean(1)
        # Of another image: what is found there is not there.
        train, validation, test = (side.roll(1, 0) for side in told.sides)
        control = fit_ridge(x[0], train, x[1], validation)
        yield "ridge", f"all parts, {SHUFFLED}", control.chosen, r2_by_row(control(x[2]), test).mean(1)


_FITS: Mapping[str, Callable[[Tensor, Tensor, Tensor, Tensor], RidgeFit | MLP]] = {"ridge": fit_ridge, "mlp": fit_mlp}
ONE_VIEW, TWO_VIEWS = "one view", "two views"


class _Told(NamedTuple):
    """What is to be told: columns of the training, validation and test images, and how many each part has."""

    sides: list[Tensor]
    widths: dict[str, int]


def _features(of: Callable[[Tensor], Tensor], images: Tensor) -> dict[str, Tensor]:
    first, second = (of(images[:, view]).double() for view in (0, 1))
    return {ONE_VIEW: first, TWO_VIEWS: torch.cat([first, second], 1)}


def _targets(side: Described, views: Views) -> dict[str, dict[str, Tensor]]:
    """By number of views and part: the first view's descriptor, and its difference from the second's."""
    first, second = (columns(side.descriptors[:, view], views) for view in (0, 1))
    return {ONE_VIEW: first, TWO_VIEWS: {part: values - second[part] for part, values in first.items()}}


def _asked(sides: list[dict[str, dict[str, Tensor]]]) -> dict[str, _Told]:
    """Columns that vary on all sides; parts of which none does are left out."""
    asked = {}
    for seen, parts in sides[0].items():
        varies = {part: torch.stack([side[seen][part].std(0) > 1e-6 for side in sides]).all(0) for part in parts}
        widths = {part: int(columns.sum()) for part, columns in varies.items() if columns.any()}
        if widths:
            told = [torch.cat([side[seen][part][:, varies[part]] for part in widths], 1) for side in sides]
            asked[seen] = _Told(told, widths)
    return asked


def _fewer(splits: TransferSplits, most: int) -> TransferSplits:
    """The first rows of each part in a shuffled order, in proportion, `most` in all."""
    total = sum(len(rows) for rows in splits[:3])
    if total <= most:
        return splits

    def some(rows: Tensor) -> Tensor:
        order = torch.randperm(len(rows), generator=stream(len(rows)))
        return rows[order[: max(10, len(rows) * most // total)]].sort().values

    return TransferSplits(some(splits.train), some(splits.validation), some(splits.test), splits.how)
