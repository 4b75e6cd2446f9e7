"""Weights from elsewhere: every wrapping that the field's scripts write, what fits, and short sentences where nothing does."""

from __future__ import annotations

import argparse
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from metatc2.errors import InputError
from metatc2.experiment.load import load_pretrained
from metatc2.models.foreign_weights import ForeignWeights, load_foreign
from metatc2.models.registry import build_encoder

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
IMAGES = torch.rand(2, 3, 72, 72, generator=torch.Generator().manual_seed(0))

State = Mapping[str, Tensor]


#: A small one of torchvision's, which ends in a part ``fc`` as its ResNets do.
NETWORK = "shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = torchvision.models.get_model(NETWORK, weights=None)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
    return network.eval()


def prefixed(state: State, prefix: str, *heads: str) -> dict[str, Tensor]:
    """Without torchvision's classifier, with the heads of a method."""
    body = {f"{prefix}{key}": value for key, value in state.items() if not key.startswith("fc.")}
    return body | {head: torch.zeros(3) for head in heads}


def other(state: State) -> State:
    return {key: value + 1 for key, value in state.items()}


def sequential(state: State) -> State:
    """As of ``nn.Sequential(*list(network.children())[:-1])``, the backbone of lightly's examples."""
    order = ["conv1", "maxpool", "stage2", "stage3", "stage4", "conv5"]
    split = {key: key.partition(".") for key in state if not key.startswith("fc.")}
    return {f"{order.index(first)}.{rest}": state[key] for key, (first, _, rest) in split.items()}


WRAPPINGS: dict[str, tuple[Callable[[State], Any], str]] = {
    "torchvision": (dict, "2 other tensors are left out"),
    "MoCo": (
        lambda s: {
            "epoch": 200,
            "arch": "resnet18",
            "state_dict": prefixed(s, "module.encoder_q.", "module.encoder_q.fc.0.weight", "module.queue")
            | prefixed(other(s), "module.encoder_k."),
            "optimizer": {"state": {}, "param_groups": []},
        },
        r"under 'state_dict.module.encoder_q.' are taken and those under 'state_dict.module.encoder_k.' fit too",
    ),
    "solo-learn": (
        lambda s: {"state_dict": prefixed(s, "backbone.", "projector.0.weight"), "pytorch-lightning_version": "2.0"},
        "under 'state_dict.backbone.' are taken; 1 other",
    ),
    "DINO": (
        lambda s: {
            "student": prefixed(other(s), "module.backbone.", "module.head.mlp.0.weight"),
            "teacher": prefixed(s, "backbone.", "head.mlp.0.weight"),
            "args": argparse.Namespace(arch="resnet18", lr=0.1),
        },
        "under 'teacher.backbone.' are taken and those under 'student.module.backbone.' fit too",
    ),
    "lightly": (
        lambda s: {
            "state_dict": {f"backbone.{k}": v for k, v in sequential(s).items()}
            | {f"backbone_momentum.{k}": v for k, v in sequential(other(s)).items()}
            | {"projection_head.layers.0.weight": torch.zeros(3)}
        },
        "under 'state_dict.backbone.' are taken and those under 'state_dict.backbone_momentum.' fit too",
    ),
    "model": (lambda s: {"model": dict(s)}, "under 'model.' are taken"),
    "data parallel": (lambda s: prefixed(s, "module."), "under 'module.' are taken"),
    "without counters": (
        lambda s: {k: v for k, v in prefixed(s, "net.").items() if "num_batches" not in k},
        "under 'net.' are taken",
    ),
}


def resnet18(channels: int = 3, image_size: int = 72) -> dict[str, Tensor]:
    """Zeros in the shapes of a ResNet-18, each a single number in memory and in a file."""
    with torch.device("meta"):
        state = build_encoder("resnet18", channels=channels, image_size=image_size).state_dict()
    return {key: torch.zeros(()).expand(value.shape) for key, value in state.items()}


