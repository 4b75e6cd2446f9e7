"""A frozen encoder in scikit-learn: its own checks, pipelines, and every form of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from metatc2.errors import InputError
from metatc2.experiment import TransferEncoder
from metatc2.experiment.pretrained import Pretrained
from metatc2.transfer import extract


@parametrize_with_checks([TransferEncoder()])
def test_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())


def test_features_are_those_of_extract_in_every_form(network: nn.Module) -> None:
    images = torch.randint(0, 256, (9, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    there = extract(network, images).numpy()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    x = images.numpy()
    for form in (x, x[:, 0], x.transpose(0, 2, 3, 1), (x / 255).astype(np.float32)):
        assert np.allclose(TransferEncoder(network, batch=4).fit(form).transform(form), there, atol=1e-5)
    rows = TransferEncoder(network, shape=(1, 8, 8)).fit(x.reshape(9, 64))
    assert np.allclose(rows.transform(x.reshape(9, 64)), there, atol=1e-5)
    named = TransferEncoder(Pretrained("own", network, 1, 8)).fit(x.reshape(9, 64))
    assert np.allclose(named.transform(x.reshape(9, 64)), there, atol=1e-5)
    assert list(rows.get_feature_names_out())[:2] == ["transferencoder0", "transferencoder1"]
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    assert network.training


def test_in_a_pipeline_that_is_cross_validated(network: nn.Module) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    images = rng.random((40, 1, 8, 8), dtype=np.float32) * 0.5 + 0.5 * labels[:, None, None, None]
    pipeline = make_pipeline(TransferEncoder(network.eval()), LogisticRegression())
    assert cross_val_score(clone(pipeline), images, labels, cv=4).mean() > 0.9


def test_what_does_not_fit_is_said(network: nn.Module) -> None:
    with pytest.raises(InputError, match=r"rows have 60 pixels and no shape was given; pass shape=\(C, H, W\)"):
        TransferEncoder(network).fit(np.ones((3, 60)))
    with pytest.raises(InputError, match="the encoder cannot take images"):
        TransferEncoder(network).fit(np.ones((3, 3, 8, 8), dtype=np.float32))
    named = Pretrained("net", nn.Sequential(nn.Flatten(), nn.Linear(5 * 64, 2)), 5, 8)
    assert TransferEncoder(named).fit_transform(np.ones((3, 8, 8, 5), dtype=np.float32)).shape == (3, 2)
    with pytest.raises(InputError, match="images have 2 channels and the encoder takes 5"):
        TransferEncoder(named).fit(np.ones((3, 2, 8, 8), dtype=np.float32))


@pytest.mark.parametrize("images", [np.full((4, 1, 8, 8), 255.0), np.full((4, 64), 16), np.full((4, 1, 8, 8), 1.5)])
def test_pixels_above_one_are_no_images_in_silence(images: Any) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    with pytest.raises(InputError, match=r"images are bytes \(uint8\) or lie in \[0, 1\], got"):
        TransferEncoder(network, shape=(1, 8, 8)).fit(images)
    TransferEncoder(network, shape=(1, 8, 8)).fit(images.astype(np.uint8))
    TransferEncoder().fit(images)  # the pixels themselves


@pytest.mark.parametrize(("options", "said"), [({"device": "zz"}, "device 'zz'"), ({"batch": 0}, "batch must be")])
def test_a_place_or_a_batch_that_is_none(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"TransferEncoder: {said}"):
        TransferEncoder(nn.Flatten(), **options).fit(np.zeros((2, 1, 8, 8), dtype=np.uint8))
