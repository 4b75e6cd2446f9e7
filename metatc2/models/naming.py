"""The name by which a module can be made again: found out, and believed once what it makes gives the same features."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from metatc2.errors import InputError
from metatc2.models.python import KIND, UNKNOWN, attribute, is_factory, modules_in
from metatc2.models.registry import ENCODERS, build_encoder
from metatc2.models.timm import TimmEncoder
from metatc2.ops.module_state import evaluation_mode
from metatc2.ops.random_state import seeded


def encoder_name(
    encoder: nn.Module, *, channels: int, image_size: int, given: str | None = None
) -> tuple[str, int | None]:
    """Name and width with which `build_encoder` makes such a module; `UNKNOWN` where none is found.

    Args:
        encoder: as it is.
        channels: of its images.
        image_size: side of its images in pixels.
        given: what the user says: a name of `ENCODERS`, or ``"package.module:factory"``.

    Raises:
        InputError: if what is given makes another module.

    >>> from metatc2.models import Conv4
    >>> encoder_name(Conv4(channels=1, width=8), channels=1, image_size=28)
    ('conv4', 8)
    """
    if given is not None:
        name = given
        if given.partition(":")[0] not in _kinds() and is_factory(given):
            name = f"{KIND}:{given}"
            with modules_in(Path.cwd()):
                attribute(given, f"encoder={given!r}")  # imported because the program names it
        for width in _widths(encoder):
            if problem := _differs(encoder, name, width, channels, image_size):
                continue
            return name, width
        raise InputError(
            f"encoder={given!r} makes another module than the learner's encoder ({problem}); name the function that makes it"
        )
    for name in _candidates(encoder):
        for width in _widths(encoder):
            if not _differs(encoder, name, width, channels, image_size):
                return name, width
    return UNKNOWN, None


def _kinds() -> set[str]:
    return {name.partition(":")[0] for name in ENCODERS}


def _candidates(encoder: nn.Module) -> Iterator[str]:
    """Of registered encoders those that are made where the module's class is written; then the class itself."""
    kind = type(encoder)
    if isinstance(encoder, TimmEncoder):
        yield f"timm:{encoder.name}"
    yield from (name for name in ENCODERS if ":" not in name and ENCODERS.module_of(name) == kind.__module__)
    own = kind.__module__.partition(".")[0] not in ("torch", "metatc2", "__main__")
    if own and getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind:
        yield f"{KIND}:{kind.__module__}:{kind.__qualname__}"


def _widths(encoder: nn.Module) -> list[int | None]:
    """No width, and the first one that is seen."""
    first = next((p for p in encoder.parameters() if p.ndim > 1), None)
    return [None] if first is None else [None, int(first.shape[0])]


def _differs(encoder: nn.Module, name: str, width: int | None, channels: int, image_size: int) -> str:
    """In what the module of a name differs, once it has the same weights; empty if in nothing."""
    try:
        with seeded(0):
            made = build_encoder(name, channels=channels, image_size=image_size, width=width)
        # A part without weights, such as a ReLU, may have no effect on the few images below.
        kinds, own = ([(place, type(part)) for place, part in each.named_modules()] for each in (made, encoder))
        if kinds != own:
            return "it has other parts"
        made.load_state_dict(encoder.state_dict())
        like = next((p for p in encoder.parameters() if p.is_floating_point()), torch.empty(0))
        made.to(like.device, like.dtype)
        images = torch.rand(2, channels, image_size, image_size, generator=torch.Generator().manual_seed(0)).to(like)
        with evaluation_mode(encoder), torch.no_grad(), seeded(0):
            there = encoder(images)
        with torch.no_grad(), seeded(0):
            again = made.eval()(images)
        same = torch.allclose(there, again, rtol=1e-3, atol=1e-5)
    except (InputError, RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:
        return " ".join(str(error).split())[:200]
    return "" if same else "with the same weights its features are others"