def configured(
    tmp_path: Path, name: str = f"torchvision:{NETWORK}", size: int = 72, channels: int = 3, more: str = ""
) -> Path:
    file = tmp_path / "encoder.toml"
    file.write_text(f"[data]\nchannels = {channels}\nimage_size = {size}\n[encoder]\nname = '{name}'\n{more}")
    return file


# Of the others each is a prefix that one of these has too.
QUICK = {"MoCo", "DINO", "lightly", "without counters"}


@pytest.mark.parametrize(
    "wrapping", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in WRAPPINGS]
)
def test_every_wrapping_gives_the_network_itself(theirs: nn.Module, tmp_path: Path, wrapping: str) -> None:
    wrap, said = WRAPPINGS[wrapping]
    torch.save(wrap(theirs.state_dict()), tmp_path / "w.pth")
    with pytest.warns(ForeignWeights, match=said) as caught:
        found = load_pretrained(str(tmp_path / "w.pth"), config=configured(tmp_path))
    assert len(str(caught[0].message)) < 400 + len(str(tmp_path))
    with torch.no_grad():
        torch.testing.assert_close(theirs.fc(found.encoder(IMAGES)), theirs((IMAGES - MEAN) / STD))  # type: ignore[operator]
    assert (found.source, found.seen) == ("unknown", None)


@pytest.fixture(scope="module")
def theirs_18() -> nn.Module:
    """torchvision's ResNet-18, whose names ours and timm's have too."""
    torch.manual_seed(0)
    network: nn.Module = torchvision.models.resnet18(weights=None)
    return network.eval()


def test_own_encoders_take_them_too_and_say_how_images_are_normalized(theirs_18: nn.Module, tmp_path: Path) -> None:
    theirs = theirs_18
    save_file(prefixed(theirs.state_dict(), "module.encoder_q.", "module.queue"), tmp_path / "w.safetensors")
    with pytest.warns(ForeignWeights, match=r"'module.encoder_q.' .*1 other .*normalized \(x - 0.5\) / 0.25"):
        found = load_pretrained(str(tmp_path / "w.safetensors"), config=configured(tmp_path, "resnet18"))
    with torch.no_grad():
        torch.testing.assert_close(theirs.fc(found.encoder(IMAGES)), theirs((IMAGES - 0.5) / 0.25))  # type: ignore[operator]


@pytest.mark.slow  # by the same steps as torchvision's
def test_timm_takes_them_too(theirs_18: nn.Module, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    theirs = theirs_18
    torch.save({"model": prefixed(theirs.state_dict(), "visual.")}, tmp_path / "w.pt")
    with pytest.warns(ForeignWeights, match=r"under 'model.visual.'"):
        found = load_pretrained(str(tmp_path / "w.pt"), config=configured(tmp_path, "timm:resnet18"))
    with torch.no_grad():
        torch.testing.assert_close(theirs.fc(found.encoder(IMAGES)), theirs((IMAGES - 0.5) / 0.25))  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["torchvision:resnet18@", ""])
