"""Any encoder by name: run folders, exported folders, weights with a configuration, torchvision, timm."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from metatc2.data import load
from metatc2.errors import InputError
from metatc2.experiment.hub import from_pretrained, save_pretrained
from metatc2.experiment.load import load_pretrained
from metatc2.experiment.run import load_run
from metatc2.experiment.transfer import transfer
from metatc2.io.safetensors_file import tensors_sha256
from metatc2.models.registry import build_encoder
from metatc2.transfer import expand_targets

from ..command_line import call

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")

SMALL = [
    "encoder.width=8",
    "episode.batch=32",
    "calibration.adapt=shared",  # whose features at test time are measured too
    "trainer.log_every=100",
]
ENCODER_TOML = '[data]\nsource = "elsewhere"\nchannels = 3\nimage_size = 32\n[encoder]\nname = "conv4"\nwidth = 8\n'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("open") / "run"
    assert call("pretrain", "digits", "--steps", "2", "--run", str(path), "--set", *SMALL) == 0
    return path


def same(a: nn.Module, b: nn.Module, images: torch.Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(a(images), b(images), rtol=0, atol=0)


def test_an_exported_folder_is_the_run(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    assert call("export", str(run), str(folder)) == 0
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "calibrator.safetensors",
        "config.json",
        "model.safetensors",
    ]
    ours, theirs = load_pretrained(str(run)), load_pretrained(str(folder))
    images = torch.rand(3, 1, 28, 28)
    same(ours.encoder, theirs.encoder, images)
    same(ours.features("calibrated"), theirs.features("calibrated"), images)
    assert (ours.seen, ours.sha256, ours.source) == (theirs.seen, theirs.sha256, theirs.source)
    assert (
        load_run(run).config.encoder.width
        == json.loads((folder / "config.json").read_text())["config"]["encoder"]["width"]
    )
    with pytest.raises(InputError, match="exists already"):
        save_pretrained(run, folder)


def test_classes_of_an_exported_encoder_are_still_known(run: Path, tmp_path: Path) -> None:
    save_pretrained(run, tmp_path / "mine")
    words = ["transfer", str(tmp_path / "mine"), "--out", str(tmp_path / "out"), "--episodes", "5", "--way", "2"]
    assert call(*words, "--to", "digits:all") == 2
    assert not (tmp_path / "out").exists()
    assert call(*words, "--to", "digits:meta-test") == 0
    assert (tmp_path / "out" / "transfer.json").exists()


@pytest.mark.slow
def test_features_are_kept_and_used_again(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["transfer", str(run), "--out", str(out), "--episodes", "5", "--way", "2", "--to", "digits:meta-test"]
    assert call(*words) == 0
    files = sorted((out / "features").iterdir())
    assert len(files) == 3, "encoder, calibrated, random encoder"
    before = (out / "transfer.json").read_bytes()
    # What is kept is what is used: other features in a file change the result, a damaged file is computed again.
    from safetensors import safe_open

    with safe_open(files[0], "pt") as content:
        features, facts = content.get_tensor("features"), content.metadata()
    other = {"features": torch.zeros_like(features) + torch.arange(len(features))[:, None]}
    save_file(other, files[0], facts)
    assert call(*words) == 0
    assert (out / "transfer.json").read_bytes() == before, "not what was written, as its checksum says"
    save_file(other, files[0], {**facts, "sha256": tensors_sha256(other)})
    assert call(*words) == 0
    assert (out / "transfer.json").read_bytes() != before
    files[0].write_bytes(files[0].read_bytes()[:50])
    assert call(*words) == 0
    assert (out / "transfer.json").read_bytes() == before


@pytest.mark.slow
def test_weights_with_a_configuration(tmp_path: Path) -> None:
    encoder = build_encoder("conv4", channels=3, image_size=32, width=8).eval()
    save_file(encoder.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(
        InputError,
        match=r"no configuration .*config.toml; name .*torchvision:MODEL@.*name one with --config",
    ):
        load_pretrained(str(tmp_path / "w.safetensors"))
    (tmp_path / "config.toml").write_text(ENCODER_TOML)
    found = load_pretrained(str(tmp_path / "w.safetensors"))
    same(found.encoder, encoder, torch.rand(2, 3, 32, 32))
    assert (found.channels, found.image_size) == (3, 32)

    other = tmp_path / "other.toml"
    other.write_text(ENCODER_TOML.replace("8", "16"))
    with pytest.raises(InputError, match=r"w.safetensors does not fit the encoder that .*other.toml names"):
        load_pretrained(str(tmp_path / "w.safetensors"), config=other)
    other.write_text('[encoder]\nname = "conv4"\n')
    with pytest.raises(InputError, match="does not say what images"):
        load_pretrained(str(tmp_path / "w.safetensors"), config=other)


def test_a_layer_is_recorded(run: Path, tmp_path: Path) -> None:
    words = ["transfer", str(run), "--to", "digits:meta-test", "--episodes", "5", "--way", "2", "--out", str(tmp_path)]
    assert call(*words, "--layer", "blocks.1") == 0
    rows = json.loads((tmp_path / "transfer.json").read_text())
    assert {row["layer"] for row in rows} == {"blocks.1"}
    assert {row["features"] for row in rows} == {"encoder", "random encoder", "raw pixels"}
    assert call(*words, "--layer", "block") == 2


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_torchvision_with_weights_that_are_here(hub: Path) -> None:
    theirs = torchvision.models.shufflenet_v2_x0_5(weights=None)
    with pytest.raises(InputError, match="its weights are not on this machine"):
        load_pretrained("torchvision:shufflenet_v2_x0_5")
    torch.save(theirs.state_dict(), hub / "shufflenetv2_x0.5-f707e7126e.pth")
    found = load_pretrained("torchvision:shufflenet_v2_x0_5", image_size=64)
    assert (found.channels, found.image_size, found.source) == (3, 64, "imagenet")
    assert found.seen is not None
    assert "goldfish" in found.seen.names
    images = torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    logits = theirs.eval()((images - mean) / std)
    torch.testing.assert_close(theirs.fc(found.encoder(images)), logits)
    assert load_pretrained("torchvision:shufflenet_v2_x0_5:random", image_size=64).seen is None


LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in ("vit_b_16", "convnext_tiny", "alexnet", "swin_t")]


@pytest.mark.parametrize("name", ["efficientnet_b0", *LARGE])
def test_torchvision_families_lose_their_classifier(name: str) -> None:
    found = load_pretrained(f"torchvision:{name}:random")
    with torch.no_grad():
        assert found.encoder(torch.rand(1, 3, found.image_size, found.image_size)).ndim == 2


def test_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    import huggingface_hub

    with pytest.raises(InputError, match=r"timm:resnet10t: its weights are not on this machine"):
        load_pretrained("timm:resnet10t")
    theirs = timm.create_model("resnet10t", pretrained=False)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(tmp_path / "model.safetensors"))
    found = load_pretrained("timm:resnet10t", image_size=64)
    images = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(theirs.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    logits = theirs.eval()((images - mean) / std)
    torch.testing.assert_close(theirs.get_classifier()(found.encoder(images)), logits)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet19", "did you mean resnet1"),
        ("timm:resnt18", "did you mean resnet18"),
        ("torchvision:resnet18:best", "is not ZOO:MODEL, ZOO:MODEL:random or ZOO:MODEL@FILE"),
        ("torchvision:squeezenet1_0:random", "does not end in a linear layer"),
        ("nowhere", "is not a run folder"),
        ("hub:nobody/nothing", "is not in the Hub's cache; allow the download"),
        ("hub:a/b/c", "neither a folder nor a name on the Hub"),
    ],
)
def test_names_that_are_none(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_pretrained(name)


def test_damaged_folders(run: Path, tmp_path: Path) -> None:
    folder = save_pretrained(run, tmp_path / "mine")
    (folder / "config.json").write_text('{"layers": 3}')
    with pytest.raises(InputError, match="was not written by metatc2, timm or transformers"):
        from_pretrained(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match="is not valid JSON"):
        from_pretrained(folder)
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(InputError, match="has no config.json"):
        from_pretrained(folder)


def test_images_of_another_size_are_refused(run: Path, tmp_path: Path) -> None:
    encoder = load_pretrained(str(run))
    targets = expand_targets(load("digits", image_size=32, channels=1), "meta-test", seen=encoder.seen)
    with pytest.raises(InputError, match=r"images are 1 × 32 × 32 and .* takes 1 × 28 × 28; load the target with"):
        transfer(encoder, targets=targets, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def rows_of(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "transfer.json").read_text())
    return found


def test_layers_have_features_and_rows_of_their_own(run: Path, tmp_path: Path) -> None:
    words = [
        "transfer",
        str(run),
        "--to",
        "digits:meta-test",
        "--episodes",
        "30",
        "--way",
        "3",
        "--out",
        str(tmp_path / "o"),
    ]
    for layer in ("output", "blocks.0", "blocks.1"):
        assert call(*words, "--layer", layer) == 0
    own = [row for row in rows_of(tmp_path / "o") if row["features"] == "encoder" and row["facts"]["head"] == "cosine"]
    assert sorted({row["layer"] for row in own}) == ["blocks.0", "blocks.1", "output"]
    assert len({row["encoder_sha256"] for row in own}) == 1
    means = {row["layer"]: row["mean"] for row in own if row["facts"]["shot"] == 5}
    assert means["blocks.0"] != means["blocks.1"]


@pytest.mark.slow
def test_a_results_folder_belongs_to_one_encoder_and_can_be_compared(run: Path, tmp_path: Path) -> None:
    to = ["--to", "digits:meta-test", "--episodes", "10", "--way", "3", "--shot", "1"]
    save_pretrained(run, tmp_path / "mine")
    assert call("transfer", str(run), *to) == 0
    assert call("transfer", str(tmp_path / "mine"), *to, "--out", str(tmp_path / "a")) == 0
    zoo = ["torchvision:shufflenet_v2_x0_5:random", "--image-size", "32", *to]
    before = (tmp_path / "a" / "transfer.json").read_bytes()
    assert call("transfer", *zoo, "--out", str(tmp_path / "a")) == 2
    assert (tmp_path / "a" / "transfer.json").read_bytes() == before
    assert call("compare", str(run), str(tmp_path / "a"), "--json", str(tmp_path / "c.json")) == 0
    assert all(d["difference"] == 0 for d in json.loads((tmp_path / "c.json").read_text()))
    assert call("matrix", str(run), str(tmp_path / "a")) == 0
    file = tmp_path / "file"
    file.touch()
    assert call("transfer", str(run), *to, "--out", str(file)) == 2


def test_flags_that_do_not_apply_are_refused(run: Path) -> None:
    with pytest.raises(InputError, match="image_size and channels are for networks by name"):
        load_pretrained(str(run), image_size=64)
    with pytest.raises(InputError, match=r"goes with FILE.safetensors alone"):
        load_pretrained(str(run), config=Path("x.toml"))
    with pytest.raises(InputError, match="image_size must be at least 1"):
        load_pretrained("torchvision:resnet18:random", image_size=0)
