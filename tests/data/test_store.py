from dataclasses import replace

import pytest
import torch
from torch import Tensor

from metatc2.data import ImageStore, meta_splits
from metatc2.errors import InputError


def pixels(n: int, channels: int = 1, height: int = 4, width: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randint(0, 256, (n, channels, height, width), generator=generator).to(torch.uint8)


def store(**changes: object) -> ImageStore:
    fields: dict[str, object] = {
        "name": "toy",
        "images": pixels(6),
        "labels": torch.tensor([0, 0, 1, 1, 2, 2]),
        "splits": {"meta-train": torch.tensor([0, 1]), "left": torch.tensor([2, 3]), "right": torch.tensor([4, 5])},
        "groups": {"meta-test": ("left", "right")},
    }
    return ImageStore(**{**fields, **changes})


def test_defaults_are_filled_in() -> None:
    made = store()
    assert (len(made), made.channels, made.image_size) == (6, 1, 4)
    assert made.class_names == ("0", "1", "2")
    assert made.domains.tolist() == [0] * 6
    assert made.domain_names == ("0",)
    assert made.rows("all").tolist() == list(range(6))


def test_rows_of_a_split_and_of_a_group() -> None:
    made = store()
    assert made.rows("left").tolist() == [2, 3]
    assert made.expand("left") == ("left",)
    assert made.expand("meta-test") == ("left", "right")
    assert made.rows("meta-test").tolist() == [2, 3, 4, 5]


def test_all_is_always_every_row() -> None:
    assert store(splits={"all": torch.tensor([0])}, groups={}).rows("all").tolist() == list(range(6))


def test_unknown_split_names_the_nearest() -> None:
    with pytest.raises(InputError, match="toy has no split 'meta-trian'; did you mean 'meta-train'"):
        store().rows("meta-trian")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"images": pixels(6).float()}, "images must be uint8"),
        ({"images": pixels(6)[0]}, "images must be uint8"),
        ({"images": pixels(6, channels=0)}, "images must be uint8"),
        ({"images": pixels(6, channels=8, width=3, height=8)}, "images must be uint8"),  # channels are last
        ({"images": pixels(6, height=0, width=0)}, "none of C, H and W 0"),
        ({"labels": torch.zeros(5, dtype=torch.int64)}, r"labels must be int64 of shape \(6,\)"),
        ({"labels": torch.zeros(6)}, r"labels must be int64 of shape \(6,\)"),
        ({"labels": torch.tensor([0, 0, 1, 1, 2, -1])}, "labels must lie in"),
        ({"class_names": ("a", "b")}, r"labels must lie in 0\.\.1"),
        ({"domains": torch.zeros(5, dtype=torch.int64)}, r"domains must be int64 of shape \(6,\)"),
        ({"domains": torch.zeros(6)}, r"domains must be int64 of shape \(6,\)"),
        ({"domains": torch.tensor([0, 0, 0, 0, 0, -1])}, "domains must lie in"),
        ({"domains": torch.tensor([0, 0, 0, 0, 0, 1]), "domain_names": ("a",)}, r"domains must lie in 0\.\.0"),
        ({"splits": {"odd": torch.tensor([6])}, "groups": {}}, "split 'odd' must be"),
        ({"splits": {"odd": torch.tensor([-1])}, "groups": {}}, "split 'odd' must be"),
        ({"splits": {"odd": torch.ones(6, dtype=torch.bool)}, "groups": {}}, "split 'odd' must be"),
        ({"groups": {"both": ("left", "rihgt")}}, "group 'both' names 'rihgt'; did you mean 'right'"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        store(**changes)


def test_meta_splits_may_not_share_a_class() -> None:
    shared = {"meta-train": torch.tensor([0, 2]), "meta-test": torch.tensor([3, 4])}
    with pytest.raises(InputError, match="class '1' is in both meta-train and meta-test"):
        store(splits=shared, groups={})


def test_a_group_of_splits_may_not_share_a_class_with_meta_train() -> None:
    splits = {"meta-train": torch.tensor([0, 2]), "left": torch.tensor([3]), "right": torch.tensor([4])}
    with pytest.raises(InputError, match="class '1' is in both"):
        store(splits=splits)


def test_splits_that_are_not_meta_may_share_classes() -> None:
    assert store(splits={"train": torch.tensor([0]), "test": torch.tensor([1])}, groups={}).rows("test").tolist() == [1]


def test_an_empty_store_is_possible() -> None:
    assert len(ImageStore("none", pixels(0), torch.zeros(0, dtype=torch.int64)).checksum()) == 64


def test_checksum_tells_apart_all_that_changes_numbers() -> None:
    base = store()
    other_pixel = base.images.clone()
    other_pixel[5, 0, 3, 3] ^= 1
    two = {"meta-train": torch.tensor([0, 1]), "left": torch.tensor([2, 3, 4]), "right": torch.tensor([5])}
    variants = [
        base,
        replace(base, images=other_pixel),
        replace(base, images=base.images.view(6, 1, 4, 4).transpose(2, 3).contiguous()),
        replace(base, labels=torch.tensor([0, 0, 1, 1, 2, 1])),
        replace(base, domains=torch.tensor([0, 0, 0, 0, 0, 1]), domain_names=()),
        replace(base, splits={**base.splits, "left": torch.tensor([3, 2])}),
        replace(base, splits=two),  # the same rows, cut at another place
        replace(base, splits={"meta-train": base.splits["meta-train"], **base.splits, "more": torch.tensor([0])}),
        replace(base, groups={"meta-test": ("left",)}),
    ]
    assert len({made.checksum() for made in variants}) == len(variants)
    assert store().checksum() == base.checksum()
    assert replace(base, name="other", notes={"unreadable": 3}).checksum() == base.checksum()


def test_checksum_does_not_depend_on_memory_layout() -> None:
    base = store(images=pixels(6, channels=3))
    strided = base.images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not strided.is_contiguous()
    assert replace(base, images=strided).checksum() == base.checksum()


@pytest.mark.parametrize("classes", [3, 4, 5, 7, 10, 37, 100, 1623])
@pytest.mark.parametrize("shares", [(0.6, 0.2), (0.75, 0.25), (0.4, 0.3), (0.1, 0.9), (0.01, 0.01)])
def test_meta_splits_part_the_classes(classes: int, shares: tuple[float, float]) -> None:
    labels = torch.arange(classes).repeat(3)[torch.randperm(3 * classes, generator=torch.Generator().manual_seed(1))]
    parts = meta_splits(labels, classes, shares=shares)
    assert set(parts) == {"meta-train", "meta-validation", "meta-test"}
    rows = torch.cat(list(parts.values()))
    assert rows.sort().values.tolist() == list(range(3 * classes))
    held = [set(labels[part].tolist()) for part in parts.values()]
    assert all(held)
    assert sum(map(len, held)) == classes  # with the line above: disjoint and together all
    if shares[0] * classes >= 1 and sum(shares) * classes <= classes - 1:
        assert abs(len(held[0]) - shares[0] * classes) <= 1


def test_meta_splits_depend_on_the_number_of_classes_alone() -> None:
    def classes_of(labels: Tensor) -> list[set[int]]:
        return [set(labels[rows].tolist()) for rows in meta_splits(labels, 10).values()]

    few, many = torch.arange(10), torch.arange(10).repeat_interleave(7).flip(0)
    torch.manual_seed(5)
    assert classes_of(few) == classes_of(many)


def test_meta_splits_are_recorded() -> None:
    # Golden: a change would silently make runs of different versions incomparable.
    parts = meta_splits(torch.arange(10), 10)
    assert {name: rows.tolist() for name, rows in parts.items()} == {
        "meta-train": [1, 3, 4, 5, 6, 7],
        "meta-validation": [8, 9],
        "meta-test": [0, 2],
    }


@pytest.mark.parametrize("classes", [1, 2])
def test_two_classes_are_all_meta_train(classes: int) -> None:
    parts = meta_splits(torch.arange(classes).repeat(2), classes)
    assert {name: len(rows) for name, rows in parts.items()} == {"meta-train": 2 * classes}
