"""Few-shot episodes across domains: the support from all domains but one, the queries from that one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metatc2.episodes.sampler import sample_without_replacement, stream
from metatc2.ops.numbers import whole
from metatc2.transfer.heads.prototype import few_shot
from metatc2.transfer.left_out_domains import DomainsLeftOut, bank_and_queries, checked_domains
from metatc2.transfer.sampling import Episodes


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
        shot: labeled images a class.
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
    bank, queries, missing = bank_and_queries(labels, domains, held_out, least=shot, way=way)
    classes = torch.unique(labels[queries])
    other, other_start, other_count = _by_class(labels, bank, classes)
    own, own_start, own_count = _by_class(labels, queries, classes)
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
    features, labels, domains, names = checked_domains(features, labels, domains, held_out)
    seed = whole(seed, "leave one domain out: seed", 0)
    correct, rows, excluded = [], [], []
    for name in names:
        generator = stream(seed, name)
        drawn = domain_episodes(
            labels, domains, name, way=way, shot=shot, query=query, episodes=episodes, generator=generator
        )
        correct.append(few_shot(features, drawn, head))
        rows.append(bank_and_queries(labels, domains, name, least=shot, way=way)[1])
        excluded.append(drawn.excluded)
    return DomainsLeftOut(names, tuple(correct), tuple(rows), tuple(excluded))


def _by_class(labels: Tensor, rows: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of these classes, grouped; where each class starts, and how many it has."""
    rows = rows[torch.isin(labels[rows], classes)]
    grouped = rows[labels[rows].argsort(stable=True)]
    counts = torch.unique_consecutive(labels[grouped], return_counts=True)[1]
    return grouped, counts.cumsum(0) - counts, counts
