"""Leave one domain out: what is learnt from all styles but one is asked about the style left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metatc2.episodes.sampler import sample_without_replacement, stream
from metatc2.errors import InputError
from metatc2.models.inputs import feature_sides, labels_of
from metatc2.ops.numbers import whole
from metatc2.ops.rows import unit_rows
from metatc2.transfer.heads.prototype import few_shot
from metatc2.transfer.sampling import Episodes

Judge = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


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


def nearest_prototype(bank: Tensor, bank_labels: Tensor, queries: Tensor, query_labels: Tensor) -> Tensor:
    """Whether each query gets its class: that of the mean bank feature with the largest cosine.

    Args:
        bank: float ``(B, D)``.
        bank_labels: int64 ``(B,)``.
        queries: float ``(Q, D)``.
        query_labels: int64 ``(Q,)``.

    Returns:
        float64 ``(Q,)`` of 0 and 1.

    >>> nearest_prototype(torch.eye(2), torch.tensor([3, 7]), torch.tensor([[2.0, 0.1]]), torch.tensor([3])).tolist()
    [1.0]
    """
    predicted = prototype_classifier(bank, bank_labels)(queries)
    return (predicted == labels_of(query_labels, "prototypes: query_labels", len(predicted))).double().cpu()


def prototype_classifier(bank: Tensor, bank_labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Features ``(Q, D)`` to the class ``(Q,)`` whose mean bank feature has the largest cosine.

    Args:
        bank: float ``(B, D)``.
        bank_labels: int64 ``(B,)``.

    Raises:
        InputError: here and from what is returned, if shapes do not fit or features are not finite.
    """
    (bank,) = feature_sides({"prototypes: bank": bank})
    bank_labels = labels_of(bank_labels, "prototypes: bank_labels", len(bank))
    names, classes = torch.unique(bank_labels, return_inverse=True)
    # The length of a prototype does not matter to the cosine, so its sum will do.
    sums = bank.new_zeros(len(names), bank.shape[1]).index_add(0, classes, bank)
    directions = unit_rows(sums)

    def classify(queries: Tensor) -> Tensor:
        (asked,) = feature_sides({"prototypes: queries": queries})
        if asked.shape[1] != directions.shape[1]:
            raise InputError(
                f"prototypes: bank and queries must be as wide, got {directions.shape[1]} and {asked.shape[1]} dimensions"
            )
        found: Tensor = names[(unit_rows(asked).to(directions) @ directions.T).argmax(1)]
        return found

    return classify


def leave_one_domain_out(
    features: Tensor,
    labels: Tensor,
    domains: Tensor,
    *,
    judge: Judge = nearest_prototype,
    held_out: Sequence[int] | None = None,
) -> DomainsLeftOut:
    """For each domain: the images of all other domains are the bank, those of the domain are asked.

    Images of a class that no other domain has are not asked, and `DomainsLeftOut.excluded` counts such classes. Classes
    that the domain lacks stay in the bank, where they can mislead.

    Args:
        features: float ``(N, D)`` of a frozen encoder.
        labels: int64 ``(N,)``.
        domains: int64 ``(N,)``, e.g. ``store.domains``.
        judge: from bank, bank labels, queries and query labels to 1 or 0 a query: `nearest_prototype`, `knn`, or a linear
            probe.
        held_out: domains to leave out in turn; all by default. The others are always part of the bank.

    Raises:
        InputError: if shapes do not fit, features are not finite, there is one domain, or a domain to be left out is
            unknown or shares fewer than two classes with the others.

    >>> f = torch.eye(2).repeat_interleave(2, 0)
    >>> found = leave_one_domain_out(f, torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]))
    >>> found.accuracies, found.worst
    ({0: 1.0, 1: 1.0}, 1.0)
    """
    features, labels, domains, names = _checked(features, labels, domains, held_out)
    correct, rows, excluded = [], [], []
    for name in names:
        bank, asked, missing = _sides(labels, domains, name, least=1)
        found = judge(features[bank], labels[bank], features[asked], labels[asked])
        if not isinstance(found, Tensor) or found.shape != asked.shape:
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(f"leave one domain out: judge must return one value a query ({len(asked)},), got {got}")
        correct.append(found.double().cpu())
        rows.append(asked)
        excluded.append(missing)
    return DomainsLeftOut(names, tuple(correct), tuple(rows), tuple(excluded))


