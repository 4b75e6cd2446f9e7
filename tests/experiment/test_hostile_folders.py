"""A folder of an encoder may be a stranger's: whatever it says its network is, no code of it runs, and none is fetched."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from metatc2.errors import InputError, MissingPackage
from metatc2.experiment.hub import from_pretrained
from metatc2.experiment.load import load_pretrained

CODE = """
from pathlib import Path
from torch import nn

Path({ran!r}).touch()

def network(*arguments, **more):
    Path({ran!r}).touch()
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With code in it, where torch.hub would look and where Python would from the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "strangers", raising=False)
    place = tmp_path / "encoder"
    place.mkdir()
    for file in (place / "hubconf.py", place / "strangers.py", tmp_path / "strangers.py"):
        file.write_text(CODE.format(ran=str(tmp_path / "ran")))
    save_file({"0.weight": torch.zeros(4, 3, 3, 3), "0.bias": torch.zeros(4)}, place / "model.safetensors")
    return place


def says(folder: Path, **content: Any) -> None:
    (folder / "config.json").write_text(json.dumps(content))


def of_network(folder: Path, network: str) -> None:
    says(folder, model_type="metatc2", network=network, channels=3, image_size=16, source="unknown")


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ("strangers:network", "METATC2_TRUST=strangers"),
        ("encoder.strangers:network", "METATC2_TRUST=encoder.strangers"),
        ("os:abort", "METATC2_TRUST=os"),
        ("posix:abort", "METATC2_TRUST=posix"),
        ("torchhub:encoder:network", "name the code yourself: torchhub:encoder:network@"),
        ("torchhub:./encoder:network", "name the code yourself"),
        ("python:strangers:network", "its network 'python:strangers:network' is none"),
        ("hub:owner/name", "its network 'hub:owner/name' is none"),
        ("encoder", "its network 'encoder' is none"),
    ],
)
def test_a_network_that_is_code_is_not_made(folder: Path, network: str, said: str) -> None:
    of_network(folder, network)
    with pytest.raises(InputError) as refused:
        from_pretrained(folder)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (folder.parent / "ran").exists()


@pytest.mark.filterwarnings("ignore::metatc2.models.foreign_weights.ForeignWeights")
def test_what_the_user_types_or_trusts_is_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_network(folder, "strangers:network")
    typed = load_pretrained(f"strangers:network@{folder / 'model.safetensors'}", image_size=16)
    assert (folder.parent / "ran").exists()
    monkeypatch.delitem(sys.modules, "strangers")
    monkeypatch.setenv("METATC2_TRUST", "strangers")
    trusted = from_pretrained(folder).encoder
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(trusted(images), typed.encoder(images))


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [
        ("resnet18", {"checkpoint_path": "encoder/model.pth"}),
        ("resnet18", {"pretrained_cfg": {"url": "https://example.org/w.pth"}}),
        ("hf-hub:owner/name", {}),
        ("local-dir:encoder", {}),
        ("resnet18", ["checkpoint_path"]),
    ],
)
def test_timm_reads_nothing_else_for_a_folder(folder: Path, architecture: str, arguments: Any) -> None:
    pytest.importorskip("timm")
    says(folder, architecture=architecture, model_args=arguments)
    with pytest.raises(InputError, match="timm makes no"):
        from_pretrained(folder)


@pytest.mark.parametrize(
    "content",
    [
        {"model_type": "timm_backbone", "backbone": "hf-hub:owner/name"},
        {"model_type": "detr", "backbone": "resnet50", "use_timm_backbone": True},
        {"model_type": "detr", "backbone_kwargs": {"checkpoint_path": "w.pth"}},
        {
            "model_type": "paligemma",
            "vision_config": {"model_type": "timm_wrapper", "architecture": "hf-hub:owner/name"},
        },
        {"model_type": "vit", "parts": [{"model_args": {"checkpoint_path": "w.pth"}}]},
        {"model_type": "vit", "attn_implementation": "owner/kernel"},
        {"model_type": "clip", "vision_config": {"_attn_implementation": {"": "owner/kernel"}}},
        {"model_type": "vit", "quantization_config": {"quant_method": "any"}},
    ],
)
def test_transformers_is_not_asked_for_a_model_that_is_made_of_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch, content: dict[str, Any]
) -> None:
    """timm would read any file and fetch for it, and code of kernels would be fetched and run."""
    monkeypatch.setitem(sys.modules, "transformers", None)  # so it cannot have been asked
    says(folder, **content)
    with pytest.raises(InputError, match="makes its model of another one"):
        from_pretrained(folder)
    says(folder, model_type="vit", backbone=None, use_timm_backbone=False, attn_implementation="sdpa")
    with pytest.raises(MissingPackage):
        from_pretrained(folder)
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"makes its model of another one \(adapter_config\.json\)"):
        from_pretrained(folder)


@pytest.mark.filterwarnings("ignore::metatc2.models.foreign_weights.ForeignWeights")
@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ({"model_args": {"output_stride": 7}}, "AssertionError"),
        ({"model_args": {"cardinality": 0}}, "AssertionError"),
        ({"model_args": {"block": "x"}}, "AttributeError"),
        ({"model_args": {"act_layer": "nosuch"}}, "KeyError"),
        ({"pretrained_cfg": "x"}, ""),
        ({"mean": [10**400] * 3, "std": [1] * 3}, ""),
        ({"mean": [0, 0, 0], "std": [0, 0, 0]}, ""),
        ({"input_size": [3, 1.5, 1.5]}, ""),
    ],
)
def test_whatever_a_folder_of_timm_says_is_read_or_refused(folder: Path, said: dict[str, Any], refused: str) -> None:
    timm = pytest.importorskip("timm")
    save_file(timm.create_model("resnet10t", num_classes=0).state_dict(), folder / "model.safetensors")
    says(folder, **{"architecture": "resnet10t", "input_size": [3, 32, 32], **said})
    if refused:
        with pytest.raises(InputError, match=f"timm cannot make 'resnet10t' .{refused}"):
            from_pretrained(folder)
        return
    found = from_pretrained(folder)
    assert torch.isfinite(found.encoder(torch.rand(2, 3, 32, 32))).all()
