"""Exported encoders: each form is loaded as others load it and computes what the encoder computes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from metatc2.errors import InputError, MissingPackage
from metatc2.experiment import export_formats
from metatc2.experiment.export_formats import FORMATS
from metatc2.experiment.hub import from_pretrained, save_pretrained
from metatc2.experiment.load import load_pretrained
from metatc2.experiment.model_card import model_card
from metatc2.experiment.pretrained import Pretrained
from metatc2.experiment.transfer import transfer
from metatc2.models.registry import build_encoder
from metatc2.transfer import FewShot, Row

from ..command_line import PATIENCE, call

pytestmark = pytest.mark.filterwarnings(
    "ignore::metatc2.training.HealthWarning",
    "ignore::metatc2.experiment.transfer.UncheckedClasses",
    "ignore::metatc2.models.foreign_weights.ForeignWeights",
)


def small(name: str = "its name") -> Pretrained:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Pretrained(name, module.eval(), 3, 16)


def run_code(card: str, file: str, folder: Path, images: Tensor) -> Tensor:
    """What the card says for a file, run where the folder is."""
    code = card.split(f"`{file}`")[1].split("```python\n")[1].split("```")[0]
    code = code.replace(f'"{file}"', repr(str(folder / file)))
    names: dict[str, Any] = {"images": images}
    with torch.no_grad():
        exec(compile(code, "model card", "exec"), names)
    return names["features"]  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_module_without_a_name_is_loaded_by_torch_alone_in_another_process(tmp_path: Path) -> None:
    encoder = small()
    encoder.encoder.train()
    save_pretrained(encoder, tmp_path / "mine", formats=["torch-export"])
    assert encoder.encoder.training  # as it was
    images = torch.rand(5, 3, 16, 16)
    torch.save(images, tmp_path / "images.pt")
    code = (
        "import sys, torch\n"
        f"encoder = torch.export.load({str(tmp_path / 'mine' / 'encoder.pt2')!r}).module()\n"
        f"torch.save(encoder(torch.load({str(tmp_path / 'images.pt')!r})).detach(), {str(tmp_path / 'features.pt')!r})\n"
        "assert not any(name.startswith('metatc2') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE, env={}, cwd=tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(torch.load(tmp_path / "features.pt"), encoder.encoder.eval()(images))
    with pytest.raises(InputError, match="names no network.*torch.export.load"):
        from_pretrained(tmp_path / "mine")


def test_torch_export_takes_any_number_of_images(tmp_path: Path) -> None:
    encoder = small()
    save_pretrained(encoder, tmp_path / "mine", formats=["torch-export"])
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "any number of images of 16 × 16 pixels" in card
    for count in (1, 7):
        images = torch.rand(count, 3, 16, 16)
        with torch.no_grad():
            torch.testing.assert_close(
                run_code(card, "encoder.pt2", tmp_path / "mine", images), encoder.encoder(images)
            )


def test_names_of_torchvision(tmp_path: Path) -> None:
    encoder = load_pretrained("torchvision:shufflenet_v2_x0_5:random", image_size=40)
    exported = FORMATS["torchvision"](encoder)
    assert "network.fc = torch.nn.Identity()" in exported.how
    assert exported.difference < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("network", ["ours", "torchvision:resnet18"])
def test_names_of_torchvision_and_timm(tmp_path: Path, network: str) -> None:
    pytest.importorskip("timm")
    if network == "ours":
        torch.manual_seed(0)
        encoder = Pretrained("ours", build_encoder("resnet18", channels=3, image_size=65).eval(), 3, 65)
        encoder = replace(encoder, network="resnet18")
    else:
        encoder = load_pretrained(f"{network}:random", image_size=65)
    save_pretrained(encoder, tmp_path / "mine", formats=["torchvision", "timm"])
    card = (tmp_path / "mine" / "README.md").read_text()
    images = torch.rand(2, 3, 65, 65)
    with torch.no_grad():
        right = encoder.encoder(images)
    for file in ("torchvision.pth", "timm.safetensors"):
        torch.testing.assert_close(run_code(card, file, tmp_path / "mine", images), right, rtol=1e-3, atol=1e-4)
    if network != "ours":
        again = from_pretrained(tmp_path / "mine")
        assert (again.network, again.image_size) == (network, 65)
        with torch.no_grad():
            assert torch.equal(again.encoder(images), right)


def test_resnets_that_both_have_get_torchvisions_names() -> None:
    pytest.importorskip("timm")
    theirs = load_pretrained("timm:resnet18:random", image_size=33)
    exported = FORMATS["torchvision"](replace(theirs, network="timm:resnet18.a1_in1k"))  # with the name of its weights
    assert "network = torchvision.models.resnet18()" in exported.how
    assert exported.difference < 1e-5


@pytest.mark.parametrize(
    ("network", "name"), [("timm:resnet10t", "torchvision"), ("torchvision:shufflenet_v2_x0_5", "timm")]
)
def test_networks_of_one_alone_are_refused_with_what_there_is(network: str, name: str) -> None:
    pytest.importorskip("timm")
    encoder = load_pretrained(f"{network}:random", image_size=40)
    own = network.partition(":")[0]
    with pytest.raises(
        InputError, match=rf"resnet18, .*; use the format {own} \(its own names\), torch-export or onnx"
    ):
        FORMATS[name](encoder)


@pytest.mark.parametrize("name", ["resnet10t", pytest.param("vit_tiny_patch16_224", marks=pytest.mark.slow)])
def test_names_of_timm_of_its_own_networks(tmp_path: Path, name: str) -> None:
    pytest.importorskip("timm")
    encoder = load_pretrained(f"timm:{name}:random", image_size=32)
    save_pretrained(encoder, tmp_path / "mine", formats=["timm"])
    card = (tmp_path / "mine" / "README.md").read_text()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            run_code(card, "timm.safetensors", tmp_path / "mine", images), encoder.encoder(images)
        )


@pytest.mark.slow
def test_onnx(tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    encoder = small()
    exported = FORMATS["onnx"](encoder)
    assert exported.difference < 1e-5


def test_onnx_names_the_command_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingPackage, match=r"needs onnx; pip install 'metatc2\[onnx\]'"):
        save_pretrained(small(), tmp_path / "mine", formats=["onnx"])
    assert not (tmp_path / "mine").exists()


def test_what_computes_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Program:
        def module(self) -> Any:
            encoder = small().encoder
            return lambda images: 1.01 * encoder(images)

    monkeypatch.setattr(torch.export, "load", lambda _: Program())
    with pytest.raises(InputError, match=r"as torch-export computes something else: its features differ by 1.0e-02"):
        save_pretrained(small(), tmp_path / "mine", formats=["torch-export"])
    assert not (tmp_path / "mine").exists()


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if float(x.sum()) > 0 else x.amax((2, 3))


@pytest.mark.parametrize(
    ("encoder", "name", "said"),
    [
        (small(), "torchscript", "unknown format 'torchscript'; .*Known: onnx, timm, torch-export, torchvision"),
        (small(), "torchvision", "is no network of torchvision's, whose names are those of torchvision:MODEL, ResNets"),
        (small(), "timm", "is no network of timm's"),
        (Pretrained("b", Branching(), 3, 8), "torch-export", "b cannot be exported by torch.export"),
        (
            Pretrained("s", build_encoder("resnet18", channels=3, image_size=32), 3, 32, network="resnet18"),
            "torchvision",
            "is a ResNet for images up to 64 pixels",
        ),
    ],
    ids=["unknown", "torchvision", "timm", "branching", "small images"],
)
def test_what_cannot_be_had(tmp_path: Path, encoder: Pretrained, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        save_pretrained(encoder, tmp_path / "mine", formats=[name])
    assert not (tmp_path / "mine").exists()
    with pytest.raises(InputError, match="does not say what images it takes"):
        save_pretrained(nn.Flatten(), tmp_path / "mine")  # type: ignore[arg-type]


def test_the_card_of_a_run_says_all_that_is_known(tmp_path: Path) -> None:
    words = ["--steps", "1", "--set", "encoder.width=4", "episode.batch=32", "--run", str(tmp_path / "run")]
    assert call("pretrain", "digits", "--objective", "simclr", "--calibration", "none", *words) == 0
    assert call("export", str(tmp_path / "run"), str(tmp_path / "first")) == 0
    assert "Not measured." in (tmp_path / "first" / "README.md").read_text()
    assert "license:" not in (tmp_path / "first" / "README.md").read_text()
    to = ["--to", "digits:meta-test", "--shot", "1", "--way", "2", "--head", "cosine", "--episodes", "5"]
    assert call("transfer", str(tmp_path / "run"), *to) == 0
    assert call("export", str(tmp_path / "run"), str(tmp_path / "mine"), "--license", "mit") == 0
    card = (tmp_path / "mine" / "README.md").read_text()
    rows = json.loads((tmp_path / "run" / "transfer.json").read_text())
    cells = {row["features"]: f"{100 * row['mean']:.1f} ± {100 * row['ci95']:.1f}" for row in rows}
    line = " | ".join(cells[kind] for kind in ("encoder", "random encoder", "raw pixels"))
    assert f"| digits:meta-test | 2-way 1-shot | cosine | {line} |" in card
    for part in ("license: mit\n", "simclr, encoder `conv4`, pre-trained on `digits` (meta-train) for 1 steps, seed 0"):
        assert part in card
    assert "1 × 28 × 28 in [0, 1]" in card


def test_rows_of_another_encoder_do_not_get_into_a_card(tmp_path: Path) -> None:
    one, other = small("one"), small("other")
    nn.init.zeros_(other.encoder[0].weight)  # type: ignore[index, arg-type]
    protocols = [FewShot(ways=(2,), shots=(1,), episodes=2)]
    rows = transfer(one, targets=["digits"], protocols=protocols, out=tmp_path / "results")
    with pytest.raises(InputError, match="holds the results of another encoder than other"):
        save_pretrained(other, tmp_path / "mine", results=tmp_path / "results")
    with pytest.raises(InputError, match="holds no results"):
        save_pretrained(one, tmp_path / "mine", results=tmp_path)
    save_pretrained(one, tmp_path / "mine", results=tmp_path / "results")
    card = (tmp_path / "mine" / "README.md").read_text()
    assert f"{100 * rows[0].mean:.1f}" in card


def test_a_classifier_is_written_as_python_has_it() -> None:
    assert [export_formats._written(path) for path in ("fc", "heads.head", "classifier.6")] == [
        "fc",
        "heads.head",
        "classifier[6]",
    ]
    network = torchvision.models.mobilenet_v2(weights=None)
    exec(
        f"network.{export_formats._written('classifier.1')} = Identity()", {"network": network, "Identity": nn.Identity}
    )
    assert isinstance(network.classifier[1], nn.Identity)


def test_nothing_in_a_card_is_more_than_text(tmp_path: Path) -> None:
    """Where it was trained is what a folder says, which may be a stranger's."""
    hostile = "folder:x` <img src=//y>\n---\nlicense: mit | [a](b)\udcff"
    save_pretrained(replace(small(), source=hostile, network=""), tmp_path / "mine")
    card = (tmp_path / "mine" / "README.md").read_text()
    assert r"trained on `` folder:x` <img src=//y>\n---\nlicense: mit | [a](b)\udcff ``." in card
    assert card.count("\n---\n") == 1
    about: dict[str, Any] = {"protocol": "knn", "source": "a", "split": "all", "seed": 0, "encoder_sha256": ""}
    rows = [Row(**about, target="b<i>|[c](d)\n\nx", mean=0.5, ci95=0.1, note="<script>")]
    shown = model_card(small(), None, rows, [], None)
    assert r"| b\<i\>\|\[c\](d)\\n\\nx |" in shown
    assert "<script>" not in shown


