"""Robustness to corruptions against a plain loop over `corrupt`, and mCE against its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from metatc2.augment.corruptions import CORRUPTIONS, corrupt
from metatc2.errors import InputError
from metatc2.transfer.protocols.corruption import (
    CorruptionRobustness,
    corruption_robustness,
    mean_corruption_error,
)

NAMES = ("gaussian_noise", "contrast", "motion_blur")


def data() -> tuple[Tensor, Tensor]:
    """Two classes with gaps between their labels: stripes across or down, faint, in noise."""
    g = torch.Generator().manual_seed(0)
    labels = 4 * (torch.arange(40) % 2)
    stripes = (torch.arange(12) % 4 < 2).float().expand(12, 12)
    strength = 8 + 40 * torch.rand(40, 1, 1, 1, generator=g)
    images = 60 + strength * torch.where(labels.view(-1, 1, 1, 1) == 0, stripes, stripes.T)
    return (images + 10 * torch.randn(40, 1, 12, 12, generator=g)).clamp(0, 255).byte(), labels


def features(images: Tensor) -> Tensor:
    x = images.float()[:, 0] / 255
    return torch.stack([x.diff(dim=1).abs().mean((1, 2)), x.diff(dim=2).abs().mean((1, 2))], 1)


def classify(found: Tensor) -> Tensor:
    return torch.where(found[:, 0] > found[:, 1], 4, 0)


def run(**options: object) -> CorruptionRobustness:
    return corruption_robustness(features, classify, *data(), **{"corruptions": NAMES, **options})  # type: ignore[arg-type]


def test_is_a_loop_over_corruptions() -> None:
    images, labels = data()
    found = run(seed=3, severities=(1, 5))
    assert torch.equal(found.clean, (classify(features(images)) == labels).double())
    # Where nothing is drawn the corrupted images are known to the pixel.
    for i, severity in enumerate((1, 5)):
        x = corrupt(images, "contrast", severity, torch.Generator())
        assert torch.equal(found.corrupted[1, i], (classify(features(x)) == labels).double())
    assert found.corrupted.shape == (3, 2, 40)
    assert 0.6 < found.accuracy < found.clean_accuracy
    assert float(found.table[0, 1]) < float(found.table[0, 0]) - 0.1


def test_summaries_are_means() -> None:
    found = run()
    values = found.corrupted.numpy()
    assert found.table.numpy() == pytest.approx(values.mean(2))
    assert found.accuracy == pytest.approx(values.mean())
    assert found.correct.numpy() == pytest.approx(values.reshape(15, 40).mean(0))
    assert float(found.correct.mean()) == pytest.approx(found.accuracy)
    assert found.clean_accuracy == pytest.approx(found.clean.numpy().mean())


def test_every_encoder_meets_the_same_images_whatever_else_is_asked() -> None:
    seen: list[Tensor] = []

    def keep(images: Tensor) -> Tensor:
        seen.append(images)
        return features(images)

    corruption_robustness(keep, classify, *data(), corruptions=["fog"], severities=[4])
    corruption_robustness(keep, classify, *data(), corruptions=["shot_noise", "fog"], severities=[2, 4])
    assert torch.equal(seen[1], seen[-1])
    assert seen[1].dtype == torch.uint8
    corruption_robustness(keep, classify, *data(), corruptions=["fog"], severities=[4], seed=1)
    assert not torch.equal(seen[1], seen[-1])


def test_batches_do_not_matter() -> None:
    assert torch.equal(run(batch=7).corrupted, run().corrupted)
    assert torch.equal(run(batch=7).clean, run().clean)


def test_all_corruptions_by_default() -> None:
    images, labels = data()
    found = corruption_robustness(features, classify, images[:4], labels[:4])
    assert found.names == tuple(CORRUPTIONS)
    assert found.severities == (1, 2, 3, 4, 5)


def made(errors: list[list[float]], clean: float, seed: int = 0) -> CorruptionRobustness:
    """A result with given errors by corruption and severity, of 100 images."""
    rows = [[torch.arange(100) >= round(100 * e) for e in row] for row in errors]
    return CorruptionRobustness(
        tuple("ab"),
        (1, 2),
        (torch.arange(100) >= round(100 * clean)).double(),
        torch.stack([torch.stack(row) for row in rows]).double(),
        seed,
    )


def test_mean_corruption_error_is_its_formula() -> None:
    own, base = [[0.2, 0.4], [0.1, 0.3]], [[0.3, 0.5], [0.2, 0.8]]
    ours, reference = made(own, 0.05), made(base, 0.1)
    a, b = np.array(own), np.array(base)
    assert mean_corruption_error(ours, reference) == pytest.approx((a.sum(1) / b.sum(1)).mean())
    expected = ((a - 0.05).sum(1) / (b - 0.1).sum(1)).mean()
    assert mean_corruption_error(ours, reference, relative=True) == pytest.approx(expected)
    assert mean_corruption_error(ours, ours) == pytest.approx(1)


def test_bad_input() -> None:
    images, labels = data()
    with pytest.raises(InputError, match="did you mean 'contrast'"):
        run(corruptions=["contrasts"])
    for change in ({"severities": (0,)}, {"severities": ()}, {"severities": (1, 1)}):
        with pytest.raises(InputError, match="severities must be"):
            run(**change)
    with pytest.raises(InputError, match="once"):
        run(corruptions=["fog", "fog"])
    with pytest.raises(InputError, match="batch must be"):
        run(batch=0)
    with pytest.raises(InputError, match="uint8"):
        corruption_robustness(features, classify, images.float(), labels)
    with pytest.raises(InputError, match=r"features must map 40 images to \(40, D\), got \(40, 1, 12, 12\)"):
        corruption_robustness(lambda x: x, classify, images, labels)
    with pytest.raises(InputError, match=r"classify must map .* got \(40, 2\)"):
        corruption_robustness(features, lambda x: x, images, labels)
    good = made([[0.2, 0.4], [0.1, 0.3]], 0.05)
    with pytest.raises(InputError, match="differ in seed"):
        mean_corruption_error(good, made([[0.2, 0.4], [0.1, 0.3]], 0.05, seed=1))
    with pytest.raises(InputError, match="makes no error under b"):
        mean_corruption_error(good, made([[0.2, 0.4], [0.0, 0.0]], 0.0))
    with pytest.raises(InputError, match="loses nothing under a"):
        mean_corruption_error(good, made([[0.1, 0.1], [0.2, 0.2]], 0.1), relative=True)
