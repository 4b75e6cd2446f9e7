"""Encoders: images ``(N, C, H, W)``, float in [0, 1], to features ``(N, dim)``."""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import has_torch_function
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from metatc2.errors import InputError, MissingPackage, nearest
from metatc2.ops import conv_norm_pool, in_transform
from metatc2.ops.module_state import unchanged
from metatc2.ops.replacing import refuse_uninitialized

RESNETS: dict[str, tuple[type[nn.Module], list[int]]] = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
}
CONV4_SMALLEST = 16  # pixels: four poolings leave one
SMALL_IMAGE = 64  # pixels: up to here a ResNet starts at full resolution


class Normalise(nn.Module):
    """``(x − 0.5) / 0.25``: the same constants for every data set, so that an encoder carries nothing of its source.

    Raises:
        InputError: when the images are not floating point.

    >>> Normalise()(torch.tensor([0.0, 0.5, 1.0])).tolist()
    [-2.0, 0.0, 2.0]
    """

    def forward(self, images: Tensor) -> Tensor:
        """Images in [0, 1] to [−2, 2]."""
        if not images.is_floating_point():
            raise InputError(f"images must be float in [0, 1], found {images.dtype}; divide uint8 images by 255")
        return (images - 0.5) / 0.25


class Conv4(nn.Module):
    """The field's Conv-4 (Vinyals et al. 2016, Snell et al. 2017) with global average pooling at its end.

    Four blocks of 3×3 convolution, batch normalisation, ReLU and 2×2 max-pooling.

    Args:
        channels: 1 or 3.
        width: channels of every block, and the width of the features.

    Raises:
        InputError: when images are smaller than 16 pixels.

    >>> Conv4(channels=1, width=32)(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 32])
    """

    def __init__(self, channels: int = 3, width: int = 64) -> None:
        super().__init__()
        self.dim = width
        self.normalise = Normalise()
        self.blocks = nn.Sequential(*(_conv4_block(channels if i == 0 else width, width) for i in range(4)))
        self._first_as_built = repr(self.blocks[0])  # every setting of its parts; somebody may exchange one of them

    def forward(self, images: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, dim)``."""
        _check_conv4_size(min(images.shape[-2:]))
        x = self.normalise(images)
        first, *others = self.blocks
        fused = repr(first) == self._first_as_built and _unobserved(first, x)
        x = _first_block(first, x) if fused else first(x)
        for block in others:
            x = block(x)
        return torch.flatten(x.mean((-2, -1)), 1)


def _conv4_block(channels: int, width: int) -> nn.Sequential:
    # Pooling before ReLU is the same function with the same gradient as after it, at a quarter of the work.
    # No bias: the batch normalisation would subtract it again, and its gradient would be exactly zero.
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.MaxPool2d(2), nn.ReLU()
    )


def _unobserved(block: Any, images: Tensor) -> bool:
    """Whether only what `block` returns matters, with its normalisation in training, on a CPU in full precision.

    Otherwise its operations are looked into, replaced, or differentiated for the input.
    """
    return (
        block[1].training  # its own mode: a layer in eval mode is frozen, whatever is around it
        and images.device.type == "cpu"
        and images.dtype == next(block.parameters()).dtype
        and not torch.is_autocast_enabled("cpu")
        and images.shape[-1] % 2 == images.shape[-2] % 2 == 0
        and not (images.requires_grad and torch.is_grad_enabled())
        and not any(_altered(part) for part in block.modules())
        and not in_transform()
        # Policies of batch normalisation, and whoever else replaces torch's functions, are to see them all.
        and not has_torch_function((images,))
        and not torch.compiler.is_compiling()
    )


def _altered(part: nn.Module) -> bool:
    """Whether hooks are attached to a module, or its forward was replaced."""
    hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks)
    return any(hooks) or "forward" in part.__dict__


def _first_block(block: Any, images: Tensor) -> Tensor:
    """What `block` returns, running statistics included, without its large maps."""
    convolution, norm, _, activation = block
    out, mean, variance = conv_norm_pool(images, convolution.weight, norm.weight, norm.bias, norm.eps)
    count = images.numel() // images.shape[1]
    with torch.no_grad():
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
        norm.num_batches_tracked.add_(1)
    result: Tensor = activation(out)
    return result


def _check_conv4_size(image_size: int) -> None:
    if image_size < CONV4_SMALLEST:
        raise InputError(
            f"conv4 needs images of at least {CONV4_SMALLEST} pixels, found {image_size}; set data.image_size"
        )


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
        self.normalise = Normalise()

    def _make_layer(self, block: Any, planes: int, *args: Any, **kwargs: Any) -> nn.Sequential:
        # torchvision asks for 64, 128, 256 and 512 planes; the first stage follows the stem.
        if planes == 64:
            self.inplanes = self._width
        stage: nn.Sequential = super()._make_layer(block, planes * self._width // 64, *args, **kwargs)
        return stage

    def forward(self, images: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, dim)``."""
        features: Tensor = super().forward(self.normalise(images))
        return features