def domain_episodes(
    labels: Tensor,
    domains: Tensor,
    held_out: int,
    *,
    way: int,
    shot: int,
    query: int,
    episodes: int,
    generator: torch.Generator,
) -> Episodes:
    """Few-shot episodes with the support from all domains but one, and the queries from that one.

    Drawn are classes with `shot` images in the other domains and one in the domain at least. All episodes have
    ``min(query, smallest of these classes in the domain)`` queries a class.

    Args:
        labels: int64 ``(N,)``.
        domains: int64 ``(N,)``.
        held_out: the domain of the queries.
        way: classes an episode, at least 2.
        shot: labelled images a class.
        query: images to classify a class, at most.
        episodes: how many.
        generator: on the CPU; the only source of chance.

    Returns:
        episodes for `few_shot`; `Episodes.excluded` counts the domain's classes that cannot be drawn.

    Raises:
        InputError: if there are fewer than `way` such classes, or a number is not positive.

    >>> labels, domains = torch.arange(12) % 3, torch.arange(12) // 6
    >>> drawn = domain_episodes(labels, domains, 1, way=2, shot=1, query=5, episodes=4,
    ...                         generator=torch.Generator().manual_seed(0))
    >>> drawn.query.shape, domains[drawn.query].unique().tolist(), domains[drawn.support].unique().tolist()
    (torch.Size([4, 2, 2]), [1], [0])
    """
    way, shot, query, episodes = (
        whole(value, f"leave one domain out: {name}", least)
        for name, value, least in (("way", way, 2), ("shot", shot, 1), ("query", query, 1), ("episodes", episodes, 1))
    )
    bank, asked, missing = _sides(labels, domains, held_out, least=shot, way=way)
    classes = torch.unique(labels[asked])
    other, other_start, other_count = _by_class(labels, bank, classes)
    own, own_start, own_count = _by_class(labels, asked, classes)
    given = min(query, int(own_count.min()))
    drawn = sample_without_replacement(torch.full((episodes,), len(classes)), way, generator)
    sides = []
    for start, count, size in ((other_start, other_count, shot), (own_start, own_count, given)):
        offset = sample_without_replacement(count[drawn].flatten(), size, generator).view(episodes, way, size)
        sides.append(start[drawn].unsqueeze(-1) + offset)
    return Episodes(classes[drawn], other[sides[0]], own[sides[1]], missing)


def leave_one_domain_out_few_shot(
    features: Tensor,
    labels: Tensor,
    domains: Tensor,
    *,
    way: int,
    shot: int,
    seed: int,
    query: int = 15,
    episodes: int = 600,
    head: str = "cosine",
    held_out: Sequence[int] | None = None,
) -> DomainsLeftOut:
    """For each domain: few-shot accuracy with the support from the other domains and the queries from it.

    Args:
        features: float ``(N, D)`` of a frozen encoder.
        labels: int64 ``(N,)``.
        domains: int64 ``(N,)``.
        way, shot, query, episodes: see `domain_episodes`.
        seed: of the episodes, at least 0, the same for every encoder that is to be compared; domains have their own draws.
        head: see `few_shot`.
        held_out: domains to leave out in turn; all by default.

    Raises:
        InputError: as `leave_one_domain_out` and `domain_episodes`.
    """
    features, labels, domains, names = _checked(features, labels, domains, held_out)
    seed = whole(seed, "leave one domain out: seed", 0)
    correct, rows, excluded = [], [], []
    for name in names:
        generator = stream(seed, name)
        drawn = domain_episodes(
            labels, domains, name, way=way, shot=shot, query=query, episodes=episodes, generator=generator
        )
        correct.append(few_shot(features, drawn, head))
        rows.append(_sides(labels, domains, name, least=shot, way=way)[1])
        excluded.append(drawn.excluded)
    return DomainsLeftOut(names, tuple(correct), tuple(rows), tuple(excluded))


def _sides(labels: Tensor, domains: Tensor, held_out: int, *, least: int, way: int = 2) -> tuple[Tensor, Tensor, int]:
    """Rows of the other domains; those of the domain whose class the others have `least` times; classes left out."""
    bank, own = (domains != held_out).nonzero().flatten(), (domains == held_out).nonzero().flatten()
    names, counts = torch.unique(labels[bank], return_counts=True)
    known = torch.isin(labels[own], names[counts >= least])
    asked = own[known]
    shared, all_own = len(torch.unique(labels[asked])), len(torch.unique(labels[own]))
    if shared < way:
        times = "" if least == 1 else f" at least {least} times"
        raise InputError(
            f"leave one domain out: of the {all_own} classes of domain {held_out} the other domains have {shared}{times}, "
            f"and {way} are needed; leave it out of held_out, or use a smaller way or shot"
        )
    return bank, asked, all_own - shared


def _by_class(labels: Tensor, rows: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of these classes, grouped; where each class starts, and how many it has."""
    rows = rows[torch.isin(labels[rows], classes)]
    grouped = rows[labels[rows].argsort(stable=True)]
    counts = torch.unique_consecutive(labels[grouped], return_counts=True)[1]
    return grouped, counts.cumsum(0) - counts, counts


def _checked(
    features: Tensor, labels: Tensor, domains: Tensor, held_out: Sequence[int] | None
) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
    """The three in their precision, and the domains to leave out."""
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
