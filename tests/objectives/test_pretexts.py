"""Pretexts: images made by torchvision, PIL and NumPy, and losses asked question by question, beside the library's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.transforms.functional import rotate

from metatc2.diagnostics import task_loss
from metatc2.episodes import Episode, Samples
from metatc2.errors import InputError
from metatc2.learners import SelfSupervised
from metatc2.models.heads import Projector
from metatc2.objectives import OBJECTIVES, Embeddings, SimCLR, build_objective
from metatc2.objectives.auxiliary import AugSelf
from metatc2.objectives.pretexts import (
    Colorization,
    Jigsaw,
    RelativePosition,
    Rotation,
    chroma_histograms,
    cut_tiles,
    distant_permutations,
)

DIM = 6
PRETEXTS = [name for name, kind in OBJECTIVES.items() if not kind.two_views]


def images(tasks: int = 2, samples: int = 3, size: int = 32) -> Tensor:
    return torch.rand(tasks, samples, 2, 3, size, size, generator=torch.Generator().manual_seed(0))


def projections(views: int) -> Tensor:
    return torch.randn(2, 3, views, DIM, generator=torch.Generator().manual_seed(1))


def test_the_four_are_there() -> None:
    assert PRETEXTS == ["colorization", "jigsaw", "relative-position", "rotation"]


def test_turns_are_those_of_torchvision_and_each_is_its_class() -> None:
    objective, x, z = Rotation(DIM), images(), projections(4)
    made, answers = objective.prepare(x)
    assert answers is None
    for turn in range(4):
        assert torch.equal(made[1, 2, turn], rotate(x[1, 2, 0], 90 * turn))
    losses = [cross_entropy(objective.head(z[1, i, turn]), torch.tensor(turn)) for i in range(3) for turn in range(4)]
    torch.testing.assert_close(objective.per_task(Embeddings(z))[1], torch.stack(losses).mean())


def test_tiles_are_the_middles_of_their_cells() -> None:
    x = images(size=33)
    for grid, cell in ((2, 16), (3, 11)):
        tiles = cut_tiles(x[:, :, 0], grid, size=cell - 2)  # of their own size: nothing is interpolated
        for row, column in itertools.product(range(grid), repeat=2):
            top, left = row * cell + 1, column * cell + 1
            expected = x[1, 2, 0, :, top : top + cell - 2, left : left + cell - 2]
            torch.testing.assert_close(tiles[1, 2, grid * row + column], expected)
    assert cut_tiles(x, 3).shape[-2:] == (16, 16)
    assert cut_tiles(images(size=48), 3).shape[-2:] == (24, 24)


def test_permutations_differ_and_are_far_apart() -> None:
    chosen = distant_permutations(9, 24)
    assert len({tuple(row) for row in chosen.tolist()}) == 24
    assert all(sorted(row) == list(range(9)) for row in chosen.tolist())
    apart = [(a != b).sum().item() for a, b in itertools.combinations(chosen, 2)]
    drawn = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(i)) for i in range(24)])
    assert np.mean(apart) > np.mean([(a != b).sum().item() for a, b in itertools.combinations(drawn, 2)]) + 0.2
    first = chosen[:9]
    assert all((a != b).all() for a, b in itertools.combinations(first, 2))  # while there are such


@pytest.mark.parametrize(("items", "count"), [(4, 24), (5, 60)])
def test_each_permutation_is_the_farthest_from_all_before(items: int, count: int) -> None:
    """By the definition: for each one left the sum of its distances to those chosen, the first one of the largest."""
    left = np.random.default_rng(0).permutation(list(itertools.permutations(range(items)))).tolist()
    expected: list[list[int]] = []
    for _ in range(count):
        sums = [sum(a != b for chosen in expected for a, b in zip(one, chosen, strict=True)) for one in left]
        expected.append(left.pop(int(np.argmax(sums))))
    assert distant_permutations(items, count).tolist() == expected


def test_every_order_of_the_tiles_is_asked() -> None:
    objective, z = Jigsaw(DIM, grid=2, permutations=5, hidden=7), projections(4)
    losses = []
    for i, (number, order) in itertools.product(range(3), enumerate(objective.orders.tolist())):
        laid = torch.cat([z[1, i, tile] for tile in order])
        losses.append(cross_entropy(objective.head(laid), torch.tensor(number)))
    torch.testing.assert_close(objective.per_task(Embeddings(z))[1], torch.stack(losses).mean())


def test_every_outer_tile_is_asked_beside_the_middle_one() -> None:
    objective, z = RelativePosition(DIM, hidden=7), projections(9)
    losses = []
    for i, (number, tile) in itertools.product(range(3), enumerate((0, 1, 2, 3, 5, 6, 7, 8))):
        both = torch.cat([z[1, i, 4], z[1, i, tile]])
        losses.append(cross_entropy(objective.head(both), torch.tensor(number)))
    torch.testing.assert_close(objective.per_task(Embeddings(z))[1], torch.stack(losses).mean())


def test_chroma_is_that_of_pil_and_gray_has_none_of_it() -> None:
    x = (images(size=8)[0, 0, 0] * 255).round()
    pixels = np.array(Image.fromarray(x.byte().movedim(0, -1).numpy()).convert("YCbCr")).astype(float)
    found = chroma_histograms(x / 255, grid=2, bins=6)
    for (row, column), (channel, place) in itertools.product(itertools.product(range(2), repeat=2), ((1, 0), (2, 1))):
        cell = pixels[4 * row : 4 * row + 4, 4 * column : 4 * column + 4, channel]
        chroma = np.clip((cell - 128) / 255, -0.2999, 0.2999)
        expected = np.histogram(chroma, bins=6, range=(-0.3, 0.3))[0] / 16
        # PIL rounds to whole numbers, which can put one pixel into the next bin.
        assert np.abs(found[2 * row + column, place].numpy() - expected).max() <= 1 / 16
    neutral = chroma_histograms(images()[0, 0, 0, :1].expand(3, -1, -1), grid=1, bins=9)
    assert (neutral[0, :, 4] == 1).all()  # gray falls into one bin, and not on an edge
    gray, answers = Colorization(DIM).prepare(images())
    assert torch.equal(gray[:, :, :, 0], gray[:, :, :, 1])
    torch.testing.assert_close(
        gray[0, 0, 0, 0], (images()[0, 0, 0] * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    )
    assert answers is not None
    torch.testing.assert_close(answers.unflatten(-1, (32, 9)).sum(-1), torch.ones(2, 3, 1, 32))


def test_colors_are_asked_cell_by_cell() -> None:
    objective, z = Colorization(DIM, grid=2, bins=3), projections(1)
    _, answers = objective.prepare(images())
    assert answers is not None
    losses = []
    for i, cell in itertools.product(range(3), range(8)):
        scores = objective.head(z[1, i, 0]).view(8, 3)[cell]
        losses.append(cross_entropy(scores, answers[1, i, 0].view(8, 3)[cell]))
    torch.testing.assert_close(objective.per_task(Embeddings(z, answers=answers))[1], torch.stack(losses).mean())
    with pytest.raises(InputError, match=r"colorization needs Embeddings\.answers"):
        objective(Embeddings(z))


class Seen(nn.Module):
    """Keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.given = x
        features: Tensor = self.linear(x.mean((-2, -1)))
        return features


