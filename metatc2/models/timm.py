"""Any image model of timm."""

from __future__ import annotations

import difflib
from typing import Any

from torch import Tensor, nn

from metatc2.errors import InputError, MissingPackage
from metatc2.models.encoding import feature_dim
from metatc2.models.normalize import Normalize
from metatc2.models.registry import register_encoder


class TimmEncoder(nn.Module):
    """Any image model of timm, untrained and without classifier; the image size is passed to those that take one.

    Args:
        name: timm's name, e.g. ``"vit_tiny_patch16_224"``.
        channels: 1 or 3.
        image_size: side of the images in pixels.

    Raises:
        MissingPackage: if timm is not installed.
        InputError: if timm has no such model, or it cannot take such images.
    """

    def __init__(self, name: str, channels: int, image_size: int) -> None:
        super().__init__()
        self.name = name
        try:
            import timm
        except ImportError as error:
            raise MissingPackage(f"timm:{name} needs timm; pip install 'metatc2[timm]'") from error
        if not timm.is_model(name):
            close = difflib.get_close_matches(name, timm.list_models(), n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else "timm.list_models() gives all"
            raise InputError(f"timm has no model {name!r}; {hint}")
        options: dict[str, Any] = {"pretrained": False, "num_classes": 0, "in_chans": channels}
        self.normalize = Normalize()
        try:
            try:
                self.body: nn.Module = timm.create_model(name, img_size=image_size, **options)
            except TypeError:  # convolutional models take any size and no such argument
                self.body = timm.create_model(name, **options)
            # Asked of the model itself: timm's num_features is not the width of the output in every family.
            self.dim = feature_dim(self.body, channels, image_size)
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"timm:{name} cannot take {channels} × {image_size} × {image_size} images: {error}"
            ) from error

    def forward(self, images: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, dim)``."""
        features: Tensor = self.body(self.normalize(images))
        return features


@register_encoder("timm:NAME")
def build(name: str, *, channels: int, image_size: int, width: int | None = None) -> TimmEncoder:
    """See `build_encoder`.

    Raises:
        InputError: if a width is given, which timm's names say.
    """
    if width is not None:
        raise InputError(f"timm:{name} takes no width (found {width}): choose another model of timm instead")
    return TimmEncoder(name, channels, image_size)
