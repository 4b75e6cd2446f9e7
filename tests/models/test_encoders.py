"""Encoders against torchvision, timm and a plain restatement of Conv-4."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
import torchvision
from torch import Tensor, nn

from metatc2.errors import InputError, MissingPackage
from metatc2.models import conv4
from metatc2.models.conv4 import Conv4
from metatc2.models.encoding import feature_dim
from metatc2.models.normalize import Normalize
from metatc2.models.registry import build_encoder
from metatc2.models.resnet import resnet
from metatc2.ops.functional import Functional

from ..command_line import PATIENCE


@pytest.fixture(autouse=True)
def _fenced() -> object:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def images(n: int = 4, channels: int = 3, size: int = 32) -> Tensor:
    return torch.rand(n, channels, size, size)


@pytest.mark.parametrize(("width", "channels", "size"), [(8, 1, 28), (12, 3, 16), (8, 3, 84)])
def test_conv4_is_conv_norm_relu_pool_four_times(width: int, channels: int, size: int) -> None:
    encoder = Conv4(channels, width).double()
    x = images(channels=channels, size=size).double()
    h = (x - 0.5) / 0.25
    for block in encoder.blocks:
        conv = block[0]
        h = nn.functional.conv2d(h, conv.weight, padding=1)
        h = nn.functional.batch_norm(h, None, None, training=True)
        h = nn.functional.max_pool2d(nn.functional.relu(h), 2)
    expected = nn.functional.adaptive_avg_pool2d(h, 1).flatten(1)
    out = encoder(x)
    assert out.shape == (4, width) == (4, encoder.dim)
    torch.testing.assert_close(out, expected)
    # Pooling before ReLU must not show in the gradient either.
    weights = [block[0].weight for block in encoder.blocks]
    direction = torch.randn_like(out)
    ours = torch.autograd.grad((out * direction).sum(), weights)
    theirs = torch.autograd.grad((expected * direction).sum(), weights)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def trained(encoder: Conv4, x: Tensor) -> list[Tensor]:
    """Output, gradients and running statistics of a step in training."""
    out = encoder(x)
    gradients = torch.autograd.grad(out.square().sum(), list(encoder.parameters()))
    return [out, *gradients, *encoder.buffers()]


def test_fused_first_block_leaves_what_the_block_would() -> None:
    x = images(6, channels=1, size=28).double()
    fused = Conv4(1, 8).double()
    with torch.no_grad():
        fused.blocks[0][1].weight.copy_(torch.linspace(-1, 1, 8))
        fused.blocks[0][1].bias.normal_()
    plain = copy.deepcopy(fused)
    plain.blocks[0][1].register_forward_hook(lambda *_: None)
    for ours, theirs in zip(trained(fused, x), trained(plain, x), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_first_block_is_not_fused_where_that_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def spy(block: nn.Module, x: Tensor) -> Tensor:
        calls.append(1)
        out: Tensor = block(x)
        return out

    monkeypatch.setattr(conv4, "_first_block", spy)
    x = images(channels=1, size=28)

    def fuses(encoder: Conv4, x: Tensor = x) -> bool:
        calls.clear()
        encoder(x)
        return bool(calls)

    assert fuses(Conv4(1, 8))
    with torch.no_grad():
        assert fuses(Conv4(1, 8))
    assert not fuses(Conv4(1, 8).eval())
    with torch.autocast("cpu", torch.bfloat16):
        assert not fuses(Conv4(1, 8))
    assert not fuses(Conv4(1, 8), x.clone().requires_grad_())
    assert not fuses(Conv4(1, 8), images(channels=1, size=27))
    exchanged = Conv4(1, 8)
    exchanged.blocks[0][1] = nn.BatchNorm2d(8, momentum=None)
    assert not fuses(exchanged)
    exchanged.blocks[0] = nn.Identity()
    exchanged.blocks[1][0] = nn.Conv2d(1, 8, 3)
    assert not fuses(exchanged)
    for part, setting, value in (
        (0, "padding_mode", "reflect"),
        (0, "stride", (2, 2)),
        (0, "dilation", (2, 2)),
        (0, "bias", nn.Parameter(torch.zeros(8))),
        (2, "padding", 1),
        (2, "ceil_mode", True),
    ):
        changed = Conv4(1, 8)
        setattr(changed.blocks[0][part], setting, value)
        calls.clear()
        changed.blocks[0](x)
        assert not fuses(changed, images(channels=1, size=32)), setting
    copied = copy.deepcopy(Conv4(1, 8))
    assert fuses(copied)
    looked_at = Conv4(1, 8)
    seen: list[Tensor] = []
    looked_at.blocks[0][0].register_forward_hook(lambda _, __, out: seen.append(out))
    assert not fuses(looked_at)
    assert len(seen) == 1
    parametrised = Conv4(1, 8)
    nn.utils.parametrizations.weight_norm(parametrised.blocks[0][0])
    assert not fuses(parametrised)
    # A policy of batch normalization sees every norm; a transformation sees operations that it has rules for.
    calls.clear()
    encoder = Conv4(1, 8)
    Functional(encoder, "frozen")(dict(encoder.named_parameters()), x)
    torch.func.vmap(Functional(encoder), in_dims=(None, 0))(dict(encoder.named_parameters()), x.unsqueeze(0))
    assert not calls


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_resnet_of_large_images_is_torchvisions(name: str) -> None:
    ours = resnet(name, channels=3, width=64, image_size=96).eval()
    oracle = torchvision.models.get_model(name, weights=None)
    oracle.fc = nn.Identity()
    oracle.load_state_dict(ours.state_dict())
    x = images(2, size=96)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), oracle.eval()((x - 0.5) / 0.25))
    assert ours.dim == {"resnet18": 512, "resnet34": 512, "resnet50": 2048}[name]


@pytest.mark.parametrize(("name", "expansion"), [("resnet18", 1), ("resnet50", 4)])
@pytest.mark.parametrize("width", [4, 24])
def test_resnet_of_small_images_and_any_width(name: str, expansion: int, width: int) -> None:
    encoder = build_encoder(name, channels=1, image_size=32, width=width)
    shapes = {}
    for stage in ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4"):
        getattr(encoder, stage).register_forward_hook(lambda m, i, o, s=stage: shapes.update({s: tuple(o.shape[1:])}))
    assert encoder(images(channels=1)).shape == (4, 8 * width * expansion)
    assert encoder.dim == 8 * width * expansion
    assert shapes["conv1"] == shapes["maxpool"] == (width, 32, 32)  # nothing is thrown away at the start
    sizes = [shapes[f"layer{i + 1}"] for i in range(4)]
    assert sizes == [(width * expansion * 2**i, 32 // 2**i, 32 // 2**i) for i in range(4)]


def test_bottlenecks_shrink_with_the_width() -> None:
    inner = resnet("resnet50", 3, 16, 32).layer1[0]
    assert (inner.conv1.out_channels, inner.conv2.out_channels, inner.conv3.out_channels) == (16, 16, 64)


def test_the_stem_of_a_resnet_is_initialized_as_its_other_convolutions() -> None:
    weight = resnet("resnet18", 3, 64, 32).conv1.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)  # Kaiming, fan out


@pytest.mark.parametrize("name", ["timm:resnet10t", "timm:vit_tiny_patch16_224", "timm:mobilenetv3_small_050"])
def test_timm_by_name(name: str) -> None:
    encoder = build_encoder(name, channels=1, image_size=48)
    out = encoder(images(2, 1, 48))
    assert out.shape == (2, encoder.dim)
    if "vit" in name:
        assert encoder.body.patch_embed.img_size == (48, 48)
    body = encoder.eval().body
    x = images(2, 1, 48)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), body((x - 0.5) / 0.25))


def test_timm_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingPackage, match=r"pip install 'metatc2\[timm\]'"):
        build_encoder("timm:resnet10t", channels=1, image_size=32)
    build_encoder("conv4", channels=1, image_size=32)


@pytest.mark.parametrize("name", ["conv4", "resnet18", "timm:resnet10t"])
@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last(name: str, channels: int) -> None:
    width = None if "timm" in name else 8
    encoder = build_encoder(name, channels=channels, image_size=32, width=width).eval().double()
    x = images(channels=channels).double()
    expected = encoder(x)
    encoder = encoder.to(memory_format=torch.channels_last)
    out = encoder(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(out, expected)
    out.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


@pytest.mark.parametrize("name", ["conv4", "resnet18"])
def test_initialization_follows_the_global_seed_and_can_be_fenced(name: str) -> None:
    torch.manual_seed(5)
    first = build_encoder(name, channels=1, image_size=28, width=4).state_dict()
    state = torch.get_rng_state()
    with torch.random.fork_rng():
        torch.manual_seed(5)
        second = build_encoder(name, channels=1, image_size=28, width=4).state_dict()
    assert all(torch.equal(v, second[k]) for k, v in first.items())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow  # an interpreter that imports torch
def test_importing_draws_nothing() -> None:
    code = (
        "import torch; before = torch.get_rng_state(); import metatc2.models.conv4, metatc2.models.resnet; "
        "import metatc2.models.heads, metatc2.models.timm; import metatc2.objectives; "
        "assert torch.equal(before, torch.get_rng_state())"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)


@pytest.mark.parametrize("name", ["conv4", "resnet18"])
def test_bf16_autocast_and_double_backward(name: str) -> None:
    encoder = build_encoder(name, channels=1, image_size=16, width=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert encoder(images(channels=1, size=16)).isfinite().all()
    weight = next(encoder.parameters())
    loss = encoder(images(channels=1, size=16)).square().sum()
    (g,) = torch.autograd.grad(loss, weight, create_graph=True)
    (h,) = torch.autograd.grad(g.square().sum(), weight)
    assert h.isfinite().all()
    assert h.any()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("conv5", {}, "unknown encoder 'conv5'; did you mean 'conv4'"),
        ("resnet101", {}, "unknown encoder 'resnet101'; did you mean 'resnet"),
        ("conv4", {"image_size": 8}, "at least 16 pixels, found 8"),
        ("conv4", {"width": 0}, "width must be at least 1, found 0"),
        ("timm:resnet10t", {"width": 8}, "takes no width"),
        ("timm:resnet10tt", {}, "timm has no model 'resnet10tt'; did you mean resnet10t"),
        ("timm:vit_tiny_patch16_224", {"image_size": 8}, "timm:vit_tiny_patch16_224 cannot take 1 × 8 × 8 images"),
    ],
)
def test_bad_names_and_sizes_are_errors(name: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError) as caught:
        build_encoder(name, **{"channels": 1, "image_size": 32, **options})
    assert message in str(caught.value)


def test_bad_images_are_errors() -> None:
    with pytest.raises(InputError, match=r"torch\.uint8; divide"):
        Normalize()(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(InputError, match="found 12"):
        Conv4(1, 4)(images(channels=1, size=12))
    with pytest.raises(InputError, match="unknown ResNet"):
        resnet("resnet19")


class Nosy(nn.Module):
    """Counts its calls in a buffer, whatever the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.conv = nn.Conv2d(1, 6, 3)
        self.norm = nn.BatchNorm2d(6).eval()  # frozen while the rest trains

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.norm(self.conv(x)).mean((-2, -1))


def test_feature_dim_leaves_a_users_module_as_it_was() -> None:
    module = Nosy()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    modes = [m.training for m in module.modules()]
    assert modes == [True, True, False]
    assert feature_dim(module, 1, 16) == 6
    assert [m.training for m in module.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())
    assert feature_dim(module.double(), 1, 16) == 6


def test_feature_dim_trusts_the_attribute() -> None:
    module = nn.Linear(3, 3)
    module.dim = 77  # type: ignore[assignment]
    assert feature_dim(module, 1, 16) == 77


def test_feature_dim_refuses_what_is_no_encoder() -> None:
    for module, found in (
        (nn.Conv2d(1, 4, 3), r"Conv2d gave \(2, 4, 14, 14\)"),
        (nn.Flatten(0), r"Flatten gave \(512,\)"),
        (nn.AdaptiveMaxPool2d(1, return_indices=True), "AdaptiveMaxPool2d gave tuple"),
    ):
        with pytest.raises(InputError, match=found):
            feature_dim(module, 1, 16)
        assert module.training
