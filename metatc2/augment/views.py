"""`Views`: a recipe of random augmentations. It draws descriptors, and makes the views that they describe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from metatc2.augment import _sampling, color, filters
from metatc2.augment._change_rows import change_rows
from metatc2.augment._checks import check_descriptors, check_images, check_number, check_range, check_shape
from metatc2.augment.descriptor import DESCRIPTOR, DESCRIPTOR_SIZE
from metatc2.augment.geometry import sample_window
from metatc2.errors import InputError

_PROBABILITIES = ("flip", "jitter", "grayscale", "blur", "solarize", "solarize_threshold", "invert")
_FACTORS = ("brightness", "contrast", "saturation")


@dataclass(frozen=True)
class Views:
    """How views are made: random window, turn, mirror and colors, with parameters of its own for every image.

    Every default switches its operation off. Operations come in the order that `metatc2.augment.descriptor` states. Images may
    have any number of channels: saturation, hue and grayscale change those of three alone and do nothing on others, whose
    brightness is the mean of their channels.

    Args:
        size: height and width of the views in pixels; None keeps those of the images.
        crop_scale: smallest and largest share of the area that a window covers.
        crop_ratio: smallest and largest width / height of a window, in units of the image's own; log-uniform between
            them, held to the ratios at which the drawn area fits into the image.
        rotation: largest rotation to either side, degrees, 0 to 180.
        shear: largest shear to either side, along x and along y, degrees, below 90.
        flip: probability of a left–right mirror.
        jitter: probability of a change of colors (all four at once).
        brightness, contrast, saturation: the factor is uniform in 1 ± this, never below 0.
        hue: largest shift of the hue to either side, in turns, at most 0.5.
        grayscale: probability of dropping the colors.
        blur: probability of a Gaussian blur.
        blur_sigma: smallest and largest σ of the blur in pixels of the view; kernels reach three times the largest.
        solarize: probability of inverting the pixels from `solarize_threshold` (0 to 1) on.
        invert: probability of inverting the intensities (dark on light becomes light on dark).

    Raises:
        InputError: if a value is out of range.

    >>> generator = torch.Generator().manual_seed(0)
    >>> images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    >>> recipe = Views.natural()
    >>> views, descriptors = recipe(images, generator)
    >>> views.shape, descriptors.shape
    (torch.Size([4, 2, 3, 32, 32]), torch.Size([4, 2, 19]))
    >>> bool((recipe.apply(images, descriptors[:, 1]) == views[:, 1]).all())
    True
    """

    size: int | None = None
    crop_scale: tuple[float, float] = (1.0, 1.0)
    crop_ratio: tuple[float, float] = (1.0, 1.0)
    rotation: float = 0.0
    shear: float = 0.0
    flip: float = 0.0
    jitter: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale: float = 0.0
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 1.0)
    solarize: float = 0.0
    solarize_threshold: float = 0.5
    invert: float = 0.0

    def __post_init__(self) -> None:
        size: object = self.size
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise InputError(f"Views.size: expected a whole number of pixels from 1 on, or None, got {size!r}")
        for name, largest in (("crop_scale", 1.0), ("crop_ratio", math.inf), ("blur_sigma", math.inf)):
            object.__setattr__(self, name, check_range(name, getattr(self, name), largest))
        for name in _PROBABILITIES:
            check_number(name, getattr(self, name), 0, 1)
        for name in _FACTORS:
            check_number(name, getattr(self, name), 0, math.inf)
        check_number("rotation", self.rotation, 0, 180)
        check_number("shear", self.shear, 0, 90, below=True)
        check_number("hue", self.hue, 0, 0.5)

    @classmethod
    def none(cls) -> Self:
        """Every view is the image itself, to the bit."""
        return cls()

    @classmethod
    def glyphs(cls) -> Self:
        """For letters and drawings: place, slant and polarity vary; a mirrored letter would be another letter."""
        return cls(
            crop_scale=(0.6, 1.0),
            crop_ratio=(0.8, 1.25),
            rotation=15.0,
            shear=10.0,
            blur=0.2,
            blur_sigma=(0.3, 0.8),
            invert=0.2,
        )

    @classmethod
    def natural(cls) -> Self:
        """For small photographs: SimCLR's recipe (Chen et al., arXiv 2002.05709), color strength 0.5, less blur."""
        return cls(
            crop_scale=(0.2, 1.0),
            crop_ratio=(3 / 4, 4 / 3),
            flip=0.5,
            jitter=0.8,
            brightness=0.4,
            contrast=0.4,
            saturation=0.4,
            hue=0.1,
            grayscale=0.2,
            blur=0.5,
            blur_sigma=(0.1, 1.0),
        )

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw descriptors, float32 ``(count, P)`` on the generator's device.

        The columns of `color_diff` are 0: they are measured on the images. The same share of the generator's stream is
        used whatever the recipe, so two recipes from one seed differ only where their values differ.

        Raises:
            InputError: if `count` is negative.
        """
        if count < 0:
            raise InputError(f"Views.sample: expected a count from 0 on, got {count}")
        return _sampling.draw(self, count, generator)

    def apply(self, images: Tensor, descriptors: Tensor) -> Tensor:
        """Make the views that descriptors describe: a function of its arguments alone, row by row.

        Args:
            images: ``(N, C, H, W)``, uint8 or float in [0, 1].
            descriptors: ``(N, P)`` on any device; `color_diff` is not read.

        Returns:
            float32 ``(N, C, size, size)`` in [0, 1] on the images' device. On the CPU a row is the same to the bit in
            any batch and with any number of threads.

        Raises:
            InputError: if shapes, dtypes or values do not fit.
        """
        return self._make(images, descriptors)[0]

    def __call__(self, images: Tensor, generator: torch.Generator, views: int = 2) -> tuple[Tensor, Tensor]:
        """Draw and make several views of every image.

        Args:
            images: ``(N, C, H, W)``, uint8 or float in [0, 1].
            generator: may live on another device than the images, usually the CPU.
            views: number of views of an image.

        Returns:
            views, float32 ``(N, views, C, size, size)`` in [0, 1], and their descriptors, float32 ``(N, views, P)``,
            both on the images' device. `apply` of the descriptors gives the views again.

        Raises:
            InputError: if shapes, dtypes or values do not fit.
        """
        check_shape(images)
        if views < 1:
            raise InputError(f"Views: expected views from 1 on, got {views}")
        return self.make(images, self.sample(len(images) * views, generator).unflatten(0, (len(images), views)))

    def make(self, images: Tensor, descriptors: Tensor) -> tuple[Tensor, Tensor]:
        """Make several views of every image from descriptors, and complete these: what a call does after drawing them.

        Args:
            images: ``(N, C, H, W)``, uint8 or float in [0, 1].
            descriptors: float ``(N, views, P)``, on any device, as `sample` draws them.

        Returns:
            views, float32 ``(N, views, C, size, size)`` in [0, 1], and descriptors, ``(N, views, P)``, with `color_diff`
            measured and without what does nothing on images that are not of three channels, both on the images' device.

        Raises:
            InputError: if shapes, dtypes or values do not fit.
        """
        check_shape(images)
        if descriptors.ndim != 3 or len(descriptors) != len(images):
            raise InputError(
                f"Views.make: descriptors of {len(images)} images must have shape ({len(images)}, views, {DESCRIPTOR_SIZE}), "
                f"got {tuple(descriptors.shape)}"
            )
        shape = descriptors.shape[:2]
        descriptors = descriptors.flatten(0, 1).to("cpu", copy=True)
        if images.shape[1] != 3:
            # What does nothing on an image without colors is not said to have been applied.
            descriptors[:, DESCRIPTOR["color"]][:, 2:] = 0
            descriptors[:, DESCRIPTOR["grayscale"]] = 0
        made, difference = self._make(images.repeat_interleave(shape[1], 0), descriptors)
        descriptors = descriptors.to(images.device)
        descriptors[:, DESCRIPTOR["color_diff"]] = difference
        return made.unflatten(0, shape), descriptors.unflatten(0, shape)

    @torch.no_grad()
    def _make(self, images: Tensor, descriptors: Tensor) -> tuple[Tensor, Tensor]:
        """Views ``(N, C, size, size)`` and what the jitter took from the channel means, ``(N, 3)``."""
        x = check_images(images)
        parameters = check_descriptors(descriptors, len(x))
        part = {name: parameters[:, columns] for name, columns in DESCRIPTOR.items()}
        x = self._move(x, part)
        factors, jittered = self._factors(part["color"]), (part["color"] != 0).any(1)
        before = _of_three(x) if jittered.any() else x.new_zeros(len(x), 1)
        x = change_rows(x, jittered, color.jitter, *factors.unbind(1))
        after = _of_three(x) if jittered.any() else before
        if x.shape[1] == 3:
            x = change_rows(x, part["grayscale"][:, 0] > 0.5, color.drop_color)
        sigma = part["blur"][:, 0]
        radius = filters.blur_radius(self.blur_sigma[1], min(x.shape[2:]))
        x = change_rows(x, sigma > 0, filters.blur, filters.gaussian_kernels(sigma, radius))
        x = change_rows(x, part["solarize"][:, 0] > 0.5, lambda rows: filters.solarize(rows, self.solarize_threshold))
        x = change_rows(x, part["invert"][:, 0] > 0.5, filters.invert)
        return x, (before - after).expand(-1, 3)

    def _move(self, images: Tensor, part: dict[str, Tensor]) -> Tensor:
        """Mirror, window, rotation and shear; images that keep their place and size are not touched."""
        size = (self.size, self.size) if self.size is not None else (images.shape[2], images.shape[3])
        flip, crop = part["flip"][:, 0] > 0.5, part["crop"]
        angles = torch.cat([part["rotation"] * self.rotation, part["shear"] * self.shear], 1)
        if size != tuple(images.shape[2:]):
            return sample_window(images, crop, angles, flip, size)
        moved = flip | (angles != 0).any(1) | (crop != crop.new_tensor([0.5, 0.5, 1, 1])).any(1)
        return change_rows(images, moved, lambda x, c, a, f: sample_window(x, c, a, f, size), crop, angles, flip)

    def _factors(self, color: Tensor) -> Tensor:
        """Factors of brightness, contrast and saturation and the shift of hue, ``(N, 4)``, from the columns `color`."""
        ranges = color.new_tensor([self.brightness, self.contrast, self.saturation, self.hue])
        return (color * ranges + color.new_tensor([1, 1, 1, 0])).clamp(min=color.new_tensor([0, 0, 0, -0.5]))


def _of_three(images: Tensor) -> Tensor:
    """Mean of each of three channels, ``(N, 3)``; of other images over all of them, ``(N, 1)``."""
    means = images.mean((2, 3))
    return means if images.shape[1] in (1, 3) else means.mean(1, keepdim=True)
