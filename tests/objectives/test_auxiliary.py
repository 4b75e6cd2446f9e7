"""Auxiliary losses: restated, what they refuse, and that a learner adds them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metatc2.augment import Views
from metatc2.augment.descriptor import DESCRIPTOR, DESCRIPTOR_SIZE
from metatc2.episodes import Episode, Samples
from metatc2.errors import InputError
from metatc2.learners import SelfSupervised
from metatc2.models.heads import Projector
from metatc2.objectives import build_objective
from metatc2.objectives.auxiliary import AUXILIARY, AugSelf, TransformationAgreement, auxiliary_options

TASKS, SAMPLES, DIM = 2, 6, 5


def drawn(shared: int = 1, seed: int = 0) -> Tensor:
    recipe = Views(crop_scale=(0.3, 1.0), flip=0.5, rotation=40.0, jitter=0.8, brightness=0.4, hue=0.2, blur=0.5)
    rows = recipe.sample(TASKS * SAMPLES * 2 // shared, torch.Generator().manual_seed(seed)).double()
    return rows.unflatten(0, (-1, 2)).repeat_interleave(shared, 0).view(TASKS, SAMPLES, 2, DESCRIPTOR_SIZE)


def features(seed: int = 0) -> Tensor:
    return torch.randn(TASKS, SAMPLES, 2, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_augself_is_the_error_of_the_difference_in_both_orders() -> None:
    torch.manual_seed(0)
    loss = AugSelf(DIM, hidden=8).double()
    z, descriptors = features(), drawn()
    with torch.no_grad():
        value = loss(z, descriptors).item()
        flat, told = z.flatten(0, 1), descriptors.flatten(0, 1)
        pairs = torch.cat([torch.cat([flat[:, a], flat[:, b]], 1) for a, b in ((0, 1), (1, 0))])
        said = {name: head(pairs).numpy() for name, head in loss.heads.items()}
    own = np.concatenate([told[:, 0], told[:, 1]])
    other = np.concatenate([told[:, 1], told[:, 0]])
    expected = 0.0
    for name, largest in (("color", 2.0), ("crop", 1.0), ("rotation", 2.0)):
        difference = (own[:, DESCRIPTOR[name]] - other[:, DESCRIPTOR[name]]) / largest
        assert np.abs(difference).max() <= 1
        expected += ((np.tanh(said[name]) - difference) ** 2).mean()
    equal = own[:, DESCRIPTOR["flip"]] == other[:, DESCRIPTOR["flip"]]
    assert 0 < equal.mean() < 1
    chance = 1 / (1 + np.exp(-said["flip"]))
    expected -= np.where(equal, np.log(chance), np.log(1 - chance)).mean()
    # Batch normalization is that of all pairs together, in the same order of no consequence to the mean.
    assert value == pytest.approx(expected, rel=1e-9)


def test_agreement_is_the_contrast_between_images_that_are_changed_alike() -> None:
    torch.manual_seed(0)
    loss = TransformationAgreement(DIM, hidden=8, out=4, temperature=0.5).double()
    z, descriptors = features(), drawn(shared=3)
    with torch.no_grad():
        value = loss(z, descriptors).item()
        codes = nn.functional.normalize(loss.head(z.flatten(0, 1).flatten(1)), dim=1).numpy()
    similarity = codes @ codes.T / 0.5
    terms = []
    for i in range(len(codes)):
        others = [j for j in range(len(codes)) if j != i]
        total = math.log(sum(math.exp(similarity[i, j]) for j in others))
        alike = [j for j in others if j // 3 == i // 3]
        terms.append(np.mean([total - similarity[i, j] for j in alike]))
    assert value == pytest.approx(np.mean(terms), rel=1e-9)


def test_what_the_jitter_did_to_each_image_does_not_tell_alike_ones_apart() -> None:
    loss, descriptors = TransformationAgreement(DIM, hidden=8), drawn(shared=2).float()
    plain = loss.eval()(features().float(), descriptors)
    descriptors[..., DESCRIPTOR["color_diff"]] = torch.rand(TASKS, SAMPLES, 2, 3)
    torch.testing.assert_close(loss(features().float(), descriptors), plain)


def test_agreement_needs_images_that_are_changed_alike() -> None:
    with pytest.raises(InputError, match="no two of this episode have them; set episode.share_descriptors = 2"):
        TransformationAgreement(DIM, hidden=8).double()(features(), drawn())


@pytest.mark.parametrize("name", AUXILIARY)
def test_shapes_that_do_not_fit_are_refused(name: str) -> None:
    loss = auxiliary_options(name)().build(DIM)
    with pytest.raises(InputError, match="found"):
        loss(torch.zeros(2, 3, 2, DIM), torch.zeros(2, 3, 2, 4))
    with pytest.raises(InputError, match="needs 2 views"):
        loss(torch.zeros(2, 3, 1, DIM), torch.zeros(2, 3, 1, DESCRIPTOR_SIZE))
    with pytest.raises(InputError, match="hidden must be"):
        auxiliary_options(name)(hidden=0)


@pytest.mark.parametrize("name", AUXILIARY)
def test_a_learner_adds_it_and_trains_its_heads(name: str) -> None:
    descriptors = drawn(shared=2)
    images = torch.randn(TASKS, SAMPLES, 2, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    whole = Samples(images, None, descriptors, torch.zeros(TASKS, SAMPLES, dtype=torch.int64))
    episode = Episode(whole.map(lambda t: t[:, :3]), whole.map(lambda t: t[:, 3:]))
    losses = []
    for weight in (0.0, 2.0):
        torch.manual_seed(0)
        learner = SelfSupervised(
            nn.Linear(7, DIM),
            build_objective("simclr"),
            projector=Projector(DIM, 6, 4),
            auxiliary=auxiliary_options(name)().build(DIM),
            auxiliary_weight=weight,
        ).double()
        losses.append(learner(episode).loss)
    assert learner.auxiliary is not None
    z = learner.encoder(episode.images).flatten(0, 1)[None]  # all tasks as one
    alone = learner.auxiliary(z, episode.descriptors.flatten(0, 1)[None])  # type: ignore[union-attr]
    torch.testing.assert_close(losses[1] - losses[0], 2 * alone)
    losses[1].backward()
    assert all(p.grad is not None and p.grad.any() for p in learner.auxiliary.parameters() if p.ndim > 1)


def test_it_is_of_the_encoders_output() -> None:
    with pytest.raises(InputError, match="AugSelf is a loss of the encoder's output, and z is the projector's"):
        SelfSupervised(
            nn.Linear(7, DIM),
            build_objective("simclr"),
            projector=Projector(DIM, 6, 4),
            where="projector",
            auxiliary=AugSelf(DIM),
        )
