"""What fits a network from tables of tensors, loaded; and what was done, said."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metatc2.errors import InputError
from metatc2.models.foreign_weights.misfit import few, under, why
from metatc2.models.foreign_weights.places import State, misfits, places
from metatc2.models.foreign_weights.wrapped import unwrapped


class ForeignWeights(UserWarning):
    """Weights from elsewhere were loaded in part or under other names: which ones, and what cannot be checked."""


def load_foreign(
    network: nn.Module, content: Mapping[str, Any], file: Path, name: str, where: Path | str | None = None
) -> list[str]:
    """Load what fits a network from tables of tensors, under whatever prefix it lies; the rest is left out.

    All tensors of the network must be there, in their shapes; they are converted to its precision. What wrappers of torch put
    into names (``_orig_mod.`` and others) is taken out. Of several places that fit, a teacher is taken first, then
    what is not called an average (momentum, target, ema, encoder_k) or a student; of equal ones the first.

    Args:
        network: an encoder; where it has a part ``body``, that part is the network of others.
        content: tensors by name, also in tables inside it (``state_dict``, ``model``).
        file: of `content`, for errors.
        name: of the network.
        where: file or section that named the network, for errors; None where it was named with the file, as ``NAME@FILE``.

    Returns:
        What was done, in sentences' parts; empty if names were the network's own and none was left over.

    Raises:
        InputError: if nothing fits.
    """
    content, wrappers = unwrapped(content)
    own = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if own.keys() == network.state_dict().keys() and not misfits(own, network.state_dict()):
        notes = [*_of_wrappers(wrappers), *_of_precision(own, network.state_dict())]
        network.load_state_dict(own)
        return notes
    body = getattr(network, "body", network)
    body = body if isinstance(body, nn.Module) else network
    fits = sorted(places(body, content), key=lambda place: place.rank)
    if not fits:
        named = f"{name}" if where is None else f"the encoder that {where} names"
        raise InputError(f"{file} does not fit {named}: {why(body, content, name, file, at=where is None)}")
    taken = fits[0]
    precision = _of_precision(taken.tensors, body.state_dict())
    body.load_state_dict(taken.tensors)
    notes = [f"the weights under {taken.where!r} are taken"] if taken.where else []
    # The same tensors may fit by more than one naming.
    if other := next((place for place in fits if place.where != taken.where), None):
        notes[-1:] = [f"the weights {under(taken.where)} are taken and those {under(other.where)} fit too"]
    if taken.others:
        count = len(taken.others)
        notes.append(f"{count} other {'tensor is' if count == 1 else 'tensors are'} left out ({few(taken.others)})")
    return [*notes, *_of_wrappers(wrappers), *precision]


def _of_wrappers(wrappers: list[str]) -> list[str]:
    return [f"{' and '.join(map(repr, wrappers))} is taken out of the names"] * bool(wrappers)


def _of_precision(tensors: State, wanted: State) -> list[str]:
    """That weights are computed with in another precision than they were kept in."""
    pairs = {
        (tensors[name].dtype, value.dtype)
        for name, value in wanted.items()
        if name in tensors and value.is_floating_point() and tensors[name].dtype != value.dtype
    }
    return [f"weights in {_dtype(a)} become {_dtype(b)}" for a, b in sorted(pairs, key=str)]


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