def resnet(name: str, channels: int = 3, width: int = 64, image_size: int = 224) -> ResNet:
    """A `ResNet` by name; see there.

    >>> resnet("resnet18", channels=3, width=16, image_size=32).dim
    128
    """
    return ResNet(name, channels, width, image_size)


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
        try:
            import timm
        except ImportError as error:
            raise MissingPackage(f"timm:{name} needs timm; pip install 'metatc2[timm]'") from error
        if not timm.is_model(name):
            close = difflib.get_close_matches(name, timm.list_models(), n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else "timm.list_models() gives all"
            raise InputError(f"timm has no model {name!r}; {hint}")
        options: dict[str, Any] = {"pretrained": False, "num_classes": 0, "in_chans": channels}
        self.normalise = Normalise()
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
        features: Tensor = self.body(self.normalise(images))
        return features


def build_encoder(name: str, *, channels: int, image_size: int, width: int | None = None) -> nn.Module:
    """An encoder by name, freshly initialised from torch's global random state (`torch.random.fork_rng` fences it).

    Args:
        name: ``"conv4"``, ``"resnet18"``, ``"resnet34"``, ``"resnet50"`` or ``"timm:NAME"``.
        channels: 1 or 3.
        image_size: side of the images in pixels.
        width: channels of the first stage; 64 by default. Not for timm, whose names say it.

    Returns:
        A module with an attribute `dim`, from images ``(N, C, H, W)`` in [0, 1] to ``(N, dim)``.

    Raises:
        InputError: if the name is unknown, or does not go with the size or the width.
        MissingPackage: if timm is asked for and not installed.

    >>> build_encoder("conv4", channels=1, image_size=28, width=32).dim
    32
    """
    if width is not None and width < 1:
        raise InputError(f"width must be at least 1, found {width}")
    if name == "conv4":
        _check_conv4_size(image_size)
        return Conv4(channels, width or 64)
    if name in RESNETS:
        return resnet(name, channels, width or 64, image_size)
    if name.startswith("timm:"):
        if width is not None:
            raise InputError(f"{name} takes no width (found {width}): choose another model of timm instead")
        return TimmEncoder(name.removeprefix("timm:"), channels, image_size)
    raise InputError(f"unknown encoder {name!r}; {nearest(name, ['conv4', *RESNETS, 'timm:NAME'])}")


@torch.no_grad()
def feature_dim(module: nn.Module, channels: int, image_size: int) -> int:
    """Width of the features of any encoder: its attribute `dim`, or what comes out for two black images.

    The module is left as it was: its mode, its buffers, its gradients.

    Args:
        module: maps ``(N, C, H, W)`` to ``(N, D)``.
        channels: 1 or 3.
        image_size: side of the images in pixels.

    Raises:
        InputError: if what comes out is not ``(N, D)``.

    >>> feature_dim(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), channels=1, image_size=28)
    10
    """
    dim = getattr(module, "dim", None)
    if isinstance(dim, int):
        return dim
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    images = torch.zeros(2, channels, image_size, image_size, device=like.device, dtype=like.dtype)
    refuse_uninitialized(module, "an encoder")
    with unchanged(module):  # one may write to its buffers even in eval mode
        features = module.eval()(images)
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 2:
        found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise InputError(
            f"an encoder must map images (N, C, H, W) to features (N, D); {type(module).__name__} gave {found} for "
            f"N = 2; pool and flatten its output"
        )
    return int(features.shape[1])
