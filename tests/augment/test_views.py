"""What `Views` promises beyond single kernels: the same bits again, parameters for every image, true descriptors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from metatc2.augment import DESCRIPTOR, DESCRIPTOR_SIZE, Views

RECIPES = {
    "none": Views.none(),
    "glyphs": Views.glyphs(),
    "natural": Views.natural(),
    "all": replace(
        Views.natural(), size=20, rotation=30.0, shear=10.0, solarize=0.4, invert=0.4, brightness=1.5, hue=0.4
    ),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(count: int, channels: int = 3, size: int = 24) -> Tensor:
    return torch.randint(0, 256, (count, channels, size, size), generator=generator(9), dtype=torch.uint8)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", RECIPES)
def test_a_descriptor_reproduces_its_view_to_the_bit_in_any_batch(name: str, channels: int, threads: None) -> None:
    recipe, images = RECIPES[name], picture(97, channels, 33)
    views, descriptors = recipe(images, generator())
    flat_views, flat_descriptors = views.flatten(0, 1), descriptors.flatten(0, 1)
    sources = images.repeat_interleave(2, 0)
    assert torch.equal(recipe.apply(sources, flat_descriptors), flat_views)
    for rows in (torch.tensor([5]), torch.tensor([190, 3, 77, 4, 4]), torch.randperm(194, generator=generator())[:61]):
        assert torch.equal(recipe.apply(sources[rows], flat_descriptors[rows]), flat_views[rows])
    torch.set_num_threads(1)
    assert torch.equal(recipe.apply(sources, flat_descriptors), flat_views)


def test_one_large_image_is_the_same_alone_and_in_a_batch(threads: None) -> None:
    # Above 32 768 pixels torch splits a reduction over threads when its result is a single number.
    torch.set_num_threads(2)
    recipe, images = RECIPES["natural"], picture(3, 3, 224)
    descriptors = recipe.sample(3, generator())
    descriptors[:, DESCRIPTOR["color"]] = torch.tensor([0.3, -0.7, 0.9, 0.2])
    whole = recipe.apply(images, descriptors)
    assert torch.equal(torch.cat([recipe.apply(images[i : i + 1], descriptors[i : i + 1]) for i in range(3)]), whole)


@pytest.mark.parametrize("name", RECIPES)
def test_the_generator_determines_everything(name: str) -> None:
    recipe, images = RECIPES[name], picture(6)
    first, second, third = generator(1), generator(1), generator(2)
    torch.manual_seed(0)
    views, descriptors = recipe(images, first)
    torch.manual_seed(1)
    again, same = recipe(images, second)
    assert torch.equal(views, again)
    assert torch.equal(descriptors, same)
    assert torch.equal(first.get_state(), second.get_state())
    assert torch.equal(recipe.sample(12, third)[:, DESCRIPTOR["crop"]], descriptors.flatten(0, 1)[:, 8:12]) == (
        name == "none"
    )
    if name != "none":
        assert not torch.equal(views, recipe(images, first)[0])


def test_nothing_comes_from_the_global_generator() -> None:
    state = torch.get_rng_state()
    RECIPES["all"](picture(4), generator())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_range_and_both_image_types(name: str, channels: int) -> None:
    recipe, images = RECIPES[name], picture(7, channels)
    views, descriptors = recipe(images, generator(), views=3)
    size = recipe.size or 24
    assert views.shape == (7, 3, channels, size, size)
    assert descriptors.shape == (7, 3, DESCRIPTOR_SIZE)
    assert views.dtype == descriptors.dtype == torch.float32
    assert 0 <= float(views.min()) <= float(views.max()) <= 1
    for dtype in (torch.float32, torch.float64):
        floats = images.to(dtype) / 255
        before = floats.clone()
        from_floats, same = recipe(floats, generator(), views=3)
        assert torch.equal(from_floats, views)
        assert torch.equal(same, descriptors)
        assert torch.equal(floats, before)


@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_white_stays_within_the_range(blur: float) -> None:
    # Weights of samplings and blurs sum to 1 only up to rounding; a pixel must not leave [0, 1].
    recipe = replace(RECIPES["all"], invert=0.0, solarize=0.0, jitter=0.0, blur=blur, grayscale=0.0)
    views, _ = recipe(torch.full((64, 3, 33, 33), 255, dtype=torch.uint8), generator())
    assert float(views.max()) <= 1
    assert float(views.min()) > 1 - 1e-6


def test_none_is_the_image_itself() -> None:
    images = picture(5)
    views, descriptors = Views.none()(images, generator())
    assert torch.equal(views[:, 0], images.float() / 255)
    assert torch.equal(views[:, 0], views[:, 1])
    identity = torch.zeros(DESCRIPTOR_SIZE)
    identity[DESCRIPTOR["crop"]] = torch.tensor([0.5, 0.5, 1, 1])
    assert torch.equal(descriptors, identity.expand_as(descriptors))


def test_an_empty_batch_gives_empty_views() -> None:
    views, descriptors = RECIPES["all"](picture(0), generator())
    assert views.shape == (0, 2, 3, 20, 20)
    assert descriptors.shape == (0, 2, DESCRIPTOR_SIZE)


def test_columns_stand_in_alphabetical_order_without_gaps() -> None:
    assert list(DESCRIPTOR) == sorted(DESCRIPTOR)
    covered = [column for columns in DESCRIPTOR.values() for column in range(DESCRIPTOR_SIZE)[columns]]
    assert covered == list(range(DESCRIPTOR_SIZE))
    sizes = {name: len(range(DESCRIPTOR_SIZE)[columns]) for name, columns in DESCRIPTOR.items()}
    assert sizes == {
        "blur": 1, "color": 4, "color_diff": 3, "crop": 4, "flip": 1, "grayscale": 1, "invert": 1,
        "rotation": 1, "shear": 2, "solarize": 1,
    }  # fmt: skip


ONE_OPERATION: dict[str, tuple[Views, str]] = {
    "crop": (Views(crop_scale=(0.3, 0.6)), "crop"),
    "ratio": (Views(crop_scale=(0.5, 0.5), crop_ratio=(0.6, 0.8)), "crop"),
    "rotation": (Views(rotation=20.0), "rotation"),
    "shear": (Views(shear=20.0), "shear"),
    "flip": (Views(flip=1.0), "flip"),
    "brightness": (Views(jitter=1.0, brightness=0.4), "color"),
    "contrast": (Views(jitter=1.0, contrast=0.4), "color"),
    "saturation": (Views(jitter=1.0, saturation=0.4), "color"),
    "hue": (Views(jitter=1.0, hue=0.2), "color"),
    "grayscale": (Views(grayscale=1.0), "grayscale"),
    "blur": (Views(blur=1.0, blur_sigma=(0.5, 1.0)), "blur"),
    "solarize": (Views(solarize=1.0), "solarize"),
    "invert": (Views(invert=1.0), "invert"),
}


@pytest.mark.parametrize("name", ONE_OPERATION)
def test_every_operation_changes_every_image_and_only_its_own_columns(name: str) -> None:
    recipe, part = ONE_OPERATION[name]
    images = picture(16)
    views, descriptors = recipe(images, generator())
    change = (views - images[:, None].float() / 255).abs().amax((2, 3, 4))
    assert float(change.min()) > 1e-4
    _, untouched = Views.none()(images, generator())
    for other, columns in DESCRIPTOR.items():
        changed = not torch.equal(descriptors[..., columns], untouched[..., columns])
        assert changed == (other == part or (other == "color_diff" and part == "color")), other


@pytest.mark.parametrize("name", ["glyphs", "natural", "all"])
def test_every_view_has_parameters_of_its_own(name: str) -> None:
    same_image = picture(1).expand(50, -1, -1, -1)
    views, descriptors = RECIPES[name](same_image, generator())
    assert len(descriptors.flatten(0, 1).unique(dim=0)) == 100
    assert len(views.flatten(0, 1).flatten(1).unique(dim=0)) == 100


def test_draws_follow_the_recipe(seed_offset: int) -> None:
    recipe = replace(RECIPES["all"], flip=0.25, blur_sigma=(0.4, 0.9), crop_scale=(0.2, 0.7), crop_ratio=(0.5, 1.5))
    drawn = recipe.sample(20_000, generator(seed_offset))
    part = {name: drawn[:, columns] for name, columns in DESCRIPTOR.items()}
    rates = {"flip": 0.25, "grayscale": 0.2, "solarize": 0.4, "invert": 0.4}
    for name, rate in rates.items():
        assert set(part[name].unique().tolist()) == {0.0, 1.0}
        assert float(part[name].mean()) == pytest.approx(rate, abs=0.015)  # > 4 standard errors
    blurred = part["blur"][part["blur"] > 0]
    assert len(blurred) / 20_000 == pytest.approx(0.5, abs=0.015)
    assert 0.4 <= float(blurred.min()) < 0.41 < 0.89 < float(blurred.max()) <= 0.9
    jittered = part["color"][(part["color"] != 0).any(1)]
    assert len(jittered) / 20_000 == pytest.approx(0.8, abs=0.015)
    # Brightness ranges over 1 ± 1.5, cut at 0: its column starts at -1 / 1.5.
    low = torch.tensor([-1 / 1.5, -1, -1, -1])
    assert torch.allclose(jittered.amin(0), low, atol=0.01)
    assert torch.allclose(jittered.amax(0), torch.ones(4), atol=0.01)
    assert torch.allclose(jittered.mean(0), (low + 1) / 2, atol=0.025)
    for name in ("rotation", "shear"):
        assert torch.allclose(part[name].std(0), torch.tensor(1 / 3**0.5), atol=0.02)
        assert float(part[name].abs().max()) <= 1
    assert (part["color_diff"] == 0).all()

    center_y, center_x, height, width = part["crop"].unbind(1)
    area, ratio = height * width, width / height
    assert 0.2 - 1e-6 <= float(area.min()) < 0.21 < 0.69 < float(area.max()) <= 0.7 + 1e-6
    assert float(area.mean()) == pytest.approx(0.45, abs=0.005)
    assert 0.5 - 1e-5 <= float(ratio.min()) < 0.51 < 1.45 < float(ratio.max()) <= 1.5 + 1e-5
    for center, extent in ((center_y, height), (center_x, width)):
        assert float((center - extent / 2).min()) >= -1e-6
        assert float((center + extent / 2).max()) <= 1 + 1e-6
        free = ((center - extent / 2) / (1 - extent).clamp(min=1e-3)).clamp(0, 1)
        assert float(free.mean()) == pytest.approx(0.5, abs=0.015)
    flat = drawn[:, [0, 1, 8, 9, 12, 13, 14, 15, 16, 17, 18]].T.corrcoef().fill_diagonal_(0)
    assert float(flat.abs().max()) < 0.04  # independent draws


def test_windows_keep_their_area_when_the_ratios_do_not_all_fit(seed_offset: int) -> None:
    for ratios in ((0.3, 3.0), (2.0, 3.0)):
        drawn = Views(crop_scale=(0.6, 0.9), crop_ratio=ratios).sample(1000, generator(seed_offset))
        height, width = drawn[:, DESCRIPTOR["crop"]][:, 2:].unbind(1)
        assert 0.6 - 1e-6 <= float((height * width).min()) < 0.61 < 0.89 < float((height * width).max()) <= 0.9 + 1e-6
        assert float(torch.maximum(height, width).max()) <= 1


def test_recipes_from_one_seed_differ_only_where_their_values_do() -> None:
    first = Views.natural().sample(40, generator())
    second = replace(Views.natural(), invert=0.5, jitter=0.0).sample(40, generator())
    for name, columns in DESCRIPTOR.items():
        assert torch.equal(first[:, columns], second[:, columns]) == (name not in ("invert", "color"))


def test_flip_mirrors_the_window() -> None:
    images = picture(10)
    plain = Views(size=16, crop_scale=(0.3, 0.5)).sample(10, generator())
    mirrored = plain.clone()
    mirrored[:, DESCRIPTOR["flip"]] = 1
    x = DESCRIPTOR["crop"].start + 1
    mirrored[:, x] = 1 - mirrored[:, x]
    recipe = Views(size=16)
    difference = recipe.apply(images, mirrored) - recipe.apply(images, plain).flip(3)
    assert float(difference.abs().max()) < 2e-5


@pytest.mark.parametrize("channels", [1, 3])
def test_color_diff_is_what_the_jitter_took_from_the_channel_means(channels: int) -> None:
    recipe, images = replace(Views.natural(), jitter=0.5), picture(30, channels)
    _, descriptors = recipe(images, generator())
    jittered = descriptors.clone()
    for name in ("grayscale", "blur"):
        jittered[..., DESCRIPTOR[name]] = 0
    moved = jittered.clone()
    moved[..., DESCRIPTOR["color"]] = 0
    means = [recipe.apply(images, d[:, 1]).mean((2, 3)) for d in (moved, jittered)]
    difference = descriptors[:, 1, DESCRIPTOR["color_diff"]]
    assert torch.allclose(difference, (means[0] - means[1]).expand(-1, 3), atol=1e-6)
    applied = (descriptors[:, 1, DESCRIPTOR["color"]] != 0).any(1)
    assert applied.any()
    assert not applied.all()
    assert torch.equal((difference != 0).any(1), applied)


def test_gray_images_have_no_color_to_change() -> None:
    images = picture(40, 1)
    recipe = Views(jitter=1.0, saturation=0.4, hue=0.1, grayscale=0.5)
    views, descriptors = recipe(images, generator())
    assert torch.equal(views[:, 0], images.float() / 255)
    for name in ("color", "color_diff", "grayscale"):
        assert (descriptors[..., DESCRIPTOR[name]] == 0).all()
    drawn = recipe.sample(40, generator())
    assert torch.equal(recipe.apply(images, drawn), images.float() / 255)


def test_letters_are_never_mirrored_and_paper_stays_paper() -> None:
    for paper in (0, 255):
        images = torch.full((20, 1, 28, 28), paper, dtype=torch.uint8)
        images[:, :, 8:20, 8:20] = 255 - paper
        views, descriptors = replace(Views.glyphs(), invert=0.0, rotation=45.0)(images, generator())
        assert (descriptors[..., DESCRIPTOR["flip"]] == 0).all()
        corners = views[..., [0, 0, -1, -1], [0, -1, 0, -1]]
        assert float((corners - paper / 255).abs().max()) < 1e-5


def test_views_need_no_gradient() -> None:
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    assert not Views.natural()(images, generator())[0].requires_grad
