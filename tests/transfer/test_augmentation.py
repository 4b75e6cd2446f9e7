"""What features tell of augmentations: features that are the answer, features that are none, and what rows say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from metatc2.augment import Views
from metatc2.augment.descriptor import DESCRIPTOR
from metatc2.augment.recipes import RECIPES
from metatc2.data import ImageStore
from metatc2.errors import InputError
from metatc2.transfer import Augmentation, Row, Target, evaluate
from metatc2.transfer.protocols.augmentation import _of_others, columns, describe


def target(n: int = 400, channels: int = 3) -> Target:
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, channels, 12, 12), generator=g).byte()
    images[..., :6, :] //= 3  # the upper half is darker, so that a turn can be seen
    return Target(ImageStore("toy", images, torch.arange(n) % 4), "all", "toy")


def rows(encoders: dict[str, nn.Module], to: Target, **options: object) -> dict[tuple[str, str, str], Row]:
    found, _ = evaluate(encoders, [to], protocols=[Augmentation(**options)], seed=0)  # type: ignore[arg-type]
    assert {row.metric for row in found} == {"R²"}
    return {(row.features, row.head, row.setting): row for row in found}


class Brightness(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, 0, 0, 0] * 0 + 1, torch.arange(len(x)) % 7 * 1.0], 1)


def test_features_tell_what_they_hold_and_no_more() -> None:
    found = rows({"encoder": Brightness(), "nothing": Nothing()}, target(), probe="ridge", recipe="natural")
    # On images of one mean, means of channels tell what the jitter took from them; they cannot tell a mirror.
    assert found["encoder", "ridge", "two views, color_diff"].mean > 0.4
    assert abs(found["encoder", "ridge", "one view, flip"].mean) < 0.06
    for (features, _, setting), row in found.items():
        if features == "nothing" or "shuffled" in setting:
            assert row.mean < 0.03, (features, setting)


def test_shuffled_descriptors_are_not_those_of_the_same_class() -> None:
    """Images stand by class, as in folders, and what jitter takes from their channels follows from the color of the class."""
    order = _of_others(50)
    assert sorted(order.tolist()) == list(range(50))
    assert bool((order != torch.arange(50)).all())
    assert float((order - torch.arange(50)).abs().double().mean()) > 10


def test_pixels_tell_where_a_window_was_and_everything_meets_the_same_views() -> None:
    to = target()
    first, second = (
        describe(to.store.images, RECIPES["every-operation"](), 5),
        describe(to.store.images, RECIPES["every-operation"](), 5, batch=512),
    )
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.descriptors, second.descriptors)
    again = RECIPES["every-operation"]().apply(to.store.images, first.descriptors[:, 1].float())
    assert (again * 255 - first.images[:, 1]).abs().max() <= 0.5 + 1e-3  # a recorded descriptor makes the view again


def test_angles_are_sine_and_cosine() -> None:
    views = Views(rotation=90, hue=0.25, jitter=1.0)
    drawn = views.sample(20, torch.Generator().manual_seed(0)).double()
    parts = columns(drawn, views)
    angle = torch.atan2(parts["rotation"][:, 0], parts["rotation"][:, 1])
    torch.testing.assert_close(angle, drawn[:, DESCRIPTOR["rotation"]][:, 0] * torch.pi / 2)
    hue = torch.atan2(parts["color"][:, 3], parts["color"][:, 4])
    torch.testing.assert_close(hue, drawn[:, DESCRIPTOR["color"]][:, 3] * torch.pi / 2)


def test_columns_that_do_not_vary_are_left_out() -> None:
    found = rows({"encoder": Brightness()}, target(channels=1), probe="ridge")
    settings = {setting for _, _, setting in found}
    assert "one view, grayscale" not in settings  # gray images have no color to drop
    assert {"one view, crop", "two views, crop", "one view, all parts, descriptors shuffled"} <= settings


def test_refusals() -> None:
    with pytest.raises(InputError, match="recipe cannot be 'natur'; did you mean 'natural'"):
        Augmentation(recipe="natur")
    with pytest.raises(InputError, match="images"):
        Augmentation(images=3)
    with pytest.raises(InputError, match="no parameter of the recipe 'none' varies on toy"):
        rows({"encoder": Brightness()}, target(), recipe="none")
