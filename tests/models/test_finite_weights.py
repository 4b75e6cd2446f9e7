"""Weights that features cannot be computed with are named before any image is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from metatc2.errors import InputError
from metatc2.experiment.load import load_pretrained
from metatc2.models.finite_weights import check_weights
from metatc2.models.registry import build_encoder


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("weight", float("nan"), "own: 1 of 4 values of its weight are not finite"),
        ("bias", float("inf"), "own: 1 of 4 values of its bias are not finite"),
        ("running_mean", float("-inf"), "own: 1 of 4 values of its running_mean are not finite"),
        ("running_var", float("nan"), "own: 1 of 4 values of its running_var are not finite"),
        ("running_var", -1.0, "own: its running_var holds a variance below 0"),
    ],
)
def test_what_is_not_finite_is_named(key: str, value: float, sentence: str) -> None:
    layer = nn.BatchNorm2d(4)
    check_weights(layer, "own")
    with torch.no_grad():
        getattr(layer, key)[2] = value
    with pytest.raises(InputError, match=sentence):
        check_weights(layer, "own")


def test_masks_may_hold_infinities_and_sums_may_overflow() -> None:
    layer = nn.Linear(2, 2)
    layer.register_buffer("mask", torch.full((2, 2), float("-inf")))
    nn.init.constant_(layer.weight, 3e38)
    check_weights(layer, "own")


def test_a_file_of_weights_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    state = build_encoder("conv4", channels=1, image_size=28).state_dict()
    key = next(key for key in state if key.endswith("running_mean"))
    state[key][0] = torch.nan
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(InputError, match=f"conv4@.*: 1 of .* values of its {key} are not finite"):
        load_pretrained(f"conv4@{tmp_path / 'w.pth'}", image_size=28, channels=1)
