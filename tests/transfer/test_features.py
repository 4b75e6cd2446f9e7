"""Extraction leaves the encoder as it was, does not depend on the batch, and refuses what cannot be judged."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from metatc2.errors import InputError
from metatc2.transfer import extract, raw_pixels


def images(n: int = 11) -> Tensor:
    return torch.randint(0, 256, (n, 1, 6, 6), generator=torch.Generator().manual_seed(0)).byte()


def encoder() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Sequential(nn.GELU(), nn.Dropout(0.5)), nn.Flatten())


def test_equals_a_plain_pass_in_eval_mode_on_unit_range() -> None:
    net = encoder()
    expected = encoder().eval()(images().float() / 255)
    torch.testing.assert_close(extract(net, images(), batch=4), expected.detach())


def test_result_does_not_depend_on_the_batch_or_the_mode() -> None:
    net = encoder().train()
    torch.testing.assert_close(extract(net, images(), batch=1), extract(net.eval(), images(), batch=100))


def test_every_submodule_keeps_its_mode_and_batchnorm_its_statistics() -> None:
    net = encoder().train()
    net[1].eval()  # frozen by the user
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [part.training for part in net.modules()]
    found = extract(net, images())
    assert not found.requires_grad
    assert [part.training for part in net.modules()] == modes
    assert True in modes
    assert False in modes
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_mode_is_restored_after_a_failure() -> None:
    net = encoder().train()
    with pytest.raises(RuntimeError):
        extract(net, images().repeat(1, 3, 1, 1))
    assert all(part.training for part in net.modules())


def test_single_precision_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = extract(encoder(), images())
    assert found.dtype == torch.float32
    assert torch.equal(found, extract(encoder(), images()))


def test_raw_pixels_keep_order_and_range() -> None:
    found = raw_pixels(images())
    assert found.shape == (11, 36)
    assert found[3, 7].item() == pytest.approx(images()[3, 0, 1, 1].item() / 255)


def test_bad_input() -> None:
    class Poisoned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(torch.arange(len(x)).unsqueeze(1) == 2, torch.nan, x.flatten(1))

    with pytest.raises(InputError, match=r"1 of 11 images .* row 2"):
        extract(Poisoned(), images())
    with pytest.raises(InputError, match=r"\(11, 3, 4, 4\)"):
        extract(nn.Conv2d(1, 3, 3), images())
    with pytest.raises(InputError, match="uint8"):
        extract(encoder(), images().float())
    with pytest.raises(InputError, match="uint8"):
        raw_pixels(images()[:0])
    with pytest.raises(InputError, match="batch"):
        extract(encoder(), images(), batch=0)
