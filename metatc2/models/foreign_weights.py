"""Weights that others trained: files of torch and safetensors, whatever their tensors are wrapped and called in."""

from __future__ import annotations

import argparse
import pickle
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from metatc2.errors import InputError, cause_of
from metatc2.io.files import check_regular
from metatc2.io.pickled import beginning, is_whole_pickle
from metatc2.io.safetensors_file import read_safetensors
from metatc2.models.resnet import RESNETS, SMALL_IMAGE, ResNet

TORCH_FILES = (".pth", ".pt", ".ckpt", ".bin", ".tar")

State = Mapping[str, Tensor]

_DEEPEST = 4  # tables in tables
# What evaluation takes of two that fit: DINO's teacher; of all others the network that was trained, not its average.
_FIRST, _LAST = ("teacher",), ("student", "momentum", "encoder_k", "target", "ema")
_NAMED = 2
# What torch.compile, FSDP and activation checkpointing put into names of parameters.
_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")


class ForeignWeights(UserWarning):
    """Weights from elsewhere were loaded in part or under other names: which ones, and what cannot be checked."""


@dataclass(frozen=True)
class _Place:
    """Tensors that fit a network, and where they were.

    Args:
        where: keys of tables and the prefix of names, as they are shown.
        tensors: by the network's names.
        others: names of the tensors that lie beside them.
    """

    where: str
    tensors: State
    others: tuple[str, ...]

    @property
    def rank(self) -> int:
        """Smaller ones are taken first."""
        return -any(word in self.where for word in _FIRST) + any(word in self.where for word in _LAST)


def read_weights(file: Path) -> Mapping[str, Any]:
    """Tables of tensors from safetensors, or from a file of ``torch.save`` (`TORCH_FILES`).

    Raises:
        InputError: if there is no such file, its ending is another, or it is damaged.
    """
    if file.suffix in TORCH_FILES:
        return read_torch_file(file)
    if file.suffix != ".safetensors":
        endings = ", ".join((".safetensors", *TORCH_FILES))
        raise InputError(f"{file}: weights end in {endings}; name such a file, or rename it")
    check_regular(file)
    if not file.is_file():
        raise InputError(f"{file}: no such file; name a file of weights")
    try:
        return read_safetensors(file)[0]
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{file} is damaged ({cause_of(error)}); get it again") from error


def read_torch_file(file: Path) -> Mapping[str, Any]:
    """What ``torch.save`` wrote, if it is tensors, numbers and texts; no code of the file is run.

    Raises:
        InputError: if it cannot be read, or holds objects that would take code.
    """
    check_regular(file)
    if not file.is_file():
        raise InputError(f"{file}: no such file; name a file of weights")
    try:
        # Many training scripts keep their arguments beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, on the version of a pickle
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zipfile and torch raise a dozen kinds on damaged files
        raise InputError(_refusal(file, error)) from error
    if isinstance(content, Tensor) or not isinstance(content, Mapping):
        raise InputError(
            f"{file} holds a {type(content).__name__} and no table of tensors; save a state_dict() instead"
        )
    return content


def _refusal(file: Path, error: Exception) -> str:
    """Why torch could not read a file: told from its bytes, since torch says of many damaged ones that they hold objects."""
    if isinstance(error, pickle.UnpicklingError) and is_whole_pickle(file):
        return (
            f"{file} holds Python objects, which only running code from the file could restore; that is not done. Get its "
            "state_dict, best as safetensors; only if you trust whoever made the file, since this runs any code in it, save "
            "its tensors alone: torch.save(torch.load(FILE, weights_only=False)['state_dict'], NEW)"
        )
    message = (str(error).splitlines() or [""])[0][:200] if isinstance(error, RuntimeError | OSError) else ""
    reason = beginning(file) or message or "what is in it does not fit together"
    return f"{file} is damaged or was not written by torch.save ({reason}); get it again"


