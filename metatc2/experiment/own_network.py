"""Encoders that are made by code which the user names: ``package.module:factory``, and entries of clones for ``torch.hub``."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from metatc2.errors import InputError
from metatc2.experiment.filled import IMAGENET, NORMALIZED, check_takes, fill
from metatc2.experiment.pretrained import Pretrained
from metatc2.experiment.zoo import ZOOS
from metatc2.models.encoding import check_encoder
from metatc2.models.foreign_encoder import ForeignEncoder
from metatc2.models.foreign_weights import ForeignWeights
from metatc2.models.python import attribute, called, member, modules_in, parameters, raised
from metatc2.ops.random_state import seeded

TORCH_HUB = "torchhub"
_SIZE = 224
_HEADS = ("fc", "classifier", "head", "heads")


def from_factory(
    name: str, *, weights: Path | None = None, image_size: int | None = None, channels: int | None = None
) -> Pretrained:
    """An encoder that a function or class of the user's makes; its code is imported and run.

    Args:
        name: ``"package.module:factory"``, found as Python finds modules and in the working directory. The factory is called
            with those of ``channels`` and ``image_size`` that are given and that it takes; what stands there may also be the
            module itself. It maps images ``(N, C, H, W)`` in [0, 1] to what `feature_rows` takes.
        weights: file that its weights come from, see `metatc2.models.foreign_weights.load_foreign`.
        image_size: side of the images in pixels; by default the module's attribute ``image_size``, else 224.
        channels: of the images; by default those of its first convolution, else 3.

    Raises:
        InputError: if there is no such module or factory, it fails, or what it makes takes no such images.
    """
    offered = {"image_size": image_size, "channels": channels}
    with modules_in(Path.cwd()):
        thing = attribute(name, name, others=(*ZOOS, TORCH_HUB))
        made = _made(thing, name, offered)
        other: nn.Module | None = None
        if weights is not None and not isinstance(thing, nn.Module):
            other = ForeignEncoder(_made(thing, name, offered))
    encoder = ForeignEncoder(made)
    return _finished(name, encoder, other, weights, image_size, channels, "by its own code, which gets them in [0, 1]")


def from_torch_hub(
    name: str, *, weights: Path | None = None, image_size: int | None = None, channels: int | None = None
) -> Pretrained:
    """An encoder of a repository with a ``hubconf.py`` that lies on this machine; its code is run.

    Args:
        name: ``"torchhub:PLACE:ENTRY"``; PLACE is a clone's folder, or the OWNER/REPOSITORY that `torch.hub` has fetched
            earlier. Where ENTRY takes ``pretrained`` it is called with false if weights are given. A last part called fc,
            classifier, head or heads is taken off.
        weights: file that its weights come from.
        image_size: side of the images in pixels; by default 224.
        channels: of the images; by default those of its first convolution.

    Raises:
        InputError: if there is no such place or entry, it fails, or what it makes takes no such images.
    """
    place, _, entry = name.removeprefix(f"{TORCH_HUB}:").rpartition(":")
    if not place or not entry:
        raise InputError(f"encoder {name!r} is not {TORCH_HUB}:PLACE:ENTRY, PLACE a clone's folder or OWNER/REPOSITORY")
    folder = _clone(place, name)
    with modules_in(folder, first=True):
        thing = member(_hubconf(folder, name), entry, name)
        untrained = {"pretrained": False} if weights is not None and "pretrained" in parameters(thing) else {}
        made = _made(thing, name, {}, **untrained)
        other = None if weights is None else _headless(_made(thing, name, {}, **untrained), name, say=False)
    encoder = _headless(made, name)
    return _finished(name, encoder, other, weights, image_size, channels, NORMALIZED)


def _finished(
    name: str,
    encoder: ForeignEncoder,
    other: nn.Module | None,
    weights: Path | None,
    image_size: int | None,
    channels: int | None,
    normalized: str,
) -> Pretrained:
    check_encoder(encoder, name)
    if weights is not None:
        fill(encoder, weights, name, normalized)
    declared = getattr(encoder.body, "image_size", None)
    size = image_size or (declared if isinstance(declared, int) else _SIZE)
    count = channels or _channels(encoder)
    check_takes(encoder.eval(), name, count, size)
    return Pretrained(
        name=name if weights is None else f"{name}@{weights}",
        encoder=encoder,
        channels=count,
        image_size=size,
        untrained=None if other is None else other.eval(),
        network=name,
    )


def _channels(encoder: nn.Module) -> int:
    first = next((part for part in encoder.modules() if isinstance(part, nn.Conv2d)), None)
    return 3 if first is None else first.in_channels


def _made(thing: Any, name: str, offered: Mapping[str, int | None], **more: Any) -> nn.Module:
    if isinstance(thing, nn.Module):
        return thing
    with seeded(0):
        return called(thing, name, offered, **more)


def _headless(network: nn.Module, name: str, *, say: bool = True) -> ForeignEncoder:
    """Without a classifier, which of networks in general is known by its name alone."""
    last = next(reversed(list(network.named_children())), ("", nn.Identity()))
    if last[0] in _HEADS and any(isinstance(part, nn.Linear) for part in last[1].modules()):
        setattr(network, last[0], nn.Identity())
        if say:
            warnings.warn(f"{name}: its last part {last[0]!r} is taken off, as a head", ForeignWeights, stacklevel=4)
    return ForeignEncoder(network, *IMAGENET)


def _clone(place: str, name: str) -> Path:
    folder = Path(os.path.expanduser(place))
    owner, _, repository = place.partition("/")
    fetched = sorted(Path(torch.hub.get_dir()).glob(f"{owner}_{repository}_*")) if owner and repository else []
    for each in (folder, *fetched):
        if (each / "hubconf.py").is_file():
            return each
    reason = "has no hubconf.py" if folder.is_dir() else f"is no folder, and {torch.hub.get_dir()} holds no copy of it"
    raise InputError(f"{name}: {place} {reason}; clone the repository, and name the clone's folder")


def _hubconf(folder: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("hubconf", folder / "hubconf.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever its code raises
        raise InputError(
            f"{name}: its hubconf.py failed ({raised(error)}); mend it, or install what it needs"
        ) from error
    return module
