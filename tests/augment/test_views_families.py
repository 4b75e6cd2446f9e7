"""Families of augmentations: strengths are proportional, a family off changes nothing, units are common."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

from metatc2.augment import FAMILIES, Views
from metatc2.augment.families import BASE, recipe
from metatc2.augment.units import in_units_of
from metatc2.errors import InputError

OWN = {
    "color": {"jitter", "brightness", "contrast", "saturation", "hue", "grayscale"},
    "geometry": {"rotation", "flip"},
    "scale": {"crop_scale", "crop_ratio"},
    "blur_light": {"jitter", "brightness", "contrast", "blur", "blur_sigma"},
}


def changed(one: Views, other: Views) -> set[str]:
    return {f.name for f in dataclasses.fields(Views) if getattr(one, f.name) != getattr(other, f.name)}


@pytest.mark.parametrize("base", [BASE, Views.none()])
@pytest.mark.parametrize("on", list(itertools.product([0.0, 0.7], repeat=4)))
def test_a_family_changes_its_own_operations_alone(on: tuple[float, ...], base: Views) -> None:
    expected = set().union(*(OWN[family] for family, strength in zip(FAMILIES, on, strict=True) if strength))
    assert changed(recipe(on, base), base) == expected


@pytest.mark.parametrize("family", range(4))
def test_ranges_grow_in_proportion(family: int) -> None:
    def ranges(strength: float) -> torch.Tensor:
        made = dataclasses.asdict(recipe([strength * (i == family) for i in range(4)]))
        always = {"size", "jitter", "blur", *(() if made["blur"] else ("blur_sigma",))}
        values = [value for name, value in made.items() if name not in always]
        return torch.tensor([number for v in values for number in (v if isinstance(v, tuple) else (v,))])

    half, full = ranges(0.5), ranges(1.0)
    quarter = ranges(0.25)
    torch.testing.assert_close(full - half, 2 * (half - quarter))
    assert not torch.equal(half, full)


def test_no_operation_gets_weaker_than_the_base() -> None:
    base = Views(
        crop_scale=(0.1, 0.5),
        crop_ratio=(0.5, 2.0),
        rotation=170,
        flip=0.6,
        jitter=0.8,
        brightness=0.9,
        contrast=0.9,
        saturation=0.9,
        hue=0.5,
        grayscale=0.9,
        blur=1.0,
        blur_sigma=(1.0, 3.0),
    )
    assert changed(recipe([0.5] * 4, base), base) == {"jitter"}


@pytest.mark.parametrize("strengths", [[1, 1, 1], [0, 0, 0, 1.5], [0, 0, 0, -0.1], [0, 0, float("nan"), 0]])
def test_bad_strengths(strengths: list[float]) -> None:
    with pytest.raises(InputError, match="expected 4 strengths from 0 to 1, one each for color, geometry"):
        recipe(strengths)


def test_common_units_give_the_same_views() -> None:
    g = torch.Generator().manual_seed(0)
    images = torch.rand(16, 3, 12, 12, generator=g)
    own = Views(rotation=20, shear=10, jitter=1, brightness=0.2, contrast=0.3, saturation=0.1, hue=0.05)
    common = Views(rotation=90, shear=15, jitter=1, brightness=2.0, contrast=0.6, saturation=0.4, hue=0.5)
    drawn = own.sample(16, g)
    torch.testing.assert_close(
        common.apply(images, in_units_of(common, own, drawn)), own.apply(images, drawn), atol=1e-5, rtol=0
    )
    assert torch.equal(in_units_of(own, own, drawn), drawn)
    with pytest.raises(InputError, match="rotation is 20 in one recipe and 0 in the common one"):
        in_units_of(Views.natural(), own, drawn)


def test_making_views_from_drawn_descriptors_is_what_a_call_does() -> None:
    for channels in (1, 3):
        images = torch.randint(0, 256, (6, channels, 12, 12), generator=torch.Generator().manual_seed(1)).byte()
        expected = Views.natural()(images, torch.Generator().manual_seed(2), views=3)
        drawn = Views.natural().sample(18, torch.Generator().manual_seed(2)).view(6, 3, -1)
        kept = drawn.clone()
        made = Views.natural().make(images, drawn)
        assert all(torch.equal(one, other) for one, other in zip(made, expected, strict=True))
        assert torch.equal(drawn, kept)
    with pytest.raises(InputError, match=r"must have shape \(6, views, 19\), got \(18, 19\)"):
        Views.natural().make(images, drawn.flatten(0, 1))
