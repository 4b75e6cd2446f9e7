import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits as sklearn_digits

from metatc2.data import load


@pytest.mark.parametrize(("size", "shape"), [(None, (1797, 1, 28, 28)), (16, (1797, 1, 16, 16)), (8, (1797, 1, 8, 8))])
def test_shapes(size: int | None, shape: tuple[int, ...]) -> None:
    store = load("digits", image_size=size)
    assert store.images.shape == shape
    assert store.images.dtype == torch.uint8
    assert store.class_names == tuple("0123456789")


def test_at_their_own_size_they_are_scikit_learns() -> None:
    raw = sklearn_digits()
    store = load("digits", image_size=8)
    np.testing.assert_array_equal(store.images[:, 0].numpy(), np.rint(raw.images * 255 / 16).astype(np.uint8))
    np.testing.assert_array_equal(store.labels.numpy(), raw.target)


def test_enlarged_they_keep_their_place_and_range() -> None:
    raw = sklearn_digits().images
    images = load("digits").images[:, 0].double().numpy()
    # Blocks of 3.5 pixels: the mean of both, and the places of their ink, agree.
    assert np.abs(images.mean((1, 2)) - raw.mean((1, 2)) * 255 / 16).max() < 6
    for axis in (1, 2):
        large = (images.sum(3 - axis) * (np.arange(28) + 0.5) / 28).sum(1) / images.sum((1, 2))
        small = (raw.sum(3 - axis) * (np.arange(8) + 0.5) / 8).sum(1) / raw.sum((1, 2))
        assert np.abs(large - small).max() < 0.02
    assert images.max() == 255


def test_four_three_and_three_classes_that_are_disjoint() -> None:
    store = load("digits")
    parts = [set(store.labels[store.rows(f"meta-{name}")].tolist()) for name in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [4, 3, 3]
    assert set.union(*parts) == set(range(10))
    assert sum(len(store.rows(f"meta-{name}")) for name in ("train", "validation", "test")) == 1797