def test_a_folder_named_as_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mine\.onnx: an export is a folder.*name it \S*mine, and say .* by --format"):
        save_pretrained(small(), tmp_path / "mine.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("license", ["mit\ntags: [a]", "MIT", "", "a b", "mit: x", "-"])
def test_a_license_that_is_none_is_refused_before_the_work(tmp_path: Path, license: str) -> None:
    with pytest.raises(InputError, match="is no identifier of the Hub"):
        save_pretrained(small(), tmp_path / "mine", license=license)
    assert not (tmp_path / "mine").exists()


def test_the_card_says_how_a_network_without_a_name_and_one_of_own_code_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = small()
    save_pretrained(given, tmp_path / "mine")
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "from_pretrained(" not in card
    code = card.partition("```python\n")[2].partition("```")[0]
    network = small().encoder
    exec(code.replace("FOLDER", str(tmp_path / "mine")), {"network": network})
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(network.eval()(images), given.encoder.eval()(images))
    (tmp_path / "card_nets.py").write_text("from torch import nn\n\n\ndef net():\n    return nn.Conv2d(3, 4, 3)\n")
    monkeypatch.chdir(tmp_path)
    assert call("export", "card_nets:net", "own", "--image-size", "16") == 0
    assert "METATC2_TRUST=card_nets metatc2 transfer own" in " ".join(capsys.readouterr().err.split())
    assert (
        "imported only where the environment says `METATC2_TRUST=card_nets`"
        in (tmp_path / "own" / "README.md").read_text()
    )
    monkeypatch.delitem(sys.modules, "card_nets")
    with pytest.raises(InputError, match="METATC2_TRUST=card_nets"):
        from_pretrained(tmp_path / "own")
    monkeypatch.setenv("METATC2_TRUST", "card_nets")
    assert from_pretrained(tmp_path / "own").channels == 3


def test_the_card_of_a_clone_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hubconf.py").write_text(
        "from torch import nn\n\n\ndef net(**options):\n    return nn.Conv2d(3, 4, 3)\n"
    )
    monkeypatch.chdir(tmp_path)
    torch.save(torch.nn.Conv2d(3, 4, 3).state_dict(), "w.pt")
    given = load_pretrained("torchhub:.:net@w.pt", image_size=8)
    save_pretrained(given, tmp_path / "own")
    code = (tmp_path / "own" / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    made: dict[str, Any] = {}
    exec(code.replace("FOLDER", str(tmp_path / "own")), made)
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(made["encoder"](images), given.encoder(images))
