"""The told linear map is TC²'s linear form with one map a kind."""

from __future__ import annotations

import torch
from torch import nn

from metatc2.calibration import TaskCalibrator
from metatc2.conditioning import LinearMaps
from metatc2.episodes import TaskIdentity


def test_it_is_the_map_that_tc2_adapts() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = LinearMaps(nn.Identity(), 6, kinds=3, factors=4, generator=torch.Generator().manual_seed(1)).double()
    own = TaskCalibrator(6, 4, weights="linear", generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(maps.basis, own.basis)
    with torch.no_grad():
        maps.logits += torch.randn(3, 4, generator=generator)
        maps.mixing += torch.randn(3, 4, 4, generator=generator)
    kinds = torch.tensor([2, 0, 2, 1])
    z = torch.randn(4, 5, 2, 6, generator=generator, dtype=torch.float64)
    identity = TaskIdentity(kinds, ("a", "b", "c"), torch.zeros(4, 0))
    adapted = {"gates": maps.speed * maps.logits[kinds], "mixing": maps.mixing[kinds]}
    torch.testing.assert_close(maps(z, identity), own(z, adapted))
    torch.testing.assert_close(maps.penalty(), own.loss(z))
    # At the start it is the projection on V for every kind.
    fresh = LinearMaps(nn.Identity(), 6, kinds=3, factors=4).double()
    v = nn.functional.normalize(fresh.basis, dim=-1)
    torch.testing.assert_close(fresh(z, identity), z @ v.T @ v)
