"""What training leaves to the user: modes, frozen normalization, which weights decay; and networks on more than images."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torchopt
from torch import Tensor, nn

from metatc2.episodes import Episode, Samples
from metatc2.errors import InputError
from metatc2.inner import InnerLoop
from metatc2.learners import MAML, Learner, Outcome, ProtoNet, SelfSupervised
from metatc2.models.conv4 import Conv4
from metatc2.models.heads import Classifier, Projector
from metatc2.objectives import SimCLR
from metatc2.ops import channels_last_parameters
from metatc2.training import Trainer, TrainerOptions
from tests.learners.episodes import images as labeled_images

from ..covering import covered


def pairs(*shape: int) -> Episode:
    def side(n: int) -> Samples:
        return Samples(torch.rand(2, n, 2, *shape), None, None, torch.zeros(2, n, dtype=torch.int64))

    return Episode(side(4), side(3))


def ssl(encoder: nn.Module, dim: int) -> SelfSupervised:
    return SelfSupervised(encoder, SimCLR(), projector=Projector(dim, 6, 6))


def trained(learner: Learner, episode: Episode, steps: int = 3) -> Learner:
    Trainer(learner, [episode] * steps, TrainerOptions(steps=steps, warmup=0.0)).fit()
    return learner


NAMES = ("conv4", "plain", "resnet")


def networks() -> dict[str, nn.Module]:
    plain = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return {"conv4": Conv4(1, 8), "plain": plain, "resnet": timm.create_model("resnet10t", in_chans=1, num_classes=8)}


@pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")  # three steps from frozen statistics say nothing
@pytest.mark.parametrize(("name", "kind"), covered(NAMES, ("ssl", "maml", "protonet"), strength=1))
def test_what_is_frozen_stays_frozen(name: str, kind: str) -> None:
    torch.manual_seed(0)
    encoder = networks()[name].train()
    for part in encoder.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_(std=0.1)
            part.eval()
    modes = [part.training for part in encoder.modules()]
    buffers = {key: b.clone() for key, b in encoder.named_buffers()}
    if kind == "ssl":
        learner: Learner = ssl(encoder, 8)
        episode = pairs(1, 16, 16)
    else:
        make = {"protonet": ProtoNet, "maml": lambda e: MAML(Classifier(e, 8, 3), InnerLoop(torchopt.sgd(0.01), 1))}
        learner = make[kind](encoder)
        drawn = labeled_images(tasks=1)
        episode = Episode(
            *(s.map(lambda t: t.float() if t.is_floating_point() else t) for s in (drawn.support, drawn.query))
        )
    before = [p.detach().clone() for p in encoder.parameters()]
    trained(learner, episode)
    assert [part.training for part in encoder.modules()] == modes
    assert all(torch.equal(b, buffers[key]) for key, b in encoder.named_buffers())
    assert any(not torch.equal(p, q) for p, q in zip(encoder.parameters(), before, strict=True))


@pytest.mark.parametrize("make", [Conv4, lambda c, w: networks()["plain"]])
def test_a_frozen_norm_normalizes_by_its_statistics(make: Any) -> None:
    torch.manual_seed(0)
    encoder = make(1, 8)
    norms = [part for part in encoder.modules() if isinstance(part, nn.BatchNorm2d)]
    for part in norms:
        part.running_mean.normal_(std=0.3)
        part.running_var.uniform_(0.5, 2)
    x = torch.rand(4, 1, 16, 16)
    expected = encoder.eval()(x)
    encoder.train()
    for part in norms:
        part.eval()
    torch.testing.assert_close(encoder(x), expected)


def test_a_learner_keeps_a_frozen_norm_in_later_predictions() -> None:
    """It computes as a network in whose place the norm is a fixed affine map."""
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(6)
    norm.running_mean.normal_()
    norm.eval()

    class Affine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.ones(6)), nn.Parameter(torch.zeros(6))

        def forward(self, x: Tensor) -> Tensor:
            return (x - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * self.weight + self.bias

    body = nn.Linear(5, 6), nn.Linear(6, 3)
    first, second = (
        MAML(nn.Sequential(body[0], part, nn.Tanh(), body[1]), InnerLoop(torchopt.sgd(0.1), 2))
        for part in (norm, Affine())
    )
    x, y = torch.randn(6, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    torch.testing.assert_close(first.predict(x, y, x), second.predict(x, y, x))
    torch.testing.assert_close(first.eval().predict(x, y, x), second.eval().predict(x, y, x))
    first.train()  # the user's word too: from now on nothing is frozen
    assert not torch.allclose(first.predict(x, y, x), second.predict(x, y, x), atol=1e-3)


@pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")
def test_volumes_are_trained() -> None:
    encoder = nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    before = encoder[0].weight.detach().clone()
    trained(ssl(encoder, 4), pairs(1, 4, 6, 6))
    assert not torch.equal(encoder[0].weight, before)


def test_layout_changes_no_bits_and_no_objects() -> None:
    shared = nn.Conv2d(2, 2, 3)
    alias = nn.Conv2d(2, 2, 3)
    alias.weight = nn.Parameter(shared.weight.data)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), shared, alias, nn.Conv3d(1, 1, 2), nn.Linear(2, 2))
    objects = [id(p) for p in net.parameters()]
    values = [p.detach().clone() for p in net.parameters()]
    channels_last_parameters(net)
    assert [id(p) for p in net.parameters()] == objects
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), values, strict=True))
    with torch.no_grad():
        shared.weight.add_(1)
    assert torch.equal(shared.weight, alias.weight)


def test_what_a_model_spares_does_not_decay() -> None:
    """With a gradient of zero AdamW moves a weight by its decay alone."""
    net = timm.create_model("vit_tiny_patch16_224", img_size=16, patch_size=8, in_chans=1, num_classes=0, depth=1)

    class Still(Learner):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = net

        def forward(self, episode: Episode) -> Outcome:
            return Outcome(sum(0.0 * p.sum() for p in self.parameters()))

    with torch.no_grad():
        for p in net.parameters():
            p.fill_(1.0)
    Trainer(Still(), [pairs(1, 16, 16)] * 2, TrainerOptions(steps=2, lr=0.1, weight_decay=0.5)).fit()
    moved = {name for name, p in net.named_parameters() if not torch.equal(p, torch.ones_like(p))}
    assert {"pos_embed", "cls_token"} <= net.no_weight_decay()
    assert moved == {name for name, p in net.named_parameters() if p.ndim > 1} - {"pos_embed", "cls_token"}


def test_lazy_layers_are_refused_before_training() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
    with pytest.raises(InputError, match="lazy layer that has no shape yet"):
        Trainer(ssl(encoder, 4), [pairs(1, 4, 4)], TrainerOptions(steps=1))
