"""Networks of others by name: with weights from a file, by one's own code, from torch.hub's clones and the Hub's folders."""

from __future__ import annotations

import json
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from metatc2.errors import InputError, MissingPackage
from metatc2.experiment.hub import from_pretrained
from metatc2.experiment.load import load_pretrained, split_weights
from metatc2.models import ForeignEncoder, extract
from metatc2.models.foreign_weights import ForeignWeights
from metatc2.models.registry import build_encoder

from ..command_line import call

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
IMAGES = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))

NETWORKS = """
from torch import nn

class Output:
    def __init__(self, hidden, pooled):
        self.last_hidden_state, self.pooler_output = hidden, pooled

class Tokens(nn.Module):
    image_size = 16

    def __init__(self, channels=3, pooled=False):
        super().__init__()
        self.stem, self.pooled = nn.Conv2d(channels, 6, 4, 4), pooled

    def forward(self, pixel_values):
        hidden = self.stem(pixel_values).flatten(2).transpose(1, 2)
        return Output(hidden, hidden.mean(1) if self.pooled else None)

def pooled(channels=5):
    return Tokens(channels, True)

def maps():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())

def needs(width):
    return maps()

def fails():
    raise KeyError("weights")

ready = maps().double()
number = 3

def tuples():
    class Two(nn.Module):
        def forward(self, x):
            return x, x
    return Two()
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a module of the user's."""
    (tmp_path / "my_networks.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("my_networks", None)


def test_a_checkpoint_of_torchvision_needs_no_configuration(tmp_path: Path) -> None:
    torch.manual_seed(1)
    theirs = torchvision.models.resnet18(weights=None).eval()
    state = {f"module._orig_mod.{key}": value.half() for key, value in theirs.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    name = f"torchvision:resnet18@{tmp_path / 'w.pth'}"
    with pytest.warns(ForeignWeights) as caught:
        found = load_pretrained(name, image_size=40)
    (said,) = [str(each.message) for each in caught]
    assert "under 'state_dict.module.' are taken" in said
    assert "2 other tensors are left out (module.fc.weight, module.fc.bias)" in said
    assert "'_orig_mod.' is taken out of the names; weights in float16 become float32" in said
    theirs = theirs.half().float()
    with torch.no_grad():
        torch.testing.assert_close(theirs.fc(found.encoder(IMAGES)), theirs((IMAGES - MEAN) / STD))
        assert found.untrained is not None
        assert not torch.equal(found.untrained(IMAGES), found.encoder(IMAGES))
    assert (found.name, found.network, found.source, found.seen) == (name, "torchvision:resnet18", "unknown", None)


@pytest.mark.slow
def test_a_checkpoint_of_timm_with_other_channels(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("resnet10t", in_chans=4, num_classes=7).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pt")
    name = f"timm:resnet10t@{tmp_path / 'w.pt'}"
    with pytest.warns(ForeignWeights, match=r"2 other tensors are left out \(fc.weight, fc.bias\)"):
        found = load_pretrained(name, image_size=32, channels=4)
    images = torch.rand(2, 4, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(theirs.fc(found.encoder(images)), theirs((images - 0.5) / 0.25))
    with pytest.raises(InputError, match=r"stem.*|conv1.*is \(24, 4, 3, 3\), not \(24, 3, 3, 3\)") as caught:
        load_pretrained(name)
    assert len(str(caught.value)) < 400 + len(name)
    with pytest.raises(InputError, match="takes images of 3 channels, and 4 were asked for"):
        load_pretrained("timm:resnet10t", channels=4)


def test_an_encoder_of_this_library_with_weights_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = build_encoder("conv4", channels=1, image_size=28).eval()
    torch.save({"encoder." + key: value for key, value in theirs.state_dict().items()}, tmp_path / "w.pt")
    with pytest.warns(ForeignWeights, match=r"under 'encoder.' .*normalized \(x - 0.5\) / 0.25"):
        found = load_pretrained(f"conv4@{tmp_path / 'w.pt'}", image_size=28, channels=1)
    images = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(found.encoder(images), theirs(images))
    with pytest.raises(InputError, match="add --image-size"):
        load_pretrained(f"conv4@{tmp_path / 'w.pt'}")


@pytest.mark.slow
def test_a_file_alone_is_told_what_network_it_fits(tmp_path: Path) -> None:
    theirs = torchvision.models.resnet18(weights=None)
    torch.save({f"module.{key}": value for key, value in theirs.state_dict().items()}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"it fits one: name it as torchvision:resnet18@.*w.pth"):
        load_pretrained(str(tmp_path / "w.pth"))
    with pytest.raises(
        InputError, match=r"does not fit torchvision:resnet34: .*; it fits torchvision:resnet18@"
    ) as caught:
        load_pretrained(f"torchvision:resnet34@{tmp_path / 'w.pth'}", image_size=40)
    assert len(str(caught.value)) < 350 + 3 * len(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "channels", "size", "dim"),
    [
        ("my_networks:Tokens", 3, 16, 6),
        ("my_networks:pooled", 5, 16, 6),
        ("my_networks:maps", 3, 224, 4),
        ("my_networks:ready", 3, 224, 4),
    ],
)
def test_networks_of_ones_own(own: Path, name: str, channels: int, size: int, dim: int) -> None:
    path = list(sys.path)
    found = load_pretrained(name)
    assert (found.channels, found.image_size) == (channels, size)
    assert sys.path == path
    images = torch.randint(256, (2, channels, size, size), dtype=torch.uint8)
    features = extract(found.encoder, images)
    assert features.shape == (2, dim)
    body, rows = found.encoder.body, images.float() / 255  # type: ignore[union-attr]
    with torch.no_grad():
        if name.endswith("Tokens"):
            torch.testing.assert_close(features, body(rows).last_hidden_state[:, 0])  # type: ignore[operator]
        elif name.endswith("pooled"):
            torch.testing.assert_close(features, body(rows).pooler_output)  # type: ignore[operator]
        else:
            maps = body(rows.to(next(body.parameters()).dtype))  # type: ignore[operator, union-attr]
            torch.testing.assert_close(features, maps.mean((2, 3)).float())


def test_ones_own_network_with_weights_from_a_file(own: Path) -> None:
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    save_file({f"backbone.{key}": value for key, value in body.state_dict().items()}, own / "w.safetensors")
    with pytest.warns(ForeignWeights, match=r"under 'backbone.' .*by its own code, which gets them in \[0, 1\]"):
        found = load_pretrained("my_networks:maps@w.safetensors", image_size=40)
    with torch.no_grad():
        torch.testing.assert_close(found.encoder(IMAGES), body(IMAGES).mean((2, 3)))
    assert found.untrained is not None


@pytest.mark.filterwarnings("ignore::metatc2.experiment.transfer.UncheckedClasses")
def test_ones_own_network_is_measured_from_the_command_line(own: Path) -> None:
    words = ["--to", "digits", "--protocol", "knn", "--image-size", "16", "--out", str(own / "out")]
    assert call("transfer", "my_networks:Tokens", *words) == 0
    rows = json.loads((own / "out" / "transfer.json").read_text())
    assert {row["features"] for row in rows} == {"encoder", "raw pixels"}


@pytest.mark.filterwarnings("ignore::metatc2.experiment.transfer.UncheckedClasses")
def test_one_network_at_two_sizes_is_compared_with_itself(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = torch.randint(0, 256, (40, 3, 24, 24), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    np.savez(own / "mine.npz", images=images.numpy(), labels=np.arange(40) % 4)
    for size in ("16", "24"):
        words = ["--to", f"npz:{own}/mine.npz:all", "--protocol", "knn", "--image-size", size, "--out", str(own / size)]
        assert call("transfer", "my_networks:maps", *words) == 0
    capsys.readouterr()
    assert call("compare", str(own / "16"), str(own / "24")) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "got images of 3 × 16 × 16, my_networks:maps" in said
    assert "the same images at 3 × 24 × 24." in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_module_of_that_name:x", "finds no module 'no_module_of_that_name'"),
        ("my_networks:token", "has no 'token'; did you mean 'Tokens'"),
        ("my_networks:needs", "cannot be made .*width.*needs no more than"),
        ("my_networks:fails", "cannot be made .KeyError: 'weights'"),
        ("my_networks:number", "is an int; name a function or class"),
        ("my_networks:tuples", "gave tuple for N = 2"),
        ("my_networks:maps@none.pth", "none.pth: no such file"),
        ("my_networks:maps@w.txt", "weights end in .safetensors"),
        ("torchhub:nowhere", "is not torchhub:PLACE:ENTRY"),
        ("torchhub:nowhere:net", "is no folder, and .* holds no copy of it; clone the repository"),
        ("torchhub:.:net", r"\. has no hubconf.py"),
    ],
)
def test_networks_that_cannot_be_made(own: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_pretrained(name)


@pytest.mark.slow
def test_a_clone_of_torch_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import torchvision\n\ndef net(pretrained=True):\n"
        "    assert not pretrained\n    return torchvision.models.resnet18(weights=None)\n"
    )
    clone = tmp_path / "hub" / "them_nets_main"
    clone.mkdir(parents=True)
    (clone / "hubconf.py").write_text(code)
    theirs = torchvision.models.resnet18(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    for place in ("them/nets", str(clone)):
        with pytest.warns(ForeignWeights) as caught:
            found = load_pretrained(f"torchhub:{place}:net@{tmp_path / 'w.pth'}", image_size=40)
        assert ["its last part 'fc' is taken off, as a head" in str(each.message) for each in caught] == [True, False]
        with torch.no_grad():
            torch.testing.assert_close(theirs.fc(found.encoder(IMAGES)), theirs((IMAGES - MEAN) / STD))
    with pytest.raises(InputError, match="cannot be made .AssertionError"):
        load_pretrained("torchhub:them/nets:net")


def test_a_clone_is_looked_in_first_and_no_longer_than_its_network_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, size in ((tmp_path / "clone", 2), (tmp_path / "others", 3)):
        folder.mkdir()
        code = f"from torch import nn\n\ndef net():\n    return nn.Sequential(nn.AdaptiveAvgPool2d({size}), nn.Flatten())\n"
        (folder / "parts_beside.py").write_text(code)
    more = "import sys; sys.path += ['more', sys.path[0]]\nfrom parts_beside import net\n"
    (tmp_path / "clone" / "hubconf.py").write_text(more)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "others"), *sys.path])
    before = list(sys.path)
    found = load_pretrained(f"torchhub:{tmp_path / 'clone'}:net", image_size=8)
    sys.modules.pop("parts_beside")
    assert found.encoder(torch.zeros(1, 3, 8, 8)).shape == (1, 12)
    # What code of the user's adds it may need when it is called; the clone itself is gone.
    assert sys.path == [*before, "more"]


def test_paths_and_names_with_an_at_sign(tmp_path: Path) -> None:
    assert split_weights(str(tmp_path / "a@b")) == (str(tmp_path / "a@b"), None)
    with pytest.raises(InputError, match="is not a run folder"):
        load_pretrained(str(tmp_path / "a@b"))


def test_an_output_object_outside_of_the_wrapper_is_told_its_name() -> None:
    class Theirs(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"last_hidden_state": x.flatten(2), "pooler_output": x.mean((2, 3))}

    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(InputError, match=r"wrap it: metatc2.models.ForeignEncoder\(network, mean, std\)"):
        extract(Theirs(), images)
    assert extract(ForeignEncoder(Theirs()), images).shape == (2, 3)


def test_a_folder_of_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("resnet10t", num_classes=5).eval()
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    about = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7], "input_size": [3, 40, 40]}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet10t", "pretrained_cfg": about}))
    with pytest.warns(ForeignWeights, match="2 other tensors are left out"):
        found = load_pretrained(str(tmp_path))
    mean, std = (torch.tensor(about[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        torch.testing.assert_close(theirs.fc(found.encoder(IMAGES)), theirs((IMAGES - mean) / std))
    assert (found.channels, found.image_size) == (3, 40)


class Model(nn.Module):
    """Such as transformers' AutoModel makes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 4, 4)
        self.pooler: nn.Module | None = nn.Linear(6, 6)
        self.config = types.SimpleNamespace(num_channels=3, image_size=16)

    def forward(self, pixel_values: Tensor) -> Any:
        hidden = self.stem(pixel_values).flatten(2).transpose(1, 2)
        pooled = None if self.pooler is None else self.pooler(hidden[:, 0])
        return types.SimpleNamespace(last_hidden_state=hidden, pooler_output=pooled)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ([], ""),
        (["pooler.weight", "pooler.bias"], "its pooler has no weights"),
        (["stem.bias"], "1 of its tensors are missing"),
    ],
)
def test_a_folder_of_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: list[str], said: str
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}'
    )
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackage, match=r"pip install 'metatc2\[transformers\]'"):
        from_pretrained(tmp_path)
    torch.manual_seed(0)
    model = Model()
    asked: dict[str, Any] = {}

    def load(_: Path, **words: Any) -> Any:
        asked.update(words)
        return model, {"missing_keys": missing}

    theirs = types.SimpleNamespace(AutoModel=types.SimpleNamespace(from_pretrained=load))
    monkeypatch.setitem(sys.modules, "transformers", theirs)
    if missing == ["stem.bias"]:
        with pytest.raises(InputError, match=said):
            from_pretrained(tmp_path)
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = from_pretrained(tmp_path)
    assert asked["trust_remote_code"] is False
    assert [said in str(each.message) for each in caught] == [True] * bool(missing)
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        out = model((images - 0.5) / 0.25)
        right = out.last_hidden_state[:, 0] if missing else out.pooler_output
        torch.testing.assert_close(found.encoder(images), right)


@pytest.mark.parametrize("network", ["torchvision:resnet18:random", "timm:resnet10t:random", "torch.nn:Flatten"])
@pytest.mark.parametrize("key", ["image_size", "channels"])
@pytest.mark.parametrize("value", [True, 32.5, "32", 0, -1])
def test_sizes_that_are_no_counts_are_refused(network: str, key: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{network}: {key} must be "):
        load_pretrained(network, **{key: value})


@pytest.mark.parametrize("name", ["torchhub:~no-such-user/clone:net", "torchvision:resnet18@~no-such-user/w.pth"])
def test_a_home_that_there_is_not_is_a_place_that_is_not_there(name: str) -> None:
    with pytest.raises(InputError, match="~no-such-user"):
        load_pretrained(name)


def test_the_name_of_a_network_alone_is_answered_with_how_to_write_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"torchvision has a network of that name: write torchvision:resnet18@FILE\.pth"
    ):
        load_pretrained("resnet18")
