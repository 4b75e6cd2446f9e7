"""Encoders that others trained, by name: torchvision's and timm's, with weights where this machine has them."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn

from metatc2.data.seen import UNKNOWN_SOURCE, SeenClasses
from metatc2.errors import InputError, MissingPackage
from metatc2.experiment.filled import IMAGENET, NORMALIZED, check_takes, fill
from metatc2.experiment.pretrained import Pretrained
from metatc2.models.foreign_encoder import ForeignEncoder
from metatc2.models.python import is_factory
from metatc2.models.registry import ENCODERS
from metatc2.ops.numbers import whole
from metatc2.ops.random_state import seeded

ZOOS = ("torchvision", "timm")
_RANDOM = "random"

_Made = tuple[ForeignEncoder, int, list[str]]


def code_of(network: str) -> str:
    """The module of the user's that makes a network, ``"mynets"`` of ``"mynets:small"``; empty of names of libraries.

    >>> code_of("mynets:small"), code_of("torchvision:resnet18"), code_of("conv4")
    ('mynets', '', '')
    """
    module = network.partition(":")[0]
    return module if module not in ZOOS and module not in ENCODERS and is_factory(network) else ""


def from_zoo(
    name: str,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    download: bool = False,
    weights: Path | None = None,
) -> Pretrained:
    """An encoder of torchvision or timm.

    Args:
        name: ``"torchvision:resnet18"`` (the library's default weights) or ``"torchvision:resnet18:random"`` (untrained);
            likewise with ``"timm:..."``.
        image_size: side of the images in pixels; by default that of the training.
        channels: of the images; other than 3 for timm alone, and with weights of one's own or none.
        download: let the library fetch weights that are not on this machine.
        weights: file of weights in place of the library's, see `metatc2.models.foreign_weights.load_foreign`.

    Raises:
        InputError: if there is no such model, its weights are not here or do not fit, or it cannot take such images.
        MissingPackage: if timm is asked for and not installed.

    >>> from_zoo("torchvision:resnet18:random", image_size=64).encoder(torch.rand(2, 3, 64, 64)).shape
    torch.Size([2, 512])
    """
    if image_size is not None:
        whole(image_size, f"{name}: image_size", 1)
    zoo, _, rest = name.partition(":")
    model, _, which = rest.partition(":")
    if zoo not in ZOOS or not model or which not in ("", _RANDOM) or (which and weights):
        raise InputError(
            f"encoder {name!r} is not ZOO:MODEL, ZOO:MODEL:random or ZOO:MODEL@FILE; ZOO is torchvision or timm"
        )
    count = 3 if channels is None else whole(channels, f"{name}: channels", 1)
    trained = not which and weights is None
    if count != 3 and (zoo == "torchvision" or trained):
        raise InputError(
            f"{name} takes images of 3 channels, and {count} were asked for; timm:MODEL@FILE and timm:MODEL:random take others"
        )
    make = _torchvision if zoo == "torchvision" else _timm
    with seeded(0):
        untrained, size, classes = make(model, False, image_size, count, download)
    if trained:
        with seeded(0):
            encoder, size, classes = make(model, True, image_size, count, download)
    else:  # the untrained network is its own control
        encoder = copy.deepcopy(untrained)
    if weights is not None:
        fill(encoder, weights, name, NORMALIZED if zoo == "torchvision" else "as timm's configuration of it says")
    check_takes(encoder, name, count, size)
    return Pretrained(
        name=name if weights is None else f"{name}@{weights}",
        encoder=encoder.eval(),
        channels=count,
        image_size=size,
        untrained=untrained.eval(),
        network=f"{zoo}:{model}",
        source="nothing" if which else "imagenet" if trained else UNKNOWN_SOURCE,
        seen=SeenClasses("imagenet", frozenset(classes)) if classes else None,
    )


def torchvision_networks() -> list[str]:
    """Names of torchvision's networks for images."""
    from torchvision import models

    return list(models.list_models(module=models))


def _torchvision(name: str, trained: bool, image_size: int | None, channels: int, download: bool) -> _Made:
    from torchvision import models

    known = torchvision_networks()
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
    return ForeignEncoder(_without_classifier(network, name), preset.mean, preset.std), size, classes


def _without_classifier(network: nn.Module, name: str) -> nn.Module:
    parent, _, child = classifier_path(network, f"torchvision:{name}").rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    return network


def classifier_path(network: nn.Module, name: str) -> str:
    """Dotted name of the classifier of a network of torchvision: features are what its last linear layer is given.

    Args:
        network: as torchvision makes it.
        name: for the error.

    Raises:
        InputError: if it has no linear layer.
    """
    linear: list[str] = [path for path, part in network.named_modules() if isinstance(part, nn.Linear)]
    if not linear:
        raise InputError(f"{name} does not end in a linear layer that could be taken off; choose another")
    return linear[-1]


def _timm(name: str, trained: bool, image_size: int | None, channels: int, download: bool) -> _Made:
    try:
        import timm
    except ImportError as error:
        raise MissingPackage(f"timm:{name} needs timm; pip install 'metatc2[timm]'") from error
    if not timm.is_model(name):
        raise InputError(f"timm has no model {name!r}; {_close(name, timm.list_models())}")
    config = timm.get_pretrained_cfg(name)
    options: dict[str, Any] = {"num_classes": 0, "in_chans": channels}
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
    mean, std = (config.mean, config.std) if config is not None else IMAGENET
    if channels != 3:  # there is no convention; black and white are -2 and 2, as for encoders of this library
        mean, std = (0.5,), (0.25,)
    imagenet = trained and getattr(config, "num_classes", 0) == 1000
    return ForeignEncoder(body, mean, std), size, _imagenet_classes() if imagenet else []


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
