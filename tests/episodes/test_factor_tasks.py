"""Tasks on rendered pairs: what a pair shares is what its kind says, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metatc2.data.sources.shapes.dataset import in_part, load_shapes, shape_factors
from metatc2.data.sources.shapes.render import FACTORS, render
from metatc2.episodes import LEVELS, FactorTasks
from metatc2.errors import InputError

CIRCULAR_OR_LINEAR = FACTORS[2:]


def drawn(level: str, pairs: int = 400, **options: object) -> tuple[FactorTasks, Tensor]:
    """A sampler, and factors of one task of each kind, ``(kinds, pairs, 2, factors)``."""
    kinds = len(LEVELS[level])
    sampler = FactorTasks(level, tasks=kinds, batch=kinds * pairs, **options)  # type: ignore[arg-type]
    return sampler, sampler.draw_factors(torch.arange(kinds))


def shared(values: Tensor, factor: str) -> float:
    column = values[..., FACTORS.index(factor)]
    return float((column[:, 0] == column[:, 1]).double().mean())


@pytest.mark.parametrize("level", LEVELS)
def test_pairs_share_what_their_kind_keeps_and_nothing_else(level: str) -> None:
    _, values = drawn(level)
    for notion, own in zip(LEVELS[level], values, strict=True):
        for factor in FACTORS:
            if factor in notion.keeps:
                assert shared(own, factor) == 1.0
            elif notion.keeps_in is not None and factor == notion.keeps_in[2]:
                low, high, _ = notion.keeps_in
                shape = own[:, 0, 0]
                inside = (shape >= low) & (shape <= high)
                assert shared(own[inside], factor) == 1.0
                assert shared(own[~inside], factor) == 0.0
            elif factor in CIRCULAR_OR_LINEAR:
                assert shared(own, factor) == 0.0
            else:
                assert shared(own, factor) < 0.4  # a category may come again by chance


def test_in_one_kind_of_task_a_pair_is_positive_that_is_negative_in_another() -> None:
    _, values = drawn("contradiction")
    hue, shape = values[0], values[1]
    assert shared(hue, "hue") == 1.0
    assert shared(hue, "shape") < 0.3
    assert shared(shape, "shape") == 1.0
    assert shared(shape, "hue") == 0.0


@pytest.mark.parametrize("split", ["meta-train", "validation", "meta-test"])
@pytest.mark.parametrize("level", ["one-more", "contradiction"])
def test_only_combinations_of_the_split_are_drawn(level: str, split: str) -> None:
    _, values = drawn(level, split=split)
    known = {tuple(pair) for pair in in_part(split).tolist()}
    assert {tuple(pair) for pair in values[..., :2].flatten(0, -2).long().tolist()} <= known
    # and they are those of the images of that split
    store = load_shapes(image_size=8, count=2000)
    rows = shape_factors(2000).values[store.rows(split), :2].long()
    assert {tuple(pair) for pair in rows.tolist()} == known


def test_parts_do_not_meet() -> None:
    parts = [{tuple(pair) for pair in in_part(name).tolist()} for name in ("train", "validation", "test")]
    assert len(set.union(*parts)) == sum(map(len, parts)) == len(in_part("all")) == 96


def test_images_are_those_of_the_factors_and_kinds_are_dealt_evenly() -> None:
    sampler = FactorTasks("one-more", tasks=4, batch=24, image_size=12, seed=3)
    again = FactorTasks("one-more", tasks=4, batch=24, image_size=12, seed=3)
    counts = torch.zeros(5, dtype=torch.int64)
    for _ in range(3):
        episode = sampler.sample()
        assert episode.identity is not None
        # The same draws by hand.
        kinds = torch.randperm(5, generator=again.generator)[:4]
        values = again.draw_factors(kinds)
        expected = render(values.flatten(0, -2), 12).float().unflatten(0, (4, 6, 2)) / 255
        assert torch.equal(episode.identity.kinds, kinds)
        assert torch.equal(episode.images, expected)
        counts += kinds.bincount(minlength=5)
    assert counts.sum() == 12
    many = FactorTasks("one-more", tasks=10, batch=20, image_size=8).sample().identity
    assert many is not None
    assert many.kinds.bincount().tolist() == [2] * 5


def test_identity_says_what_is_kept() -> None:
    for level, notions in LEVELS.items():
        identity = FactorTasks(level, tasks=len(notions), batch=2 * len(notions), image_size=8).sample().identity
        assert identity is not None
        assert identity.names == tuple(notion.name for notion in notions)
        for kind, condition in zip(identity.kinds.tolist(), identity.conditions, strict=True):
            kept = {FACTORS[i] for i in (condition == 1).nonzero().flatten().tolist()}
            assert kept == set(notions[kind].keeps)


def test_goes_on_after_the_saved_episode() -> None:
    first = FactorTasks("per-sample", tasks=2, batch=8, image_size=8, seed=1)
    first.sample()
    state = first.state_dict()
    second = FactorTasks("per-sample", tasks=2, batch=8, image_size=8, seed=9)
    second.load_state_dict(state)
    assert torch.equal(first.sample().images, second.sample().images)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"level": "one"}, "unknown level 'one'; did you mean 'one-more'"),
        ({"batch": 10}, "batch 10 is not divisible by tasks 4"),
        ({"support": 0.01}, "both sides need at least one"),
        ({"split": "latin"}, "is no part that factors can be drawn for"),
    ],
)
def test_what_does_not_fit_is_told(change: dict[str, object], sentence: str) -> None:
    options: dict[str, object] = {"level": "one-more", "tasks": 4, "batch": 16, "image_size": 8} | change
    with pytest.raises(InputError, match=sentence):
        FactorTasks(str(options.pop("level")), **options)  # type: ignore[arg-type]
