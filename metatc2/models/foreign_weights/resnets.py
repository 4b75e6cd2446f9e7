"""The ResNet that a file fits, and how it is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from metatc2.models.foreign_weights.places import places, tables
from metatc2.models.foreign_weights.wrapped import unwrapped
from metatc2.models.resnet import RESNETS, SMALL_IMAGE, ResNet


@dataclass(frozen=True)
class Fitting:
    """A ResNet that a file fits.

    Args:
        name: ``"resnet18"``.
        channels: of its images.
        small: whether its first layers are those for small images.
    """

    name: str
    channels: int
    small: bool

    @property
    def config(self) -> str:
        """The keys of a configuration that name it."""
        if self.channels == 3 and not self.small:
            return (
                f"encoder.name = 'torchvision:{self.name}' (or '{self.name}' with data.image_size above {SMALL_IMAGE})"
            )
        return self.trained

    @property
    def trained(self) -> str:
        """The keys of a configuration that trains it."""
        sizes = f"up to {SMALL_IMAGE}" if self.small else f"above {SMALL_IMAGE}"
        return f"encoder.name = '{self.name}' with data.image_size {sizes} and data.channels = {self.channels}"

    def at(self, file: Path) -> str:
        """How it is named with the file, and the options that go with that."""
        if not self.small and self.channels == 3:
            return f"torchvision:{self.name}@{file}"
        size = f"up to {SMALL_IMAGE}" if self.small else f"above {SMALL_IMAGE}"
        return f"{self.name}@{file} with --image-size {size}" + f" and --channels {self.channels}" * (
            self.channels != 3
        )


def fitting(content: Mapping[str, Any]) -> Fitting | None:
    """A ResNet that tables of tensors fit, under whatever prefix; None where none is known."""
    content = unwrapped(content)[0]
    if next(tables(content), None) is None:
        return None
    # What is told from the file alone: the channels of the first convolution of each table.
    first = [next((t for t in tensors.values() if t.ndim == 4), None) for _, tensors in tables(content)]
    numbers = list(dict.fromkeys((3, 1, *(t.shape[1] for t in first if t is not None))))
    for name in RESNETS:
        for size in (SMALL_IMAGE, 2 * SMALL_IMAGE):
            for channels in numbers:
                with torch.device("meta"):
                    network = ResNet(name, channels, 64, size)
                if next(places(network, content), None) is not None:
                    return Fitting(name, channels, size <= SMALL_IMAGE)
    return None
