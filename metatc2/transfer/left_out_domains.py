"""What all ways to leave a domain out have in common: who is in the bank, who is asked, and the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.models.inputs import feature_sides, labels_of


@dataclass(frozen=True, eq=False)
class DomainsLeftOut:
    """What was right in each domain when it was left out.

    Args:
        domains: in ascending order.
        correct: for each domain float64 ``(n,)``: 1 where an image gets its class, else 0; in few-shot the accuracy of
            each episode.
        rows: for each domain int64 ``(n,)``: the rows that were asked; in few-shot all rows that episodes draw from.
        excluded: for each domain how many of its classes could not be asked, since the other domains lack them.
    """

    domains: tuple[int, ...]
    correct: tuple[Tensor, ...]
    rows: tuple[Tensor, ...]
    excluded: tuple[int, ...]

    @property
    def accuracies(self) -> dict[int, float]:
        """By domain."""
        return {domain: float(each.mean()) for domain, each in zip(self.domains, self.correct, strict=True)}

    @property
    def mean(self) -> float:
        """Mean over domains, each of equal weight."""
        return sum(self.accuracies.values()) / len(self.domains)

    @property
    def worst(self) -> float:
        """Accuracy in the domain that suffers most."""
        return min(self.accuracies.values())


def bank_and_queries(
    labels: Tensor, domains: Tensor, held_out: int, *, least: int, way: int = 2
) -> tuple[Tensor, Tensor, int]:
    """Rows of the other domains; those of the domain whose class the others have `least` times; classes left out.

    Raises:
        InputError: if fewer than `way` classes are left.
    """
    bank, own = (domains != held_out).nonzero().flatten(), (domains == held_out).nonzero().flatten()
    names, counts = torch.unique(labels[bank], return_counts=True)
    known = torch.isin(labels[own], names[counts >= least])
    queries = own[known]
    shared, all_own = len(torch.unique(labels[queries])), len(torch.unique(labels[own]))
    if shared < way:
        times = "" if least == 1 else f" at least {least} times"
        raise InputError(
            f"leave one domain out: of the {all_own} classes of domain {held_out} the other domains have {shared}{times}, "
            f"and {way} are needed; leave it out of held_out, or use a smaller way or shot"
        )
    return bank, queries, all_own - shared


def checked_domains(
    features: Tensor, labels: Tensor, domains: Tensor, held_out: Sequence[int] | None
) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
    """The three in their precision, and the domains to leave out.

    Raises:
        InputError: if there is one domain alone, or none of a name in `held_out`.
    """
    (features,) = feature_sides({"leave one domain out: features": features})
    labels = labels_of(labels, "leave one domain out: labels", len(features))
    domains = labels_of(domains, "leave one domain out: domains", len(features))
    known: list[int] = torch.unique(domains).tolist()
    if len(known) < 2:
        raise InputError(
            f"leave one domain out: all images are of domain {known[0]}; the data need at least two domains "
            "(store.domains: fonts of glyphs, or a folder of folders: domains:PATH)"
        )
    for name in held_out or ():
        if name not in known:
            raise InputError(f"leave one domain out: there is no domain {name} among {known}")
    return features, labels, domains, tuple(known if held_out is None else sorted(set(held_out)))