def load_foreign(
    network: nn.Module, content: Mapping[str, Any], file: Path, name: str, where: Path | None = None
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
        where: file that named the network, for errors; None where it was named with the file, as ``NAME@FILE``.

    Returns:
        What was done, in sentences' parts; empty if names were the network's own and none was left over.

    Raises:
        InputError: if nothing fits.
    """
    content, wrappers = _unwrapped(content)
    own = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if own.keys() == network.state_dict().keys() and not _misfits(own, network.state_dict()):
        notes = [*_of_wrappers(wrappers), *_of_precision(own, network.state_dict())]
        network.load_state_dict(own)
        return notes
    body = getattr(network, "body", network)
    body = body if isinstance(body, nn.Module) else network
    fits = sorted(_places(body, content), key=lambda place: place.rank)
    if not fits:
        named = f"{name}" if where is None else f"the encoder that {where} names"
        raise InputError(f"{file} does not fit {named}: {_why(body, content, name, file, at=where is None)}")
    taken = fits[0]
    precision = _of_precision(taken.tensors, body.state_dict())
    body.load_state_dict(taken.tensors)
    notes = [f"the weights under {taken.where!r} are taken"] if taken.where else []
    if len(fits) > 1:
        notes[-1:] = [f"the weights {_under(taken.where)} are taken and those {_under(fits[1].where)} fit too"]
    if taken.others:
        notes.append(f"{len(taken.others)} other tensors are left out ({_few(taken.others)})")
    return [*notes, *_of_wrappers(wrappers), *precision]


def _unwrapped(content: Mapping[str, Any], depth: int = 0) -> tuple[Mapping[str, Any], list[str]]:
    """The same tables without what wrappers of torch put into the names of tensors, and what that was."""
    seen: dict[str, None] = {}
    clean: dict[str, Any] = {}
    for key, value in content.items():
        name = str(key)
        if isinstance(value, Tensor):
            seen |= dict.fromkeys(word for word in _WRAPPERS if word in name)
            for word in _WRAPPERS:
                name = name.replace(word, "")
        elif isinstance(value, Mapping) and depth < _DEEPEST:
            value, inside = _unwrapped(value, depth + 1)
            seen |= dict.fromkeys(inside)
        clean[name] = value
    return clean, list(seen)


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


def _under(where: str) -> str:
    return f"under {where!r}" if where else "at its top"


def _places(body: nn.Module, content: Mapping[str, Any]) -> Iterator[_Place]:
    for keys, state in _tables(content):
        for names in (_names(body), _numbered(body)):
            for prefix in _prefixes(state, names):
                tensors = _taken(state, prefix, names, body)
                if tensors is not None and not _misfits(tensors, body.state_dict()):
                    used = {prefix + name for name in names}
                    others = tuple(name for name in state if name not in used)
                    yield _Place(".".join([*keys, prefix]), tensors, others)


def _taken(state: State, prefix: str, names: Mapping[str, str], body: nn.Module) -> State | None:
    """The network's tensors from a table, or None if one is missing."""
    usual = body.state_dict()
    tensors = {}
    for theirs, ours in names.items():
        if prefix + theirs in state:
            tensors[ours] = state[prefix + theirs]
        elif ours.endswith("num_batches_tracked"):  # a counter that older files lack and no evaluation reads
            tensors[ours] = usual[ours]
        else:
            return None
    return tensors


def _names(body: nn.Module) -> dict[str, str]:
    return {name: name for name in body.state_dict()}


def _numbered(body: nn.Module) -> dict[str, str]:
    """Names as in ``nn.Sequential(*network.children())``, which many training scripts make of a network."""
    number = {name: str(i) for i, (name, _) in enumerate(body.named_children())}
    parts = {name: name.partition(".") for name in body.state_dict()}
    return {f"{number[first]}.{rest}": name for name, (first, _, rest) in parts.items() if first in number}


def _tables(content: Mapping[str, Any], keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], State]]:
    """Tables that hold tensors, with the keys that lead to them."""
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        yield keys, tensors
    if len(keys) < _DEEPEST:
        for key, value in content.items():
            if isinstance(value, Mapping):
                yield from _tables(value, (*keys, str(key)))


def _prefixes(state: State, names: Mapping[str, str]) -> list[str]:
    """Prefixes under which a table has some of the names, those with most of them first."""
    counts: Counter[str] = Counter()
    for key in state:
        parts = key.split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in names:
                counts["".join(f"{part}." for part in parts[:i])] += 1
    return [prefix for prefix, _ in counts.most_common()]


def _misfits(tensors: State, wanted: State) -> list[str]:
    return [name for name, value in wanted.items() if name in tensors and tensors[name].shape != value.shape]


def _why(body: nn.Module, content: Mapping[str, Any], name: str, file: Path, *, at: bool) -> str:
    """The nearest place and what is wrong there, naming few tensors; and what the file would fit.

    Args:
        body: what it does not fit.
        content: of the file.
        name: of the network.
        file: that was read.
        at: whether networks are named as ``NAME@FILE``.
    """
    wanted, best, most = body.state_dict(), "", 0
    tables = list(_tables(content))
    if not tables:
        return "it holds no tensors"
    for keys, state in tables:
        for naming in (_names(body), _numbered(body)):
            for prefix in _prefixes(state, naming):
                there = {ours: state[prefix + theirs] for theirs, ours in naming.items() if prefix + theirs in state}
                if len(there) <= most:
                    continue
                most = len(there)
                missing = [key for key in wanted if key not in there]
                wrong = [
                    f"{k} is {tuple(there[k].shape)}, not {tuple(wanted[k].shape)}" for k in _misfits(there, wanted)
                ]
                problems = [f"{len(missing)} of {len(wanted)} tensors of {name} are missing ({_few(missing)})"] * bool(
                    missing
                )
                problems += [f"{len(wrong)} have other shapes ({_few(wrong)})"] * bool(wrong)
                best = f"{_under('.'.join([*keys, prefix]))}, {' and '.join(problems)}"
    examples = _few(list(tables[0][1]))
    best = best or f"it has none of the tensors of {name} (it has {examples})"
    known = fitting(content)
    if at:
        hint = f"; it fits {known.at(file)}" if known else "; name the network that it was saved from, as NAME@FILE"
    else:
        hint = f"; it fits {known.config}" if known else "; name the encoder that it was saved from in [encoder] name"
    return best + hint


def _few(words: Sequence[str]) -> str:
    return ", ".join(words[:_NAMED]) + (f", ... {len(words) - _NAMED} more" if len(words) > _NAMED else "")


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
        if self.small:
            return f"encoder.name = '{self.name}' with data.image_size up to {SMALL_IMAGE} and data.channels = {self.channels}"
        if self.channels == 3:
            return (
                f"encoder.name = 'torchvision:{self.name}' (or '{self.name}' with data.image_size above {SMALL_IMAGE})"
            )
        return (
            f"encoder.name = '{self.name}' with data.image_size above {SMALL_IMAGE} and data.channels = {self.channels}"
        )

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
    content = _unwrapped(content)[0]
    if next(_tables(content), None) is None:
        return None
    for name in RESNETS:
        for size in (SMALL_IMAGE, 2 * SMALL_IMAGE):
            for channels in (3, 1):
                with torch.device("meta"):
                    network = ResNet(name, channels, 64, size)
                if next(_places(network, content), None) is not None:
                    return Fitting(name, channels, size <= SMALL_IMAGE)
    return None
