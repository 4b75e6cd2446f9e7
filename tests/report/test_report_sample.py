"""Neighbors, votes and projections against scikit-learn; the sprite sheet against its own pixels."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from metatc2.data import ImageStore
from metatc2.errors import InputError
from metatc2.report.embeddings import draw_sample, vote
from metatc2.report.html.sprite import sprite_sheet
from metatc2.report.projections import projections


def test_vote_is_that_of_scikit_learn_with_the_image_left_out() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 6, generator=generator)
    labels = torch.randint(0, 4, (60,), generator=generator)
    judged = vote(features, labels)
    for i in range(60):
        others = torch.arange(60) != i
        oracle = KNeighborsClassifier(
            5, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.1), algorithm="brute"
        ).fit(features[others].numpy(), labels[others].numpy())
        (shares,) = oracle.predict_proba(features[i : i + 1].numpy())
        assert int(judged.chosen[i]) == oracle.classes_[shares.argmax()]
        assert float(judged.share[i]) == pytest.approx(shares.max(), abs=1e-5)
        (near,) = oracle.kneighbors(features[i : i + 1].numpy(), return_distance=False)
        assert judged.nearest[i].tolist() == others.nonzero().flatten()[near].tolist()


def store(counts: list[int]) -> ImageStore:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return ImageStore("toy", torch.zeros(len(labels), 1, 4, 4, dtype=torch.uint8), labels)


def test_a_sample_is_bounded_and_always_the_same() -> None:
    large = store([100] * 30 + [1, 2])
    sample = draw_sample(large, "all")
    counts = sample.labels.bincount()
    assert len(sample.rows) <= 600
    assert int(counts.max()) == 60
    assert int(counts.min()) >= 2  # the class of one image has no neighbor to find
    assert len(sample.rows.unique()) == len(sample.rows)
    names = [large.class_names[int(large.labels[row])] for row in sample.rows]
    assert names == [sample.classes[int(label)] for label in sample.labels]
    assert draw_sample(large, "all").rows.tolist() == sample.rows.tolist()


def test_a_sample_needs_two_classes() -> None:
    with pytest.raises(InputError, match="toy:all: a map needs two classes of two images"):
        draw_sample(store([5, 1]), "all")


@pytest.mark.slow
def test_projections_are_plain_and_repeatable() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(40, 60)), rng.normal(size=(40, 60)) + 5]).astype(np.float32)
    found = projections(x)
    np.testing.assert_allclose(np.abs(found["PCA"]), np.abs(PCA(2).fit_transform(x)), atol=1e-3)
    for xy in found.values():
        assert xy.shape == (80, 2)
        assert np.isfinite(xy).all()
        # Two clouds that far apart stay apart.
        away = np.linalg.norm(xy[:40].mean(0) - xy[40:].mean(0))
        assert away > 2 * xy[:40].std(0).max()
    np.testing.assert_array_equal(found["t-SNE"], projections(x)["t-SNE"])


@pytest.mark.parametrize("features", [np.ones((6, 3)), np.eye(4, 1), np.zeros((4, 80))])
def test_projections_take_features_without_spread(features: np.ndarray) -> None:
    for xy in projections(features).values():
        assert xy.shape == (len(features), 2)
        assert np.isfinite(xy).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_sprite_sheet_holds_every_image_at_its_place(channels: int) -> None:
    images = torch.randint(0, 256, (7, channels, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    uri, tile, across = sprite_sheet(images)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
    assert (tile, across) == (5, 3)
    for i, image in enumerate(images):
        x, y = tile * (i % across), tile * (i // across)
        shown = pixels[y : y + tile, x : x + tile].reshape(tile, tile, channels)
        np.testing.assert_array_equal(shown, image.permute(1, 2, 0).numpy())


def test_large_images_are_made_smaller() -> None:
    uri, tile, _ = sprite_sheet(torch.full((2, 3, 96, 96), 200, dtype=torch.uint8))
    assert tile == 48
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
    assert pixels.shape == (48, 96, 3)
    assert (pixels == 200).all()
