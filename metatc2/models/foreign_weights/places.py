"""Where in tables of tensors those of a network lie: in which table, under which prefix, called by name or by number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

State = Mapping[str, Tensor]

DEEPEST = 4  # tables in tables
# What evaluation takes of two that fit: DINO's teacher; of all others the network that was trained, not its average.
_FIRST, _LAST = ("teacher",), ("student", "momentum", "encoder_k", "target", "ema")


@dataclass(frozen=True)
class FittingTensors:
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


@dataclass(frozen=True)
class Candidate:
    """A table and a prefix under which it has some of a network's tensors.

    Args:
        where: see `FittingTensors`.
        state: the table.
        names: the network's name of each tensor, by the name that it has in the table.
    """

    where: str
    state: State
    names: Mapping[str, str]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Those that are there, by the network's names."""
        return {ours: self.state[theirs] for theirs, ours in self.names.items() if theirs in self.state}


def places(body: nn.Module, content: Mapping[str, Any]) -> Iterator[FittingTensors]:
    """Where all tensors of a network are, in their shapes."""
    for candidate in candidates(body, content):
        tensors = _whole(candidate, body)
        if tensors is not None and not misfits(tensors, body.state_dict()):
            others = tuple(name for name in candidate.state if name not in candidate.names)
            yield FittingTensors(candidate.where, tensors, others)


def candidates(body: nn.Module, content: Mapping[str, Any]) -> Iterator[Candidate]:
    """Where some of them are, whatever their shapes; of a table those with most of them first."""
    for keys, state in tables(content):
        for names in (_names(body), _numbered(body)):
            for prefix in _prefixes(state, names):
                under = {prefix + theirs: ours for theirs, ours in names.items()}
                yield Candidate(".".join([*keys, prefix]), state, under)


def _whole(candidate: Candidate, body: nn.Module) -> State | None:
    """The network's tensors, or None if one is missing."""
    usual, tensors = body.state_dict(), candidate.tensors
    for ours in usual:
        if ours in tensors:
            continue
        if not ours.endswith("num_batches_tracked"):  # a counter that older files lack and no evaluation reads
            return None
        tensors[ours] = usual[ours]
    return tensors


def _names(body: nn.Module) -> dict[str, str]:
    return {name: name for name in body.state_dict()}


def _numbered(body: nn.Module) -> dict[str, str]:
    """Names as in ``nn.Sequential(*network.children())``, which many training scripts make of a network."""
    number = {name: str(i) for i, (name, _) in enumerate(body.named_children())}
    parts = {name: name.partition(".") for name in body.state_dict()}
    return {f"{number[first]}.{rest}": name for name, (first, _, rest) in parts.items() if first in number}


def tables(content: Mapping[str, Any], keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], State]]:
    """Tables that hold tensors, with the keys that lead to them."""
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        yield keys, tensors
    if len(keys) < DEEPEST:
        for key, value in content.items():
            if isinstance(value, Mapping):
                yield from tables(value, (*keys, str(key)))


def _prefixes(state: State, names: Mapping[str, str]) -> list[str]:
    """Prefixes under which a table has some of the names, those with most of them first."""
    counts: Counter[str] = Counter()
    for key in state:
        parts = key.split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in names:
                counts["".join(f"{part}." for part in parts[:i])] += 1
    return [prefix for prefix, _ in counts.most_common()]


def misfits(tensors: State, wanted: State) -> list[str]:
    """Names of tensors that are there in another shape than wanted."""
    return [name for name, value in wanted.items() if name in tensors and tensors[name].shape != value.shape]
