"""Features that another program computed: the numbers of the protocols on them are those of the features themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metatc2.data import load
from metatc2.errors import InputError
from metatc2.experiment.hub import save_pretrained
from metatc2.experiment.load import load_pretrained
from metatc2.experiment.targets import Sources
from metatc2.experiment.transfer import transfer
from metatc2.transfer import FewShot, Linear, few_shot, sample_episodes
from metatc2.transfer.protocols.few_shot import episodes_seed

from ..command_line import call

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.experiment.transfer.UncheckedClasses")
GENERATOR = np.random.default_rng(0)
LABELS = np.arange(600) % 6
FEATURES = (GENERATOR.normal(size=(600, 8)) + 3 * np.eye(8)[LABELS]).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.savez(tmp_path / "a.npz", features=FEATURES, labels=np.array(list("uvwxyz"))[LABELS])
    return tmp_path / "a.npz"


@pytest.mark.slow
def test_the_rows_are_those_of_the_features(file: Path) -> None:
    name = f"features:{file}"
    found = load_pretrained(name)
    store = load(name)
    assert torch.equal(found.encoder(store.images.float() / 255), torch.from_numpy(FEATURES))
    assert store.class_names == tuple("uvwxyz")
    out = file.parent / "out"
    rows = transfer(found, protocols=[FewShot(shots=(1,), episodes=50, heads=("cosine",)), Linear()], out=out)
    assert [(row.protocol, row.features) for row in rows] == [("few-shot", "encoder"), ("linear", "encoder")]
    seed = episodes_seed(f"{name}:all", 5, 1)
    drawn = sample_episodes(
        store.labels, way=5, shot=1, query=15, episodes=50, generator=torch.Generator().manual_seed(seed)
    )
    right = few_shot(torch.from_numpy(FEATURES), drawn, "cosine")
    assert rows[0].mean == pytest.approx(float(right.mean()))
    assert rows[1].mean > 0.8


def test_from_the_command_line_and_paired_with_other_features_of_the_same_images(file: Path) -> None:
    np.savez(file.parent / "b.npz", features=FEATURES[:, ::-1] + GENERATOR.normal(size=(600, 8)), labels=LABELS)
    words = ["--episodes", "30", "--head", "cosine", "--shot", "1"]
    for name in "ab":
        path = file.parent / f"{name}.npz"
        to = [] if name == "a" else ["--to", f"features:{file}"]
        assert call("transfer", f"features:{path}", *to, *words, "--out", str(file.parent / name)) == 0
    compared = file.parent / "c.json"
    assert call("compare", str(file.parent / "a"), str(file.parent / "b"), "--json", str(compared)) == 0
    (difference,) = json.loads(compared.read_text())
    assert difference["difference"] > 0


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"labels": LABELS}, "no array 'features' .it holds labels."),
        ({"features": FEATURES.astype(int)}, r"'features' must be floating point \(N, D\).*int64"),
        ({"features": FEATURES[0]}, r"got float32 \(8,\)"),
        ({"features": np.full((2, 3), np.nan)}, "2 of 2 rows are NaN or infinite .first 0."),
        ({"features": FEATURES, "labels": LABELS[:3]}, "'labels' must be whole numbers"),
    ],
)
def test_what_is_no_archive_of_features(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(InputError, match=said):
        load_pretrained(f"features:{tmp_path / 'x.npz'}")


def test_what_needs_images_and_other_labels_are_refused(file: Path) -> None:
    found, out = load_pretrained(f"features:{file}"), file.parent / "out"
    for protocol in ("corruption", "fine-tune", "semi-supervised-fine-tune", "augmentation"):
        with pytest.raises(InputError, match=f"holds features, and {protocol} needs images"):
            transfer(found, protocols=[protocol], out=out)
    with pytest.raises(InputError, match="holds features and no images, so no encoder can be measured on it"):
        transfer("torchvision:resnet18:random", targets=[f"features:{file}"], image_size=32, out=out)
    np.savez(file.parent / "b.npz", features=FEATURES, labels=LABELS[::-1])
    with pytest.raises(InputError, match="labels are not those of the features"):
        transfer(found, targets=[f"features:{file.parent / 'b.npz'}"], out=out)
    assert not out.exists()


def test_pixels_are_never_taken_for_numbers_of_rows(tmp_path: Path) -> None:
    """Images of two pixels a side with the same labels as the features are as large as what stands for a row."""
    np.savez(tmp_path / "a.npz", features=FEATURES, labels=LABELS)
    np.savez(tmp_path / "images.npz", images=np.zeros((600, 2, 2), dtype=np.uint8), labels=LABELS)
    found = load_pretrained(f"features:{tmp_path / 'a.npz'}")
    for stream in (False, True):
        with pytest.raises(InputError, match="holds images, and precomputed features are measured on the rows"):
            transfer(
                found,
                targets=[f"npz:{tmp_path / 'images.npz'}"],
                protocols=["knn"],
                out=tmp_path / "out",
                sources=Sources(stream=stream),
            )
    assert not (tmp_path / "out").exists()


def test_features_are_nothing_to_pre_train_on(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("pretrain", f"features:{file}"), ("advise", f"features:{file}"), ("pretrain", "digits", "--set")):
        where = ["--folder" if words[0] == "advise" else "--run", str(tmp_path / "run")]
        source = [f"data.source=features:{file}"] if words[-1] == "--set" else []
        assert call(*words, *source, *where) == 2
        assert "holds features and no images to pre-train on" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_features_without_labels_say_how_they_get_some(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=FEATURES)
    with pytest.raises(
        InputError, match=r"of one class, '0'.*the archive has no array 'labels'.*features=\.\.\., labels"
    ):
        transfer(f"features:{tmp_path / 'a.npz'}", out=tmp_path / "out")


def test_features_are_not_exported(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="export: features:.*a.npz holds features and no network"):
        save_pretrained(f"features:{file}", tmp_path / "out")
    assert not (tmp_path / "out").exists()