def test_a_file_of_other_channels_is_told_how_it_is_named(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "w.pth"
    torch.save(resnet18(channels=5, image_size=128), file)
    with pytest.raises(InputError, match=r"resnet18@.*w.pth with --image-size above 64 and --channels 5"):
        load_pretrained(f"{kind}{file}", image_size=None if kind else 128)


def test_what_fits_as_it_is_says_nothing(tmp_path: Path) -> None:
    encoder = build_encoder("conv4", channels=3, image_size=32)
    torch.save(encoder.state_dict(), tmp_path / "w.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_pretrained(str(tmp_path / "w.pth"), config=configured(tmp_path, "conv4", 32))
    assert all(
        torch.equal(a, b)
        for a, b in zip(encoder.state_dict().values(), found.encoder.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "size", "more", "said"),
    [
        ("resnet18", 32, "", r"1 have other shapes \(conv1.weight is \(64, 3, 7, 7\), not \(64, 3, 3, 3\)\)"),
        ("resnet34", 72, "width = 8", r"\d+ of \d+ tensors of resnet34 are missing \(.*\) and \d+ have other shapes"),
        ("conv4", 32, "", r"it has none of the tensors of conv4 \(it has "),
    ],
)
def test_what_does_not_fit_is_said_shortly_with_what_would(
    tmp_path: Path, name: str, size: int, more: str, said: str
) -> None:
    torch.save({"state_dict": prefixed(resnet18(), "module.encoder_q.")}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=said) as caught:
        load_pretrained(str(tmp_path / "w.pth"), config=configured(tmp_path, name, size, more=more))
    message = str(caught.value)
    assert "it fits encoder.name = 'torchvision:resnet18' (or 'resnet18' with data.image_size above 64)" in message
    assert len(message) < 500 + 2 * len(str(tmp_path))
    assert message.count(".weight") + message.count(".bias") <= 4


def test_a_small_stem_is_recognized(tmp_path: Path) -> None:
    torch.save(resnet18(channels=1, image_size=32), tmp_path / "w.pth")
    with pytest.raises(
        InputError, match=r"it fits encoder.name = 'resnet18' with data.image_size up to 64 and data.channels = 1"
    ):
        load_pretrained(str(tmp_path / "w.pth"), config=configured(tmp_path, "resnet18", 72, more="width = 8"))


class Harmful:
    """Unpickling it would make a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "more": Harmful(tmp_path / "ran")}, tmp_path / "w.pth")
    (tmp_path / "x.pth").write_bytes(pickle.dumps(Harmful(tmp_path / "ran")))
    for file in ("w.pth", "x.pth"):
        with pytest.raises(InputError, match="that is not done.*only if you trust whoever made the file"):
            load_pretrained(str(tmp_path / file), config=configured(tmp_path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (torch.zeros(3), "holds a Tensor and no table"),
        ([1, 2], "holds a list and no table"),
        ({"epoch": 3}, "it holds no tensors"),
        ({}, "it holds no tensors"),
    ],
)
def test_files_without_weights(tmp_path: Path, content: Any, said: str) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(InputError, match=said):
        load_pretrained(str(tmp_path / "w.pt"), config=configured(tmp_path, "conv4", 32))


@pytest.mark.parametrize("raw", [b"", b"text", b"PK\x03\x04", b"\x80\x02}."])
def test_damaged_files(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "w.ckpt").write_bytes(raw)
    with pytest.raises(InputError, match=r"w.ckpt (is damaged|holds|does not fit)"):
        load_pretrained(str(tmp_path / "w.ckpt"), config=configured(tmp_path))
    with pytest.raises(InputError, match="no such file"):
        load_pretrained(str(tmp_path / "none.pth"), config=configured(tmp_path))
    with pytest.raises(InputError, match="no configuration|is damaged|holds"):
        load_pretrained(str(tmp_path / "w.ckpt"))


def test_a_file_with_another_ending_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"")
    with pytest.raises(InputError, match=r"weights is a file, and weights end in .safetensors, .pth"):
        load_pretrained(str(tmp_path / "weights"))


def test_torchvision_names_take_color_alone(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="takes data.channels = 3 and no encoder.width"):
        load_pretrained(str(tmp_path / "w.pth"), config=configured(tmp_path, channels=1))


class WithToken(nn.Module):
    """A parameter that lies on the network itself, as a transformer's class token."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(4))
        self.body_of_it = nn.Linear(4, 4)


def test_a_file_without_the_parameter_of_the_network_itself_is_refused(tmp_path: Path) -> None:
    content = nn.Sequential(*WithToken().children()).state_dict()
    with pytest.raises(InputError, match="does not fit"):
        load_foreign(WithToken(), content, tmp_path / "w.pth", "mine")


def test_a_place_that_fits_by_two_namings_is_named_once(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(4, 4))  # its names are numbers
    content = {**network.state_dict(), "head.weight": torch.zeros(2)}
    assert load_foreign(network, content, tmp_path / "w.pth", "mine") == ["1 other tensor is left out (head.weight)"]
