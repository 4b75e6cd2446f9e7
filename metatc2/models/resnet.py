"""Residual networks of any width, for small and large images."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from metatc2.errors import InputError, nearest
from metatc2.models.normalize import Normalize
from metatc2.models.registry import register_encoder

RESNETS: dict[str, tuple[type[nn.Module], list[int]]] = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
}
SMALL_IMAGE = 64  # pixels: up to here a ResNet starts at full resolution


class ResNet(TorchvisionResNet):  # type: ignore[misc]  # torchvision is not typed
    """torchvision's ResNet (He et al., arXiv 1512.03385) of any width, without classifier.

    Up to 64 pixels the stem is a 3×3 convolution of stride 1 without max-pooling, as SimCLR has it for CIFAR-10
    (arXiv 2002.05709, appendix B.9); above it is torchvision's own. At width 64 the parameters have torchvision's names
    and shapes, but for the stem.

    Args:
        name: ``"resnet18"``, ``"resnet34"`` or ``"resnet50"``.
        channels: 1 or 3.
        width: channels of the first stage.
        image_size: side of the images in pixels; chooses the stem.

    Raises:
        InputError: if the name is unknown.
    """

    def __init__(self, name: str, channels: int, width: int, image_size: int) -> None:
        if name not in RESNETS:
            raise InputError(f"unknown ResNet {name!r}; {nearest(name, RESNETS)}")
        self._width = width
        block, layers = RESNETS[name]
        super().__init__(block, layers)
        small = image_size <= SMALL_IMAGE
        kernel, stride = (3, 1) if small else (7, 2)
        self.conv1 = nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1 = nn.BatchNorm2d(width)
        if small:
            self.maxpool = nn.Identity()
        self.dim = int(self.inplanes)  # where the last stage left it
        self.fc = nn.Identity()
        self.normalize = Normalize()

    def _make_layer(self, block: Any, planes: int, *args: Any, **kwargs: Any) -> nn.Sequential:
        # torchvision asks for 64, 128, 256 and 512 planes; the first stage follows the stem.
        if planes == 64:
            self.inplanes = self._width
        stage: nn.Sequential = super()._make_layer(block, planes * self._width // 64, *args, **kwargs)
        return stage

    def stages(self) -> dict[str, nn.Module]:
        """See `metatc2.models.stages.consecutive_stages`: the four stages, with the stem and the average in the outer two."""
        stem = nn.Sequential(self.normalize, self.conv1, self.bn1, self.relu, self.maxpool, self.layer1)
        last = nn.Sequential(self.layer4, self.avgpool, nn.Flatten())
        return {"layer1": stem, "layer2": self.layer2, "layer3": self.layer3, "layer4": last}

    def forward(self, images: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, dim)``."""
        features: Tensor = super().forward(self.normalize(images))
        return features


def resnet(name: str, channels: int = 3, width: int = 64, image_size: int = 224) -> ResNet:
    """A `ResNet` by name; see there.

    >>> resnet("resnet18", channels=3, width=16, image_size=32).dim
    128
    """
    return ResNet(name, channels, width, image_size)


@register_encoder("resnet18")
def resnet18(*, channels: int, image_size: int, width: int | None = None) -> ResNet:
    """See `build_encoder`."""
    return ResNet("resnet18", channels, width or 64, image_size)


@register_encoder("resnet34")
def resnet34(*, channels: int, image_size: int, width: int | None = None) -> ResNet:
    """See `build_encoder`."""
    return ResNet("resnet34", channels, width or 64, image_size)


@register_encoder("resnet50")
def resnet50(*, channels: int, image_size: int, width: int | None = None) -> ResNet:
    """See `build_encoder`."""
    return ResNet("resnet50", channels, width or 64, image_size)
