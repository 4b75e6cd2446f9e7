"""Episodes: valid, uniform in content and in order, independent of class size, clear errors."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy import stats

from metatc2.errors import InputError
from metatc2.transfer import fit_query, sample_episodes
from metatc2.transfer.sampling import sample_without_replacement


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uneven_labels() -> torch.Tensor:
    """Classes 10, 20, ... of 3 to 12 samples, in a mixed order."""
    labels = torch.cat([torch.full((size,), 10 * (i + 1)) for i, size in enumerate(range(3, 13))])
    return labels[torch.randperm(len(labels), generator=generator(5))]


def test_rows_belong_to_their_class_and_never_repeat() -> None:
    labels = uneven_labels()
    drawn = sample_episodes(labels, way=4, shot=2, query=3, episodes=500, generator=generator())
    both = torch.cat([drawn.support, drawn.query], 2)
    assert both.shape == (500, 4, 2 + 1)  # the smallest class has 3 samples
    assert torch.equal(labels[both], drawn.classes.unsqueeze(2).expand_as(both))
    for e in range(len(drawn)):
        assert len(set(drawn.classes[e].tolist())) == 4
        assert len(set(both[e].flatten().tolist())) == both[e].numel()


def test_small_classes_are_left_out_and_counted(seed_offset: int) -> None:
    drawn = sample_episodes(uneven_labels(), way=4, shot=5, query=15, episodes=400, generator=generator(seed_offset))
    assert drawn.excluded == 3  # sizes 3, 4, 5
    assert drawn.query.shape[2] == 1
    assert set(drawn.classes.flatten().tolist()) == {10 * i for i in range(4, 11)}


@pytest.mark.parametrize(("size", "k"), [(5, 3), (4, 4), (6, 1)])
def test_every_ordered_choice_is_equally_likely(size: int, k: int, seed_offset: int) -> None:
    n = 30_000
    drawn = sample_without_replacement(torch.full((n,), size), k, generator(seed_offset + 1))
    outcomes = dict.fromkeys(itertools.permutations(range(size), k), 0)
    for outcome in drawn.tolist():
        outcomes[tuple(outcome)] += 1  # a KeyError is a repeated or too large number
    assert stats.chisquare(list(outcomes.values())).pvalue > 1e-6


def test_rows_of_different_sizes_do_not_disturb_each_other(seed_offset: int) -> None:
    sizes = torch.tensor([3, 7]).repeat(20_000)
    drawn = sample_without_replacement(sizes, 3, generator(seed_offset + 2))
    for size in (3, 7):
        for place in range(3):
            assert stats.chisquare(drawn[sizes == size][:, place].bincount(minlength=size)).pvalue > 1e-6


def test_all_samples_of_a_target_are_reached_equally(seed_offset: int) -> None:
    labels = torch.arange(60) % 6
    drawn = sample_episodes(labels, way=3, shot=2, query=4, episodes=8_000, generator=generator(seed_offset + 3))
    for side in (drawn.support, drawn.query):
        # Draws in one episode exclude each other, which makes counts more even than chance, never less.
        assert stats.chisquare(side.flatten().bincount(minlength=60)).pvalue > 1e-6


def test_cost_does_not_grow_with_the_class(seed_offset: int) -> None:
    drawn = sample_without_replacement(torch.full((1000,), 10**12), 20, generator(seed_offset))
    assert int(drawn.max()) > 9 * 10**11
    assert int(drawn.max()) < 10**12


def test_same_seed_same_episodes() -> None:
    first, again, other = (
        sample_episodes(uneven_labels(), way=3, shot=1, query=2, episodes=20, generator=generator(seed))
        for seed in (7, 7, 8)
    )
    assert torch.equal(first.support, again.support)
    assert torch.equal(first.query, again.query)
    assert not torch.equal(first.query, other.query)


def test_too_few_classes_is_one_clear_sentence() -> None:
    with pytest.raises(
        InputError, match=r"glyphs:tiny: 6-way 8-shot needs 6 classes of at least 9 .* 4 of its 10 .*3 to 12"
    ):
        sample_episodes(
            uneven_labels(), way=6, shot=8, query=1, episodes=1, generator=generator(), target="glyphs:tiny"
        )
    with pytest.raises(InputError, match="0 of its 0"):
        fit_query(torch.empty(0, dtype=torch.int64), 5, 1, 15)
    for bad in ({"way": 1}, {"shot": 0}, {"query": 0}, {"episodes": 0}):
        with pytest.raises(InputError, match=next(iter(bad))):
            sample_episodes(
                uneven_labels(), generator=generator(), **{"way": 2, "shot": 1, "query": 1, "episodes": 1} | bad
            )


def test_fit_query_is_what_the_smallest_remaining_class_gives() -> None:
    assert fit_query(uneven_labels(), 5, 1, 15) == 2
    assert fit_query(uneven_labels(), 5, 3, 15) == 1
    assert fit_query(torch.arange(100) % 2, 2, 5, 15) == 15
