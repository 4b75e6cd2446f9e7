"""Bad recipes and bad images are refused in one sentence that names what and which range."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from metatc2.augment import DESCRIPTOR, DESCRIPTOR_SIZE, Views
from metatc2.errors import InputError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 0),
        ("size", 2.5),
        ("size", True),
        ("crop_scale", (0.0, 1.0)),
        ("crop_scale", (0.5, 1.1)),
        ("crop_scale", (0.8, 0.5)),
        ("crop_scale", (0.5,)),
        ("crop_scale", 0.5),
        ("crop_scale", "ab"),
        ("crop_ratio", (0.0, 1.0)),
        ("crop_ratio", (1.0, float("inf"))),
        ("rotation", 181.0),
        ("rotation", -1.0),
        ("shear", 90.0),
        ("flip", 1.5),
        ("jitter", -0.1),
        ("jitter", "much"),
        ("brightness", -0.1),
        ("contrast", float("nan")),
        ("saturation", float("inf")),
        ("hue", 0.6),
        ("grayscale", True),
        ("blur", 2),
        ("blur_sigma", (0.0, 1.0)),
        ("blur_sigma", (1.0, 0.5)),
        ("solarize", 1.01),
        ("solarize_threshold", 1.5),
        ("invert", None),
    ],
)
def test_a_field_out_of_range_is_named(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"^Views\.{field}: expected .*got ") as caught:
        Views(**{field: value})
    assert repr(value) in str(caught.value)


def test_lists_and_whole_numbers_from_a_task_file_are_taken() -> None:
    recipe = Views(crop_scale=[0.5, 1], rotation=10)  # type: ignore[arg-type]
    assert recipe == Views(crop_scale=(0.5, 1.0), rotation=10.0)
    assert hash(recipe) == hash(Views(crop_scale=(0.5, 1.0), rotation=10.0))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(3, 8, 8), r"shape \(N, C, H, W\), got \(3, 8, 8\)"),
        (torch.zeros(2, 8, 8, 3), r"got \(2, 8, 8, 3\); their channels seem to be the last axis"),
        (torch.zeros(2, 3, 0, 8), r"got \(2, 3, 0, 8\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), "torch.int64"),
        (torch.full((2, 3, 8, 8), 200.0), "divide by 255"),
        (torch.full((2, 3, 8, 8), -0.1), "from -0.1"),
        (torch.full((2, 3, 8, 8), float("nan")), "nan"),
    ],
)
def test_images_of_a_wrong_kind(images: torch.Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Views.natural()(images, torch.Generator())


def test_descriptors_of_a_wrong_kind() -> None:
    recipe, images = Views.natural(), torch.zeros(2, 3, 8, 8)
    good = recipe.sample(2, torch.Generator())
    recipe.apply(images, good)
    empty, infinite = good.clone(), good.clone()
    empty[1, DESCRIPTOR["crop"]] = 0
    infinite[1, 0] = float("inf")
    for bad, words in (
        (good[:1], rf"shape \(2, {DESCRIPTOR_SIZE}\)"),
        (good[:, :-1], "one row an image"),
        (good.long(), "torch.int64"),
        (empty, "descriptor 1 .* window"),
        (infinite, "descriptor 1 .* not finite"),
    ):
        with pytest.raises(InputError, match=words):
            recipe.apply(images, bad)


def test_counts() -> None:
    with pytest.raises(InputError, match="views from 1"):
        Views()(torch.zeros(2, 3, 8, 8), torch.Generator(), views=0)
    with pytest.raises(InputError, match="got -1"):
        Views().sample(-1, torch.Generator())
