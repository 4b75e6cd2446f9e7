"""Encoders that others trained, by name: torchvision's and timm's, with weights where this machine has them."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from metatc2.errors import InputError, MissingPackage
from metatc2.experiment.pretrained import Pretrained
from metatc2.models.encoding import feature_dim
from metatc2.ops.random_state import seeded
from metatc2.transfer import SeenClasses

ZOOS = ("torchvision", "timm")
_RANDOM = "random"
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class ZooEncoder(nn.Module):
    """A network without its classifier, on images in [0, 1].

    Args:
        body: maps normalized images to features ``(N, D)``.
        mean, std: of each channel, as the network was trained with.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """``(N, 3, H, W)`` to ``(N, D)``."""
        features: Tensor = self.body((images - self.mean) / self.std)
        return features


def from_zoo(name: str, *, image_size: int | None = None, download: bool = False) -> Pretrained:
    """An encoder of torchvision or timm.

    Args:
        name: ``"torchvision:resnet18"`` (the library's default weights) or ``"torchvision:resnet18:random"`` (untrained);
            likewise with ``"timm:..."``.
        image_size: side of the images in pixels; by default that of the training.
        download: let the library fetch weights that are not on this machine.

    Raises:
        InputError: if there is no such model, its weights are not here, or it cannot take such images.
        MissingPackage: if timm is asked for and not installed.

    >>> from_zoo("torchvision:resnet18:random", image_size=64).encoder(torch.rand(2, 3, 64, 64)).shape
    torch.Size([2, 512])
    """
    if image_size is not None and image_size < 1:
        raise InputError(f"{name}: image_size must be at least 1, got {image_size}")
    zoo, _, rest = name.partition(":")
    model, _, weights = rest.partition(":")
    if zoo not in ZOOS or not model or weights not in ("", _RANDOM):
        raise InputError(f"encoder {name!r} is not ZOO:MODEL or ZOO:MODEL:random; ZOO is torchvision or timm")
    make = _torchvision if zoo == "torchvision" else _timm
    with seeded(0):
        untrained, size, classes = make(model, False, image_size, download)
    if weights == _RANDOM:  # the untrained network is its own control
        encoder = copy.deepcopy(untrained)
    else:
        with seeded(0):
            encoder, size, classes = make(model, True, image_size, download)
    try:
        feature_dim(encoder, 3, size)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{name} cannot take 3 × {size} × {size} images ({reason}); name another image_size"
        ) from error
    return Pretrained(
        name=name,
        encoder=encoder.eval(),
        channels=3,
        image_size=size,
        untrained=untrained.eval(),
        source="nothing" if weights == _RANDOM else "imagenet",
        seen=SeenClasses("imagenet", frozenset(classes)) if classes else None,
    )


def _torchvision(name: str, trained: bool, image_size: int | None, download: bool) -> tuple[ZooEncoder, int, list[str]]:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise InputError(f"torchvision has no model {name!r}; {_close(name, known)}")
    weights = models.get_model_weights(name).DEFAULT
    preset = weights.transforms()
    if trained:
        file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
        _require(file.is_file(), f"torchvision:{name}", str(file), download)
        network = models.get_model(name, weights=weights)
    else:
        network = models.get_model(name, weights=None)
    size = int(preset.crop_size[0]) if image_size is None else image_size
    classes = list(weights.meta["categories"]) if trained else []
    return ZooEncoder(_without_classifier(network, name), preset.mean, preset.std), size, classes


def _without_classifier(network: nn.Module, name: str) -> nn.Module:
    """The features are what the last linear layer was given."""
    linear = [path for path, part in network.named_modules() if isinstance(part, nn.Linear)]
    if not linear:
        raise InputError(f"torchvision:{name} does not end in a linear layer that could be taken off; choose another")
    parent, _, child = linear[-1].rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    return network


def _timm(name: str, trained: bool, image_size: int | None, download: bool) -> tuple[ZooEncoder, int, list[str]]:
    try:
        import timm
    except ImportError as error:
        raise MissingPackage(f"timm:{name} needs timm; pip install 'metatc2[timm]'") from error
    if not timm.is_model(name):
        raise InputError(f"timm has no model {name!r}; {_close(name, timm.list_models())}")
    config = timm.get_pretrained_cfg(name)
    options: dict[str, Any] = {"num_classes": 0}
    if trained:
        from huggingface_hub import try_to_load_from_cache

        repository = config.hf_hub_id if config is not None else None
        file = try_to_load_from_cache(repository, "model.safetensors") if repository else None
        _require(isinstance(file, str), f"timm:{name}", f"the Hugging Face cache ({repository})", download)
        overlay = {"pretrained_cfg_overlay": {"file": file}} if isinstance(file, str) else {}
        options |= {"pretrained": True, **overlay}
    if image_size is not None:
        try:
            body = timm.create_model(name, img_size=image_size, **options)
        except TypeError:  # convolutional models take any size and no such argument
            body = timm.create_model(name, **options)
    else:
        body = timm.create_model(name, **options)
    size = image_size if image_size is not None else int(config.input_size[-1]) if config is not None else 224
    mean, std = (config.mean, config.std) if config is not None else _IMAGENET
    imagenet = trained and getattr(config, "num_classes", 0) == 1000
    return ZooEncoder(body, mean, std), size, _imagenet_classes() if imagenet else []


def _imagenet_classes() -> list[str]:
    from torchvision.models import ResNet18_Weights

    return list(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def _require(there: bool, name: str, where: str, download: bool) -> None:
    if not there and not download:
        raise InputError(
            f"{name}: its weights are not on this machine (looked for {where}); allow the download with --download, or "
            f"name {name}:random for the untrained network"
        )


def _close(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(close)}?" if close else "its list_models() gives all"