def learner(name: str, **options: object) -> SelfSupervised:
    torch.manual_seed(0)
    return SelfSupervised(
        Seen(),
        build_objective(name, dim=DIM),
        projector=Projector(4, 5, DIM),
        per_task=True,
        **options,  # type: ignore[arg-type]
    )


def episode() -> Episode:
    whole = Samples(images(samples=6), None, torch.rand(2, 6, 2, 24), torch.arange(12).view(2, 6))
    return Episode(whole.map(lambda t: t[:, :4]), whole.map(lambda t: t[:, 4:]))


@pytest.mark.parametrize("name", PRETEXTS)
def test_learners_see_what_the_objective_makes(name: str) -> None:
    model, given = learner(name), episode()
    outcome = model(given)
    made, answers = model.objective.prepare(given.images)
    assert torch.equal(model.encoder.given, made.flatten(0, 2))
    outcome.loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.objective.parameters())
    assert model.encoder.linear.weight.grad.abs().sum() > 0
    z = model.projector(model.encoder(made.flatten(0, 2)).unflatten(0, made.shape[:3]))
    torch.testing.assert_close(outcome.loss, model.objective(Embeddings(z, answers=answers)))
    # Every made view has the descriptor of the view that it is made of.
    descriptors = model.seen(given).descriptors
    assert descriptors is not None
    assert torch.equal(descriptors, given.descriptors[:, :, :1].expand(-1, -1, made.shape[2], -1))  # type: ignore[index]
    assert {key.split(".")[0] for key in model.heads()} == {"projector", "objective", "scale"}
    # The loss of a task by itself, as measures of conflict take it.
    loss, parameters = task_loss(model)
    first = Episode(*(side.map(lambda t: t[:1]) for side in (given.support, given.query)))
    torch.testing.assert_close(loss(parameters, given.images[0]), model(first).loss)


def test_two_views_are_left_as_they_are() -> None:
    given = episode()
    plain = SelfSupervised(Seen(), SimCLR(), projector=nn.Identity(), per_task=True)
    seen = plain.seen(given)
    assert seen.support.images is given.support.images


def test_what_cannot_be_asked_is_refused() -> None:
    x = images()
    with pytest.raises(InputError, match="these images have 1 channel; use a source of color images"):
        Colorization(DIM).prepare(x[:, :, :, :1])
    with pytest.raises(InputError, match="rotation turns square images, found 32 × 20 pixels"):
        Rotation(DIM).prepare(x[..., :20])
    with pytest.raises(InputError, match="images of 8 × 8 pixels have no 3 × 3 tiles of 3 pixels"):
        RelativePosition(DIM).prepare(images(size=8))
    with pytest.raises(InputError, match="jigsaw: grid must be 2 or 3, found 4"):
        Jigsaw(DIM, grid=4)
    with pytest.raises(InputError, match="4 tiles have 24 orders; permutations must be from 2 to 24, found 30"):
        Jigsaw(DIM, grid=2, permutations=30)
    with pytest.raises(InputError, match="tiles: size must be at least 1, got 0"):
        Jigsaw(DIM, tile=0).prepare(images())
    with pytest.raises(InputError, match="rotation needs dim; give dim=NUMBER"):
        build_objective("rotation")
    with pytest.raises(InputError, match="rotation: dim must be at least 1, got 0"):
        Rotation(0)
    with pytest.raises(InputError, match="needs images"):
        Rotation(DIM).prepare(torch.zeros(2, 3, 2, 5))
    with pytest.raises(InputError, match=r"projections must be of shape \(tasks, samples, 4 views, 6\)"):
        Rotation(DIM)(Embeddings(projections(4)[..., :5]))
    with pytest.raises(InputError, match="AugSelf compares two views of an image, and rotation makes its own"):
        learner("rotation", auxiliary=AugSelf(4))
