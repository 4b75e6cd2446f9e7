"""Leave one domain out against plain loops and scikit-learn; what may meet whom."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from torch import Tensor

from metatc2.errors import InputError
from metatc2.transfer import few_shot, knn
from metatc2.transfer.domain_episodes import domain_episodes, leave_one_domain_out_few_shot
from metatc2.transfer.heads.nearest_prototype import nearest_prototype
from metatc2.transfer.protocols.leave_one_domain_out import leave_one_domain_out


def data() -> tuple[Tensor, Tensor, Tensor]:
    """Four classes in three domains, the second domain far from the others."""
    g = torch.Generator().manual_seed(0)
    labels, domains = 3 * (torch.arange(240) % 4), torch.tensor([0, 2, 5])[torch.arange(240) // 80]
    shift = torch.tensor([[0.0], [3.0], [0.5]])[torch.arange(240) // 80] * torch.randn(6, generator=g)
    return torch.randn(4, 6, generator=g)[labels // 3] + torch.randn(240, 6, generator=g) + shift, labels, domains


def test_nearest_neighbor_equals_scikit_learn() -> None:
    features, labels, domains = data()
    oracle = KNeighborsClassifier(n_neighbors=1, metric="cosine", algorithm="brute")
    guess = cross_val_predict(oracle, features.numpy(), labels.numpy(), groups=domains.numpy(), cv=LeaveOneGroupOut())
    expected = (torch.from_numpy(guess) == labels).double()
    found = leave_one_domain_out(features, labels, domains, classify=partial(knn, k=1))
    assert found.domains == (0, 2, 5)
    for domain, correct, rows in zip(found.domains, found.correct, found.rows, strict=True):
        assert torch.equal(rows, (domains == domain).nonzero().flatten())
        assert torch.equal(correct, expected[rows])
    assert found.accuracies == pytest.approx({d: float(expected[domains == d].mean()) for d in (0, 2, 5)})
    assert found.mean == pytest.approx(sum(found.accuracies.values()) / 3)
    assert found.worst == found.accuracies[2] < found.mean < 1
    assert found.excluded == (0, 0, 0)


def test_nearest_prototype_is_the_mean_with_the_largest_cosine() -> None:
    features, labels, domains = data()
    found = leave_one_domain_out(features, labels, domains, held_out=[5])
    bank, asked = domains != 5, domains == 5
    means = torch.stack([features[bank & (labels == c)].mean(0) for c in labels.unique()])
    cosine = torch.nn.functional.cosine_similarity(features[asked][:, None], means[None], dim=2)
    assert torch.equal(found.correct[0], (labels.unique()[cosine.argmax(1)] == labels[asked]).double())
    # On the sphere around one origin the nearest centroid of unit vectors is another classifier, so the test can fail.
    other = NearestCentroid().fit(features[bank].numpy(), labels[bank].numpy()).predict(features[asked].numpy())
    assert not torch.equal(found.correct[0], (torch.from_numpy(other) == labels[asked]).double())


def test_a_class_that_others_lack_is_not_asked_and_one_that_the_domain_lacks_stays() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.1], [0.1, 1.0], [-1.0, 0.0], [1.0, 0.9]])
    labels = torch.tensor([0, 1, 2, 0, 1, 8, 0])
    domains = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    found = leave_one_domain_out(features, labels, domains, held_out=[1])
    assert found.rows[0].tolist() == [3, 4, 6]
    assert found.excluded == (1,)
    # The last image is closest to class 2, which domain 1 lacks.
    assert found.correct[0].tolist() == [1, 1, 0]


def test_judge_sees_the_right_sides() -> None:
    features, labels, domains = data()
    seen: list[tuple[Tensor, ...]] = []

    def judge(*sides: Tensor) -> Tensor:
        seen.append(sides)
        return nearest_prototype(*sides)

    leave_one_domain_out(features, labels, domains, classify=judge, held_out=[2])
    expected = (features[domains != 2], labels[domains != 2], features[domains == 2], labels[domains == 2])
    assert all(torch.equal(a, b) for a, b in zip(seen[0], expected, strict=True))


def test_episodes_draw_support_and_query_from_different_domains() -> None:
    _, labels, domains = data()
    # Class 9 has one image in domain 2, and class 6 four in the others, one less than the shots.
    labels = torch.where((labels == 9) & (domains == 2) & (torch.arange(240) != 83), 0, labels)
    labels = torch.where((labels == 6) & (domains != 2) & (torch.arange(240) > 16), 3, labels)
    assert [int(((labels == 6) & (domains == d)).sum()) for d in (0, 2, 5)] == [4, 20, 0]
    drawn = domain_episodes(
        labels, domains, 2, way=3, shot=5, query=4, episodes=300, generator=torch.Generator().manual_seed(0)
    )
    assert drawn.support.shape == (300, 3, 5)
    assert drawn.query.shape == (300, 3, 1)  # as many as class 9 has
    assert drawn.excluded == 1
    assert bool((domains[drawn.query] == 2).all())
    assert bool((domains[drawn.support] != 2).all())
    assert bool((labels[drawn.support] == drawn.classes[..., None]).all())
    assert bool((labels[drawn.query] == drawn.classes[..., None]).all())
    assert drawn.classes.unique().tolist() == [0, 3, 9]
    assert bool((drawn.support.sort(2).values.diff(dim=2) > 0).all())
    assert domains[drawn.support].unique().tolist() == [0, 5]
    rows = drawn.query[drawn.classes == 0].flatten().bincount(minlength=240)
    own = (labels == 0) & (domains == 2)
    assert bool((rows[own] > 0).all())
    assert not rows[~own].any()


def test_few_shot_is_few_shot_on_these_episodes() -> None:
    features, labels, domains = data()
    options = {"way": 3, "shot": 2, "query": 5, "episodes": 20}
    found = leave_one_domain_out_few_shot(features, labels, domains, seed=4, head="euclidean", **options)  # type: ignore[arg-type]
    again = leave_one_domain_out_few_shot(features, labels, domains, seed=4, head="euclidean", held_out=[5], **options)  # type: ignore[arg-type]
    other = leave_one_domain_out_few_shot(features, labels, domains, seed=5, head="euclidean", **options)  # type: ignore[arg-type]
    assert [len(c) for c in found.correct] == [20, 20, 20]
    assert torch.equal(again.correct[0], found.correct[2])
    assert not torch.equal(other.correct[2], found.correct[2])
    assert found.worst < found.mean
    # Every query by a plain loop, on episodes drawn anew.
    g = torch.Generator().manual_seed(0)
    drawn = domain_episodes(labels, domains, 0, generator=g, **options)  # type: ignore[arg-type]
    expected = []
    for support, query in zip(drawn.support, drawn.query, strict=True):
        distance = torch.cdist(features[query.flatten()], features[support].mean(1))
        expected.append(float((distance.argmin(1) == torch.arange(3).repeat_interleave(5)).double().mean()))
    assert few_shot(features, drawn, "euclidean").tolist() == pytest.approx(expected)


def test_domains_have_their_own_draws() -> None:
    """Two domains of the same images would otherwise meet the same episodes."""
    features, labels, _ = data()
    twice = (torch.cat([features, features]), torch.cat([labels, labels]), torch.arange(480) // 240)
    found = leave_one_domain_out_few_shot(*twice, way=3, shot=2, query=5, episodes=20, seed=0)
    assert not torch.equal(found.correct[0], found.correct[1])


def test_bad_input() -> None:
    features, labels, domains = data()
    with pytest.raises(InputError, match=r"\(N, D\)"):
        leave_one_domain_out(features, labels, domains[1:])
    with pytest.raises(InputError, match="NaN"):
        leave_one_domain_out(features * torch.nan, labels, domains)
    with pytest.raises(InputError, match="all images are of domain 0"):
        leave_one_domain_out(features, labels, 0 * domains)
    with pytest.raises(InputError, match=r"no domain 1 among \[0, 2, 5\]"):
        leave_one_domain_out(features, labels, domains, held_out=[1])
    with pytest.raises(InputError, match="of the 4 classes of domain 2 the other domains have 1,"):
        leave_one_domain_out(features, torch.where(domains == 2, labels, 0), domains, held_out=[2])
    with pytest.raises(InputError, match="one value a query"):
        leave_one_domain_out(features, labels, domains, classify=lambda *sides: sides[0])
    with pytest.raises(InputError, match="have 4 at least 5 times, and 5 are needed"):
        leave_one_domain_out_few_shot(features, labels, domains, way=5, shot=5, seed=0)
    with pytest.raises(InputError, match="way must be at least 2"):
        leave_one_domain_out_few_shot(features, labels, domains, way=1, shot=5, seed=0)
    with pytest.raises(InputError, match="seed"):
        leave_one_domain_out_few_shot(features, labels, domains, way=2, shot=5, seed=-1)
