"""What holds for every torchvision data set, and formats that `test_torchvision_sets` leaves out.

Where torchvision checks the checksum of a published file, the test names that of its own file; the check itself runs.
"""

import hashlib
import importlib.util
import inspect
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torchvision
from PIL import Image
from torchvision import datasets

from metatc2.data import SOURCES, load
from metatc2.data.sources import torchvision as torchvision_sets
from metatc2.errors import InputError, MissingPackage

NAMES = sorted(name for name in SOURCES if isinstance(SOURCES[name], torchvision_sets.TorchvisionSource))


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def idx(file: Path, values: np.ndarray) -> None:
    """The format of MNIST: 0, 0, 8 (uint8), number of dimensions, their sizes, the values."""
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(head + values.astype(np.uint8).tobytes())


def test_emnist_and_qmnist(tmp_path: Path) -> None:
    for part, count in (("train", 94), ("test", 47)):
        raw = tmp_path / "EMNIST" / "raw"
        idx(raw / f"emnist-balanced-{part}-images-idx3-ubyte", noise(count, 28, 28))
        idx(raw / f"emnist-balanced-{part}-labels-idx1-ubyte", np.arange(count) % 47)
    store = load("emnist", root=tmp_path)
    assert len(store) == 141
    assert len(store.class_names) == 47
    assert store.class_names[10] == "A"
    for prefix, count in (("train", 6), ("test", 4)):
        raw = tmp_path / "QMNIST" / "raw"
        idx(raw / f"qmnist-{prefix}-images-idx3-ubyte", noise(count, 28, 28))
        extended = np.zeros((count, 8), dtype=">i4")
        extended[:, 0] = np.arange(count)
        head = struct.pack(">BBBB2I", 0, 0, 12, 2, count, 8)  # 12: int32
        (raw / f"qmnist-{prefix}-labels-idx2-int").write_bytes(head + extended.tobytes())
    assert load("qmnist", root=tmp_path).labels.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]


def svhn(root: Path, patch: pytest.MonkeyPatch, parts: tuple[str, ...]) -> dict[str, np.ndarray]:
    """MATLAB files: (32, 32, 3, N), and digit 0 is called 10."""
    images = {}
    lists: dict[str, list[Any]] = dict(datasets.SVHN.split_list)
    for seed, part in enumerate(parts):
        images[part] = noise(10, 3, 32, 32, seed=seed)
        file = root / f"{part}_32x32.mat"
        scipy.io.savemat(
            file, {"X": images[part].transpose(2, 3, 1, 0), "y": np.arange(1, 11, dtype=np.uint8)[:, None]}
        )
        lists[part] = [lists[part][0], file.name, md5(file)]
    patch.setattr(datasets.SVHN, "split_list", lists)
    return images


@pytest.mark.parametrize("parts", [("train", "test"), ("train", "test", "extra")])
def test_what_need_not_be_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: tuple[str, ...]
) -> None:
    images = svhn(tmp_path, monkeypatch, parts)
    store = load("svhn", root=tmp_path)
    assert np.array_equal(store.images.numpy(), np.concatenate([images[part] for part in parts]))
    assert store.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] * len(parts)
    assert store.class_names == tuple("0123456789")
    assert ("extra" in store.splits) == ("extra" in parts)
    assert store.notes.get("missing_splits") == (None if "extra" in parts else "extra")


def omniglot(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "omniglot-py"
    sums = {}
    for part, alphabets in (("images_background", ("Greek", "Latin")), ("images_evaluation", ("Tengwar",))):
        for a, alphabet in enumerate(alphabets):
            for c in range(4):
                place = folder / part / alphabet / f"character{c + 1:02d}"
                place.mkdir(parents=True)
                for i in range(3):
                    paper = np.full((105, 105), 255, dtype=np.uint8)
                    paper[20 * c + 10 : 20 * c + 30, 30 * a + 5 : 30 * a + 25 + i] = 0
                    Image.fromarray(paper).convert("1").save(place / f"{a}{c}_{i}.png")
        archive = folder / f"{part}.zip"
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr("made-for-a-test", part)
        sums[part] = md5(archive)
    patch.setattr(datasets.Omniglot, "zips_md5", sums)


def test_file_systems_that_list_in_another_order_give_the_same_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    omniglot(tmp_path, monkeypatch)
    stores = []
    for backwards in (False, True):
        for function in ("list_dir", "list_files"):
            real = getattr(torchvision.datasets.utils, function)
            monkeypatch.setattr(
                torchvision.datasets.omniglot,
                function,
                lambda *args, real=real, backwards=backwards: sorted(real(*args), reverse=backwards),
            )
        stores.append(load("omniglot", root=tmp_path))
    assert stores[0].checksum() == stores[1].checksum()
    assert stores[0].class_names == stores[1].class_names


def test_gtsrb_holds_images_of_any_size(tmp_path: Path) -> None:
    for split, folder in (("train", "GTSRB/Training"), ("test", "GTSRB/Final_Test/Images")):
        for c in range(3):
            place = tmp_path / "gtsrb" / folder / (f"{c:05d}" if split == "train" else "")
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise(30 + 7 * c, 40, 3)).save(place / f"{c:05d}.ppm")
    table = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n" + "".join(
        f"{c:05d}.ppm;40;{30 + 7 * c};0;0;1;1;{c}\n" for c in range(3)
    )
    (tmp_path / "gtsrb" / "GT-final_test.csv").write_text(table)
    store = load("gtsrb", root=tmp_path)
    assert store.images.shape == (6, 3, 32, 32)
    assert store.labels.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torchvision_sets, "find_spec", lambda package: True)  # the same with h5py and without
    with pytest.raises(InputError) as caught:
        load(name, root=tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{name} is not in {tmp_path}")
    assert "download=True" in message or "torchvision cannot download it" in message
    assert "root=PATH" in message
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]  # nothing half-written


@pytest.mark.parametrize("name", NAMES)
def test_arguments_of_every_source_are_torchvisions(name: str) -> None:
    source: Any = SOURCES[name]
    accepted = inspect.signature(source.kind).parameters
    for arguments in source.parts.values():
        # EMNIST hands `train` on to MNIST.
        assert set(arguments) <= set(accepted) | ({"train"} if "kwargs" in accepted else set())


def test_missing_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(torchvision_sets, "find_spec", lambda name: None if name == "h5py" else real(name))
    with pytest.raises(MissingPackage, match="pip install h5py"):
        load("pcam", root=tmp_path)
