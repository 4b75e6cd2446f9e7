"""learn2learn is installed by `make test`: its tests run and are not skipped."""

from __future__ import annotations

import sys

import pytest
import torch

from metatc2.contrib import require_learn2learn
from metatc2.errors import InputError
from metatc2.models.conv4 import Conv4


@pytest.mark.filterwarnings("ignore")
def test_the_real_package_adapts_one_of_our_encoders(seed_offset: int) -> None:
    l2l = require_learn2learn()
    with torch.random.fork_rng():
        torch.manual_seed(seed_offset)
        model = torch.nn.Sequential(Conv4(channels=1, width=8), torch.nn.Linear(8, 2))
    maml = l2l.algorithms.MAML(model, lr=0.1)
    images = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(seed_offset))
    labels = torch.arange(8) % 2
    clone = maml.clone()
    before = torch.nn.functional.cross_entropy(clone(images), labels)
    clone.adapt(before)
    after = torch.nn.functional.cross_entropy(clone(images), labels)
    assert after < before
    after.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_without_the_package_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "learn2learn", None)
    with pytest.raises(InputError, match="build_ext"):
        require_learn2learn()
