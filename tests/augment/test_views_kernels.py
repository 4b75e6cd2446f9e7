"""Each operation of `Views.apply` against torchvision's functional kernels, image by image, at the same parameters."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from metatc2.augment import DESCRIPTOR, DESCRIPTOR_SIZE, Views

IDENTITY = {"crop": (0.5, 0.5, 1.0, 1.0)}
# Pixels are in [0, 1]: a 255th is 4e-3. What remains is float32 rounding, of coordinates (up to ~30 pixels) or of sums.
COORDINATES = 2e-5
SUMS = 2e-6


def describe(count: int, **columns: Tensor) -> Tensor:
    descriptors = torch.zeros(count, DESCRIPTOR_SIZE)
    for name, values in {**{k: torch.tensor(v) for k, v in IDENTITY.items()}, **columns}.items():
        descriptors[:, DESCRIPTOR[name]] = values.float()
    return descriptors


def noise(count: int = 12, channels: int = 3, height: int = 24, width: int = 24, seed: int = 0) -> Tensor:
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(seed))


def uniform(low: float, high: float, *shape: int, seed: int = 1) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert actual.shape == expected.shape
    assert float((actual - expected).abs().max()) <= tolerance


@pytest.mark.parametrize("size", [8, 20, 33])
@pytest.mark.parametrize(("height", "width"), [(24, 24), (19, 30)])
def test_whole_pixel_crops_equal_resized_crop(size: int, height: int, width: int) -> None:
    images = noise(height=height, width=width)
    generator = torch.Generator().manual_seed(2)
    boxes = []
    for _ in images:
        h, w = (int(torch.randint(1, n + 1, (), generator=generator)) for n in (height, width))
        top, left = (int(torch.randint(0, n - k + 1, (), generator=generator)) for n, k in ((height, h), (width, w)))
        boxes.append((top, left, h, w))
    crop = torch.tensor([[(t + h / 2) / height, (x + w / 2) / width, h / height, w / width] for t, x, h, w in boxes])
    made = Views(size=size).apply(images, describe(len(images), crop=crop))
    expected = [tv.resized_crop(i, *box, [size, size], antialias=False) for i, box in zip(images, boxes, strict=True)]
    close(made, torch.stack(expected), COORDINATES)


def padded_affine(image: Tensor, angle: float, shear: list[float], center: tuple[float, float]) -> Tensor:
    """torchvision's affine with the image's border continued, which it cannot do itself."""
    pad = 40
    wide = tv.pad(image, [pad] * 4, padding_mode="edge")
    turned = tv.affine(
        wide, angle, [0, 0], 1.0, shear, InterpolationMode.BILINEAR, center=[center[0] + pad, center[1] + pad]
    )
    return turned[:, pad:-pad, pad:-pad]


def test_rotation_and_shear_equal_affine() -> None:
    images = noise(height=21, width=26)
    angles, shears = uniform(-1, 1, 12, 1), uniform(-1, 1, 12, 2, seed=3)
    made = Views(rotation=170.0, shear=30.0).apply(images, describe(12, rotation=angles, shear=shears))
    expected = [
        padded_affine(i, 170 * float(a), [30 * float(s) for s in shear], (13, 10.5))
        for i, a, shear in zip(images, angles, shears, strict=True)
    ]
    close(made, torch.stack(expected), COORDINATES)


def test_turns_are_about_the_center_of_the_window_of_the_mirrored_image() -> None:
    images = noise()
    tops, lefts = torch.arange(12) % 9, (5 * torch.arange(12)) % 9
    crop = torch.stack([(tops + 8) / 24, (lefts + 8) / 24, torch.full((12,), 16 / 24), torch.full((12,), 16 / 24)], 1)
    flip, angles = (torch.arange(12) % 2)[:, None], uniform(-1, 1, 12, 1)
    made = Views(size=16, rotation=45.0).apply(images, describe(12, crop=crop, flip=flip, rotation=angles))
    expected = []
    for i in range(12):
        image = tv.hflip(images[i]) if flip[i] else images[i]
        top, left = int(tops[i]), int(lefts[i])
        turned = padded_affine(image, 45 * float(angles[i]), [0.0, 0.0], (left + 8, top + 8))
        expected.append(turned[:, top : top + 16, left : left + 16])
    close(made, torch.stack(expected), COORDINATES)


def sample_by_hand(image: np.ndarray, descriptor: np.ndarray, recipe: Views, size: int) -> np.ndarray:
    """The geometry restated pixel by pixel in float64."""
    _, height, width = image.shape
    part = {name: descriptor[columns] for name, columns in DESCRIPTOR.items()}
    center_y, center_x, h, w = part["crop"] * [height, width, height, width]
    turn = math.radians(part["rotation"][0] * recipe.rotation)
    shear_x, shear_y = (math.tan(math.radians(s * recipe.shear)) for s in part["shear"])
    rotate = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    back = np.linalg.inv(rotate @ np.array([[1, 0], [-shear_y, 1]]) @ np.array([[1, -shear_x], [0, 1]]))
    out = np.zeros((image.shape[0], size, size))
    for row in range(size):
        for column in range(size):
            dy = np.clip(((row + 0.5) / size - 0.5) * h, -max(h - 1, 0) / 2, max(h - 1, 0) / 2)
            dx = np.clip(((column + 0.5) / size - 0.5) * w, -max(w - 1, 0) / 2, max(w - 1, 0) / 2)
            x, y = np.array([center_x, center_y]) + back @ [dx, dy]
            if part["flip"][0]:
                x = width - x
            x, y = np.clip(x - 0.5, 0, width - 1), np.clip(y - 0.5, 0, height - 1)
            left, top = min(int(x), width - 2), min(int(y), height - 2)
            fx, fy = x - left, y - top
            out[:, row, column] = (
                (1 - fy) * ((1 - fx) * image[:, top, left] + fx * image[:, top, left + 1])
                + fy * ((1 - fx) * image[:, top + 1, left] + fx * image[:, top + 1, left + 1])
            )  # fmt: skip
    return out


def test_drawn_geometry_equals_sampling_by_hand() -> None:
    recipe = Views(
        size=18, crop_scale=(0.01, 1.0), crop_ratio=(0.5, 2.0), rotation=60.0, shear=20.0, flip=0.5
    )  # windows below one pixel included
    images = noise(8, 1, 15, 22)
    descriptors = recipe.sample(8, torch.Generator().manual_seed(4))
    descriptors[0, DESCRIPTOR["crop"]] = torch.tensor([0.3, 0.6, 0.02, 0.02])
    expected = [
        sample_by_hand(i.double().numpy(), d.double().numpy(), recipe, 18)
        for i, d in zip(images, descriptors, strict=True)
    ]
    close(recipe.apply(images, descriptors).double(), torch.from_numpy(np.stack(expected)), COORDINATES)


@pytest.mark.parametrize("width", [23, 24])
def test_flip_equals_hflip(width: int) -> None:
    images = noise(width=width)
    close(Views().apply(images, describe(12, flip=torch.ones(12, 1))), tv.hflip(images), COORDINATES)


ADJUST = {
    "brightness": (0, tv.adjust_brightness),
    "contrast": (1, tv.adjust_contrast),
    "saturation": (2, tv.adjust_saturation),
}


@pytest.mark.parametrize("name", ADJUST)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("spread", [0.4, 1.7])
def test_factors_equal_adjust(name: str, channels: int, spread: float) -> None:
    column, adjust = ADJUST[name]
    images = noise(channels=channels)
    factors = uniform(max(0, 1 - spread), 1 + spread, 12)
    color = torch.zeros(12, 4)
    color[:, column] = (factors - 1) / spread
    made = replace(Views(), **{name: spread}).apply(images, describe(12, color=color))
    expected = [adjust(i, float(f)) for i, f in zip(images, factors, strict=True)]
    close(made, torch.stack(expected), 1e-5 if spread > 1 else SUMS)


def test_hue_equals_adjust_hue() -> None:
    images = noise()
    images[0, 1] = images[0, 0]  # two highest channels are the same
    images[1, 2] = images[1, 1]
    images[2] = images[2, :1]  # no color at all
    images[3] = (images[3] > 0.5).float()  # black, white, pure colors
    shifts = uniform(-0.5, 0.5, 12)
    color = torch.stack([torch.zeros(12)] * 3 + [shifts / 0.5], 1)
    made = Views(hue=0.5).apply(images, describe(12, color=color))
    close(made, torch.stack([tv.adjust_hue(i, float(s)) for i, s in zip(images, shifts, strict=True)]), 1e-5)
    assert torch.equal(made[2], images[2])


@pytest.mark.parametrize("channels", [1, 3])
def test_grayscale(channels: int) -> None:
    images = noise(channels=channels)
    made = Views().apply(images, describe(12, grayscale=torch.ones(12, 1)))
    close(made, tv.rgb_to_grayscale(images, num_output_channels=3) if channels == 3 else images, SUMS)


@pytest.mark.parametrize("largest", [0.5, 1.0, 2.6])
@pytest.mark.parametrize("channels", [1, 3])
def test_blur_equals_gaussian_blur(largest: float, channels: int) -> None:
    images = noise(channels=channels, height=17, width=24)
    sigmas = uniform(0.1, largest, 12)
    made = Views(blur_sigma=(0.1, largest)).apply(images, describe(12, blur=sigmas[:, None]))
    kernel = 2 * math.ceil(3 * largest) + 1
    expected = [tv.gaussian_blur(i, [kernel, kernel], [float(s)]) for i, s in zip(images, sigmas, strict=True)]
    close(made, torch.stack(expected), SUMS)


def test_solarize_and_invert() -> None:
    images = (noise() * 255).byte().float() / 255
    on = torch.ones(12, 1)
    threshold = 128 / 255
    made = Views(solarize_threshold=threshold).apply(images, describe(12, solarize=on))
    close(made, tv.solarize(images, threshold), 0)
    close(Views().apply(images, describe(12, invert=on)), tv.invert(images), 0)


def test_the_whole_recipe_equals_the_kernels_in_the_documented_order() -> None:
    recipe = replace(Views.natural(), solarize=0.3, invert=0.3, rotation=20.0, blur_sigma=(0.3, 1.0))
    images = noise(24)
    descriptors = recipe.sample(24, torch.Generator().manual_seed(5))
    only_moved = descriptors.clone()
    for name in ("color", "grayscale", "blur", "solarize", "invert"):
        assert (descriptors[:, DESCRIPTOR[name]] != 0).any()
        only_moved[:, DESCRIPTOR[name]] = 0
    expected = []
    for view, descriptor in zip(recipe.apply(images, only_moved), descriptors.double(), strict=True):
        part = {name: descriptor[columns].tolist() for name, columns in DESCRIPTOR.items()}
        b, c, s, h = part["color"]
        if any(part["color"]):
            view = tv.adjust_contrast(tv.adjust_brightness(view, 1 + 0.4 * b), 1 + 0.4 * c)
            view = tv.adjust_hue(tv.adjust_saturation(view, 1 + 0.4 * s), 0.1 * h)
        if part["grayscale"][0]:
            view = tv.rgb_to_grayscale(view, 3)
        if part["blur"][0]:
            view = tv.gaussian_blur(view, [7, 7], part["blur"])
        if part["solarize"][0]:
            view = tv.solarize(view, 0.5)
        expected.append(tv.invert(view) if part["invert"][0] else view)
    close(recipe.apply(images, descriptors), torch.stack(expected), 1e-5)
