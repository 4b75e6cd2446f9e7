"""Few-shot episodes as rows of a target, all of them drawn at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metatc2.episodes.sampler import sample_without_replacement
from metatc2.errors import InputError
from metatc2.ops.numbers import whole


@dataclass(frozen=True)
class Episodes:
    """E episodes of one shape.

    Args:
        classes: ``(E, way)``: labels of the classes.
        support: ``(E, way, shot)``: rows into the target, the labeled images.
        query: ``(E, way, query)``: rows into the target, the images to classify; none is in `support`.
        excluded: classes of the target that are too small to be drawn.
    """

    classes: Tensor
    support: Tensor
    query: Tensor
    excluded: int = 0

    def __len__(self) -> int:
        return len(self.classes)

    def part(self, which: slice) -> Episodes:
        """Some of the episodes."""
        return Episodes(self.classes[which], self.support[which], self.query[which], self.excluded)


def fit_query(labels: Tensor, way: int, shot: int, query: int, *, target: str = "the target") -> int:
    """Queries a class that every class can give: ``min(query, smallest class − shot)``.

    Classes with fewer than ``shot + 1`` samples are left out; the smallest is sought among the others.

    Args:
        labels: int64 ``(N,)``.
        way: classes an episode.
        shot: labeled samples a class.
        query: queries a class that were asked for.
        target: its name, for the error.

    Raises:
        InputError: if fewer than `way` classes remain, or a number is not positive.

    >>> fit_query(torch.tensor([0] * 9 + [1] * 6 + [2]), 2, 5, 15)
    1
    """
    counts = torch.unique(labels, return_counts=True)[1]
    way, shot, query = (
        whole(value, f"few-shot on {target}: {name}", least)
        for name, value, least in (("way", way, 2), ("shot", shot, 1), ("query", query, 1))
    )
    large = counts[counts > shot]
    if len(large) < way:
        sizes = f"of {int(counts.min())} to {int(counts.max())} images" if len(counts) else "at all"
        raise InputError(
            f"few-shot on {target}: {way}-way {shot}-shot needs {way} classes of at least {shot + 1} images, "
            f"and {len(large)} of its {len(counts)} classes {sizes} qualify; "
            "use fewer classes or shots (--way, --shot; FewShot(ways=, shots=), which fit=True fits), or another split"
        )
    return min(query, int(large.min()) - shot)


def fit_shapes(labels: Tensor, ways: Sequence[int], shots: Sequence[int]) -> dict[tuple[int, int], str]:
    """Ways and shots that classes allow, none larger than was asked for, and what became of each in words.

    Fewer classes where not enough are large enough; a shot that no two classes can give is left out.

    Args:
        labels: int64 ``(N,)``.
        ways: classes an episode that were asked for.
        shots: labeled samples a class that were asked for.

    Returns:
        by way and shot a note, empty where nothing was changed; no entry at all if two classes are too much for every shot.

    >>> fit_shapes(torch.arange(3).repeat(4), (5,), (1, 5))
    {(3, 1): '3-way instead of 5-way, since there are no more classes; 5-shot left out, since no two classes have 6 images'}
    """
    counts = torch.unique(labels, return_counts=True)[1]
    notes: dict[tuple[int, int], str] = {}
    for way in ways:
        for shot in shots:
            large = int((counts > shot).sum())
            if min(way, large) < 2:
                continue
            none = "there are no more classes" if large == len(counts) else f"no more classes have {shot + 1} images"
            note = f"{large}-way instead of {way}-way, since {none}" if large < way else ""
            notes.setdefault((min(way, large), shot), note)
    lost = [shot for shot in dict.fromkeys(shots) if all(shape[1] != shot for shape in notes)]
    left_out = [f"{shot}-shot left out, since no two classes have {shot + 1} images" for shot in lost]
    return {shape: "; ".join([note] * (note != "") + left_out) for shape, note in notes.items()}


def fewer_queries(given: int, asked: int) -> str:
    """What a row says where the smallest class has fewer queries than were asked for; else nothing."""
    return f"{given} queries a class instead of {asked}, the smallest class has no more" if given < asked else ""


def sample_episodes(
    labels: Tensor,
    *,
    way: int,
    shot: int,
    query: int,
    episodes: int,
    generator: torch.Generator,
    target: str = "the target",
) -> Episodes:
    """Draw episodes: classes without replacement in an episode, samples without replacement in a class, both uniform.

    Cost grows with the number of indices drawn and not with the size of the classes. Queries are `fit_query`'s, so they
    may be fewer than asked for: look at ``Episodes.query.shape``.

    Args:
        labels: int64 ``(N,)``: class of each row of the target.
        way: classes an episode.
        shot: labeled samples a class.
        query: samples to classify a class, at most.
        episodes: how many.
        generator: on the CPU; the only source of chance.
        target: its name, for errors.

    Raises:
        InputError: if the target has too few classes that are large enough, or a number is not positive.

    >>> g = torch.Generator().manual_seed(0)
    >>> drawn = sample_episodes(torch.arange(30) % 3, way=2, shot=1, query=4, episodes=7, generator=g)
    >>> drawn.support.shape, drawn.query.shape
    (torch.Size([7, 2, 1]), torch.Size([7, 2, 4]))
    """
    query = fit_query(labels, way, shot, query, target=target)
    way, shot = whole(way, "way"), whole(shot, "shot")
    episodes = whole(episodes, f"few-shot on {target}: episodes", 1)
    names, counts = torch.unique(labels, return_counts=True)
    by_class = labels.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    eligible = (counts > shot).nonzero().flatten()

    drawn = eligible[sample_without_replacement(torch.full((episodes,), len(eligible)), way, generator)]
    offsets = sample_without_replacement(counts[drawn].flatten(), shot + query, generator)
    rows = by_class[starts[drawn].unsqueeze(-1) + offsets.view(episodes, way, shot + query)]
    return Episodes(names[drawn], rows[..., :shot], rows[..., shot:], len(counts) - len(eligible))


def shuffled_within_classes(labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """All rows in a random order, class by class, and the place of each within its class.

    Args:
        labels: int64 ``(N,)``.
        generator: on the CPU.

    Returns:
        int64 ``(N,)`` each.

    >>> rows, place = shuffled_within_classes(torch.tensor([1, 0, 1]), torch.Generator().manual_seed(0))
    >>> rows[0].item(), place.tolist()
    (1, [0, 0, 1])
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    rows = shuffled[labels[shuffled].argsort(stable=True)]
    counts = torch.unique_consecutive(labels[rows], return_counts=True)[1]
    return rows, torch.arange(len(rows)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
