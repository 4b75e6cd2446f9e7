"""Layers of an encoder as encoders."""

import pytest
import torch
from torch import nn

from metatc2.errors import InputError
from metatc2.models.registry import build_encoder
from metatc2.models.stages import AtStage, at_stage, stage_names


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    ).eval()


def test_is_the_network_cut_after_the_stage() -> None:
    encoder, images = network(), torch.rand(5, 1, 8, 8)
    for i in range(4):
        torch.testing.assert_close(AtStage(encoder, str(i))(images), encoder[: i + 1](images).mean((2, 3)))
    torch.testing.assert_close(AtStage(encoder, "4")(images), encoder(images))


def test_a_later_module_in_place_changes_nothing() -> None:
    encoder = network()
    found = AtStage(encoder, "1")(torch.rand(5, 1, 8, 8))
    assert (found < 0).any(), "the ReLU after it must not be seen"


def test_tokens_are_averaged() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Flatten(2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.patches(images)[:, 0]

    images = torch.rand(4, 3, 2, 2)
    torch.testing.assert_close(AtStage(Tokens(), "patches")(images), images.flatten(2).mean(1))


def test_no_hook_is_left_behind_not_even_after_an_error() -> None:
    encoder = network()
    stage = AtStage(encoder, "0")
    with pytest.raises(RuntimeError):
        stage(torch.rand(2, 7, 8, 8))
    stage(torch.rand(2, 1, 8, 8))
    assert not encoder[0]._forward_hooks


def test_output_is_the_encoder_itself() -> None:
    encoder = network()
    assert at_stage(encoder, "output") is encoder
    assert stage_names(encoder)[:2] == ("output", "0")


@pytest.mark.parametrize(("name", "stage"), [("conv4", "blocks.2"), ("resnet18", "layer3"), ("resnet18", "layer3.1")])
def test_our_encoders(name: str, stage: str) -> None:
    encoder = build_encoder(name, channels=3, image_size=32, width=8).eval()
    assert AtStage(encoder, stage)(torch.rand(2, 3, 32, 32)).ndim == 2


def test_errors() -> None:
    with pytest.raises(InputError, match=r"layer 'layer5' is no part of ResNet; did you mean 'layer\d'"):
        AtStage(build_encoder("resnet18", channels=3, image_size=32, width=8), "layer5")
    shared = nn.ReLU()
    with pytest.raises(InputError, match="layer '1' was called 2 times"):
        AtStage(nn.Sequential(nn.Flatten(), shared, shared), "1")(torch.rand(2, 1, 2, 2))
    with pytest.raises(InputError, match=r"layer '0' gives \(2, 1, 2, 2, 1\)"):
        AtStage(nn.Sequential(nn.Unflatten(3, (2, 1)), nn.Flatten()), "0")(torch.rand(2, 1, 2, 2))
