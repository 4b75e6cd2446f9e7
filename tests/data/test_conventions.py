"""Which images a result learns from, chooses on and is judged on."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from metatc2.data import SOURCES, ImageStore, load, transfer_splits
from metatc2.errors import InputError


def store(labels: list[int] | Tensor, name: str = "toy", **parts: list[int]) -> ImageStore:
    known = torch.as_tensor(labels)
    images = torch.zeros(len(known), 1, 4, 4, dtype=torch.uint8)
    return ImageStore(name, images, known, splits={part: torch.tensor(rows) for part, rows in parts.items()})


def per_class(made: ImageStore, rows: Tensor) -> Counter[int]:
    return Counter(made.labels[rows].tolist())


def test_without_published_parts_every_class_is_cut() -> None:
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate((3, 10, 50, 7))])
    made = store(labels[torch.randperm(70, generator=torch.Generator().manual_seed(1))])
    found = transfer_splits(made)
    assert per_class(made, found.validation) == per_class(made, found.test) == {0: 1, 1: 2, 2: 10, 3: 1}
    assert sorted(torch.cat(found[:3]).tolist()) == list(range(70))  # every image once
    again = transfer_splits(made)
    assert all(mine.equal(other) for mine, other in zip(found[:3], again[:3], strict=True))
    assert "60 % training, 20 % validation, 20 % test" in found.how
    # Not the first images of each class, which lie as somebody has sorted them.
    sorted_store = store([0] * 50 + [1] * 50)
    for part in transfer_splits(sorted_store)[:3]:
        assert part.diff().unique().numel() > 2  # one class's images side by side, then a leap, would be two


def test_published_parts_are_used_as_they_are() -> None:
    for word in ("val", "validation"):
        parts = {"train": [0, 1, 2], word: [3, 4], "test": [6, 5]}
        found = transfer_splits(store([0, 1, 0, 1, 0, 1, 0, 1], **parts))
        assert [part.tolist() for part in found[:3]] == [[0, 1, 2], [3, 4], [6, 5]]
        assert found.how == "published training, validation and test images"


def test_a_fifth_of_every_class_is_held_out_where_no_validation_is_published() -> None:
    labels = [0] * 20 + [1] * 10 + [2] * 2 + [0, 1, 2] * 2
    made = store(labels, train=list(range(32)), test=list(range(32, 38)))
    found = transfer_splits(made)
    assert per_class(made, found.validation) == {0: 4, 1: 2, 2: 1}
    assert sorted([*found.train.tolist(), *found.validation.tolist()]) == list(range(32))
    assert found.test.tolist() == list(range(32, 38))
    assert "fixed 20 % of every class of the training images (seed 0)" in found.how


def test_a_test_that_was_kept_secret() -> None:
    """ImageNet's folders: train and val."""
    found = transfer_splits(store([0, 1] * 6, train=list(range(8)), val=list(range(8, 12))))
    assert found.test.tolist() == list(range(8, 12))
    assert len(found.validation) == 2
    assert "its validation images are the test" in found.how


def test_sun397_without_the_published_lists() -> None:
    made = store([0] * 130 + [1] * 100, name="sun397")
    found = transfer_splits(made)
    assert per_class(made, found.train) == {0: 40, 1: 40}
    assert per_class(made, found.validation) == {0: 10, 1: 10}
    assert per_class(made, found.test) == {0: 50, 1: 50}
    assert len(set(torch.cat(found[:3]).tolist())) == 200
    assert "NOT the published partition" in found.how
    with pytest.raises(InputError, match="sun397: class '1' has 99 images and needs 100, for 50 training and 50 test"):
        transfer_splits(store([0] * 130 + [1] * 99, name="sun397"))


def test_published_sun397_and_dtd_say_which_partition() -> None:
    for name in ("sun397", "dtd"):
        found = transfer_splits(store([0, 1] * 4, name=name, train=[0, 1, 2, 3], test=[4, 5]))
        assert "published (partition 1)" in found.how


def test_images_without_a_label_take_no_part() -> None:
    made = store([0, 1] * 5 + [2] * 5, name="stl10", unlabeled=list(range(10, 15)))
    assert max(torch.cat(transfer_splits(made)[:3]).tolist()) < 10


@pytest.mark.parametrize("name", ["digits", "glyphs"])
def test_embedded_sets(name: str) -> None:
    made = load(name)
    found = transfer_splits(made)
    for part in found[:3]:
        assert len(torch.unique(made.labels[part])) == len(made.class_names)
    shares = [len(part) / len(made) for part in found[:3]]
    assert abs(shares[0] - 0.6) < 0.06
    assert abs(shares[1] - 0.2) < 0.03


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (store([0] * 9), "toy holds one class, and a classifier needs at least two"),
        (store([0, 1], unlabeled=[0, 1]), "toy holds no labeled image"),
        (store([0] * 9 + [1] * 2), "toy: class '1' has 2 images and needs 3, for a part each"),
        (
            store([0, 1] * 3, train=[0, 1, 2, 3], test=[3, 4]),
            "toy: 1 images are in train and in test; parts must share no image",
        ),
        (store([0, 1] * 3, train=[0, 1, 1, 2], test=[4, 5]), "toy: 1 images are twice in train"),
        (
            store([0, 0, 1, 2, 0, 1, 2], train=[0, 1], test=[4, 5, 6]),
            "toy: 2 classes of the test part have no training image (first '1')",
        ),
        (
            store([0, 0, 1, 2, 0, 1], train=[0, 1, 2], val=[3], test=[4, 5]),
            "toy: 1 classes of the validation part have no training image (first '2')",
        ),
        (
            store([0, 1, 1, 0, 1], train=[0, 1, 2], test=[3, 4]),
            "toy: class '0' has 1 images and needs 2, for one training and one validation image",
        ),
    ],
)
def test_what_cannot_be_split(made: ImageStore, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        transfer_splits(made)
    assert str(caught.value).startswith(sentence)


def test_an_unknown_metric() -> None:
    made = store([0, 1])
    with pytest.raises(InputError, match="toy: unknown metric 'per class'; did you mean 'mean per class'"):
        ImageStore("toy", made.images, made.labels, metric="per class")


@pytest.mark.parametrize(
    ("metric", "names"),
    [
        ("accuracy", ["food101", "cifar10", "cifar100", "sun397", "stanfordcars", "dtd"]),
        ("mean per class", ["fgvcaircraft", "oxfordiiitpet", "caltech101", "flowers102"]),
    ],
)
def test_metrics_are_those_of_kornblith_2019(metric: str, names: list[str]) -> None:
    """arXiv 1805.08974, table 1."""
    assert {SOURCES[name].metric for name in names} == {metric}
