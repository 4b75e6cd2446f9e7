"""Small fakes in the formats that the data sets have on disk, read through torchvision."""

import hashlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torchvision import datasets

from metatc2.data import ImageStore, load
from metatc2.data.image_io import resize_square
from metatc2.errors import InputError

Arrays = np.ndarray


def random(*shape: int, seed: int = 0) -> Arrays:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()


def check_meta(store: ImageStore, classes: int) -> None:
    """Every labeled row is in one meta split, those of published tests in no meta-train; and the splits part the classes."""
    rows = [store.rows(f"meta-{part}") for part in ("train", "validation", "test")]
    held = [set(store.labels[part].tolist()) for part in rows]
    assert all(held)
    assert sum(map(len, held)) == classes == len(set.union(*held))
    parts = [store.splits[name] for name in ("validation", "val", "test") if name in store.splits]
    published = torch.cat(parts) if parts and "train" in store.splits else torch.empty(0, dtype=torch.int64)
    left_out = published[torch.isin(store.labels[published], store.labels[rows[0]])]
    assert not torch.isin(rows[0], published).any()
    assert sum(map(len, rows)) + len(left_out) == int((store.labels < classes).sum())


def python2_pickle(content: dict[str, Any]) -> bytes:
    """As the Python 2 of 2009 wrote the CIFAR files: old module names, and numbers for the flags of a dtype."""
    written = pickle.dumps(content, protocol=2).replace(b"numpy._core.", b"numpy.core.")
    return written.replace(b"\x89\x88\x87", b"K\x00K\x01\x87")


def cifar(
    root: Path, patch: pytest.MonkeyPatch, kind: type, batches: dict[str, list[int]], key: str, names: list[str]
) -> dict[str, Arrays]:
    folder = root / kind.base_folder  # type: ignore[attr-defined]
    folder.mkdir()
    pixels = {}
    for seed, (file, labels) in enumerate(batches.items()):
        pixels[file] = random(len(labels), 3072, seed=seed)
        (folder / file).write_bytes(python2_pickle({"data": pixels[file], key: labels, "batch_label": file}))
    meta = {**kind.meta}  # type: ignore[attr-defined]
    (folder / meta["filename"]).write_bytes(python2_pickle({meta["key"]: names}))
    train = [file for file in batches if "test" not in file]
    patch.setattr(kind, "train_list", [[file, md5(folder / file)] for file in train])
    patch.setattr(kind, "test_list", [[file, md5(folder / file)] for file in batches if "test" in file])
    patch.setattr(kind, "meta", {**meta, "md5": md5(folder / meta["filename"])})
    return pixels


CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture
def cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Arrays]:
    batches = {"data_batch_1": list(range(10)), "data_batch_2": list(range(9, -1, -1)), "test_batch": [3] * 5 + [0]}
    return cifar(tmp_path, monkeypatch, datasets.CIFAR10, batches, "labels", CIFAR10)


def test_cifar10(tmp_path: Path, cifar10: dict[str, Arrays]) -> None:
    store = load("cifar10", root=tmp_path)
    expected = np.concatenate(list(cifar10.values())).reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal(store.images.numpy(), expected)
    assert store.class_names == tuple(CIFAR10)
    assert store.labels[store.rows("train")].tolist() == [*range(10), *range(9, -1, -1)]
    assert store.labels[store.rows("test")].tolist() == [3, 3, 3, 3, 3, 0]
    assert store.rows("test").tolist() == list(range(20, 26))
    check_meta(store, 10)


def test_size_and_channels(tmp_path: Path, cifar10: dict[str, Arrays]) -> None:
    store = load("cifar10", root=tmp_path, image_size=16, channels=1)
    assert store.images.shape == (26, 1, 16, 16)
    whole = load("cifar10", root=tmp_path)
    assert (store.images.float().mean((1, 2, 3)) - whole.images.float().mean((2, 3)) @ LUMA).abs().max() < 2


LUMA = torch.tensor([0.299, 0.587, 0.114])


def test_damaged_file_says_what_to_do(tmp_path: Path, cifar10: dict[str, Arrays]) -> None:
    (tmp_path / "cifar-10-batches-py" / "data_batch_2").write_bytes(b"cut")
    with pytest.raises(InputError, match="cifar10 is not in .* or is damaged.*download"):
        load("cifar10", root=tmp_path)


def test_cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"name{i}" for i in range(100)]
    batches = {"train": list(range(100)), "test": [99, 0, 50]}
    pixels = cifar(tmp_path, monkeypatch, datasets.CIFAR100, batches, "fine_labels", names)
    store = load("cifar100", root=tmp_path)
    np.testing.assert_array_equal(store.images[100:].numpy(), pixels["test"].reshape(-1, 3, 32, 32))
    assert store.labels[store.rows("test")].tolist() == [99, 0, 50]
    assert store.class_names == tuple(names)
    check_meta(store, 100)


def idx(array: Arrays) -> bytes:
    return struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def mnist(root: Path, name: str) -> tuple[Arrays, Arrays]:
    train, test = random(30, 28, 28), random(8, 28, 28, seed=1)
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    for part, pixels in (("train", train), ("t10k", test)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(pixels))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx((np.arange(len(pixels)) % 10).astype(np.uint8)))
    return train, test


@pytest.mark.parametrize(("source", "folder"), [("mnist", "MNIST"), ("fashionmnist", "FashionMNIST")])
def test_mnist(tmp_path: Path, source: str, folder: str) -> None:
    train, test = mnist(tmp_path, folder)
    store = load(source, root=tmp_path)
    np.testing.assert_array_equal(store.images[:, 0].numpy(), np.concatenate([train, test]))
    assert store.channels == 1
    assert store.labels[store.rows("train")].tolist() == [i % 10 for i in range(30)]
    assert store.rows("test").tolist() == list(range(30, 38))
    assert len(store.class_names) == 10
    check_meta(store, 10)
    assert load(source, root=tmp_path, channels=3).images.shape == (38, 3, 28, 28)


def test_truncated_mnist(tmp_path: Path) -> None:
    mnist(tmp_path, "MNIST")
    file = tmp_path / "MNIST/raw/train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match="mnist is not in .* or is damaged"):
        load("mnist", root=tmp_path)


def stl10(root: Path, patch: pytest.MonkeyPatch, unlabeled: int = 5) -> dict[str, Arrays]:
    folder = root / "stl10_binary"
    folder.mkdir()
    pixels = {"train": random(10, 3, 96, 96), "test": random(4, 3, 96, 96, seed=1)}
    pixels["unlabeled"] = random(unlabeled, 3, 96, 96, seed=2)
    for part, images in pixels.items():
        (folder / f"{part}_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())  # column by column
    (folder / "train_y.bin").write_bytes(bytes(range(1, 11)))
    (folder / "test_y.bin").write_bytes(bytes([10, 1, 1, 5]))
    (folder / "class_names.txt").write_text("\n".join(STL10) + "\n")
    (folder / "fold_indices.txt").write_text("0 1 2 \n" * 10)
    for attribute in ("train_list", "test_list"):
        files = [name for name, _ in getattr(datasets.STL10, attribute)]
        patch.setattr(datasets.STL10, attribute, [[name, md5(folder / name)] for name in files])
    return pixels


STL10 = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]


def test_stl10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = stl10(tmp_path, monkeypatch)
    store = load("stl10", root=tmp_path)
    assert store.class_names == (*STL10, "unlabeled")
    for part, images in pixels.items():
        np.testing.assert_array_equal(store.images[store.rows(part)].numpy(), images)
    assert store.labels[store.rows("train")].tolist() == list(range(10))
    assert store.labels[store.rows("test")].tolist() == [9, 0, 0, 4]
    assert store.labels[store.rows("unlabeled")].tolist() == [10] * 5
    check_meta(store, 10)
    for part in ("meta-train", "meta-validation", "meta-test"):
        assert not torch.isin(store.rows(part), store.rows("unlabeled")).any()


def test_stl10_is_resized_only_when_asked_and_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stl10(tmp_path, monkeypatch, unlabeled=40)
    asked: list[int] = []

    def counting(images: torch.Tensor, **options: Any) -> torch.Tensor:
        asked.append(images.numel())
        return original(images, **options)

    original = torch.nn.functional.interpolate
    monkeypatch.setattr("metatc2.data.image_io.interpolate", counting)
    monkeypatch.setattr("metatc2.data.image_io._CHUNK", 10 * 3 * 96 * 96)
    whole = load("stl10", root=tmp_path)
    assert asked == []
    small = load("stl10", root=tmp_path, image_size=32)
    assert max(asked) <= 10 * 3 * 96 * 96
    assert sum(asked) == 54 * 3 * 96 * 96
    assert small.images.equal(resize_square(whole.images, 32))


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = {"train": random(20, 3, 32, 32), "test": random(6, 3, 32, 32, seed=1)}
    parts = {}
    for part, images in pixels.items():
        file = tmp_path / f"{part}_32x32.mat"
        labels = (np.arange(len(images)) % 10 + 1).astype(np.uint8)  # 1..10, ten stands for the digit nought
        scipy.io.savemat(file, {"X": images.transpose(2, 3, 1, 0), "y": labels[:, None]})
        parts[part] = ["", file.name, md5(file)]
    monkeypatch.setattr(datasets.SVHN, "split_list", {**datasets.SVHN.split_list, **parts})
    store = load("svhn", root=tmp_path)
    np.testing.assert_array_equal(store.images.numpy(), np.concatenate(list(pixels.values())))
    assert store.labels[store.rows("test")].tolist() == [1, 2, 3, 4, 5, 6]
    assert store.labels[9] == 0
    assert "extra" not in store.splits
    assert "extra" in str(store.notes)  # left out, and said so
    assert len(store.class_names) == 10
    check_meta(store, 10)


def test_omniglot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "omniglot-py"
    alphabets = {"images_background": {"Greek": 5, "Latin": 3}, "images_evaluation": {"Ge_ez": 1, "Glagolitic": 2}}
    sums, ink = {}, 1
    for part, held in alphabets.items():
        for alphabet, characters in held.items():
            for character in range(1, characters + 1):
                place = folder / part / alphabet / f"character{character:02d}"
                place.mkdir(parents=True)
                for drawer in range(2):
                    image = np.full((105, 105), True)
                    image[: 7 * ink] = False
                    Image.fromarray(image).save(place / f"{ink:04d}_{drawer:02d}.png")
                ink += 1
        (folder / f"{part}.zip").write_bytes(part.encode())
        sums[part] = md5(folder / f"{part}.zip")
    monkeypatch.setattr(datasets.Omniglot, "zips_md5", sums)
    store = load("omniglot", root=tmp_path)
    assert store.images.shape == (22, 1, 28, 28)
    assert len(store.class_names) == 11 == len(set(store.class_names))
    assert store.labels.tolist() == [i for i in range(11) for _ in range(2)]
    # In the order of their names, whatever the file system lists first.
    assert [name.rpartition("Greek/")[2] for name in store.class_names[:5]] == [
        f"character{i:02d}" for i in range(1, 6)
    ]
    assert "Ge_ez/character01" in store.class_names[8]
    assert "Glagolitic/character02" in store.class_names[10]
    assert store.rows("train").tolist() == list(range(16))
    # The evaluation alphabets are the classes never seen; the background is dealt between the other two.
    assert store.rows("meta-test").tolist() == store.rows("test").tolist() == list(range(16, 22))
    assert len(set(store.labels[store.rows("meta-train")].tolist())) == 6
    check_meta(store, 11)
    # A taller bar of black ink for each class shows that pixels stayed with their labels.
    gray = store.images.float().mean((1, 2, 3))
    assert (gray[::2].diff() < 0).all()
    assert gray[::2].equal(gray[1::2])


def eurosat(root: Path, damage: bool = False) -> None:
    for i, name in enumerate(("AnnualCrop", "Forest", "Highway", "River")):
        folder = root / "eurosat" / "2750" / name
        folder.mkdir(parents=True)
        for j in range(3):
            Image.new("RGB", (64, 64), (60 * i, 10, 20)).save(folder / f"{name}_{j}.jpg")
    if damage:
        file = root / "eurosat/2750/Highway/Highway_1.jpg"
        file.write_bytes(file.read_bytes()[:400])


def test_eurosat(tmp_path: Path) -> None:
    eurosat(tmp_path)
    store = load("eurosat", root=tmp_path)
    assert store.images.shape == (12, 3, 64, 64)
    assert store.class_names == ("AnnualCrop", "Forest", "Highway", "River")
    assert (store.images[:, 0].float().mean((1, 2)) - 60 * store.labels).abs().max() < 4
    check_meta(store, 4)


def test_an_image_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    eurosat(tmp_path, damage=True)
    with pytest.raises(InputError, match="eurosat: image 7 of 12 cannot be read"):
        load("eurosat", root=tmp_path)


def test_dtd(tmp_path: Path) -> None:
    folder = tmp_path / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    for i, name in enumerate(("banded", "dotted", "woven")):
        (folder / "images" / name).mkdir(parents=True)
        for j in range(3):
            Image.new("RGB", (90 + 30 * j, 80), (80 * i, 0, 100)).save(folder / "images" / name / f"{name}_{j}.jpg")
    for j, part in enumerate(("train", "val", "test")):
        lines = [f"{name}/{name}_{j}.jpg\n" for name in ("woven", "banded", "dotted")]
        (folder / "labels" / f"{part}1.txt").write_text("".join(lines))
    store = load("dtd", root=tmp_path, image_size=20)
    assert store.images.shape == (9, 3, 20, 20)
    assert store.class_names == ("banded", "dotted", "woven")
    for part in ("train", "val", "test"):
        assert store.labels[store.rows(part)].tolist() == [2, 0, 1]
    assert (store.images[:, 0].float().mean((1, 2)) - 80 * store.labels).abs().max() < 6
    check_meta(store, 3)


def test_oxfordiiitpet(tmp_path: Path) -> None:
    images, notes = tmp_path / "oxford-iiit-pet" / "images", tmp_path / "oxford-iiit-pet" / "annotations"
    images.mkdir(parents=True)
    notes.mkdir()
    pets = ["Abyssinian", "american_bulldog", "Bengal"]
    for part, number in (("trainval", 1), ("test", 2)):
        lines = []
        for i, pet in enumerate(pets):
            Image.new("RGB", (50, 70), (0, 90 * i, 0)).save(images / f"{pet}_{number}.jpg")
            lines.append(f"{pet}_{number} {i + 1} 1 1\n")
        (notes / f"{part}.txt").write_text("".join(lines))
    store = load("oxfordiiitpet", root=tmp_path)
    assert store.images.shape == (6, 3, 64, 64)
    assert store.class_names == ("Abyssinian", "American Bulldog", "Bengal")
    assert store.rows("train").tolist() == [0, 1, 2]
    assert store.labels.tolist() == [0, 1, 2] * 2
    check_meta(store, 3)


def test_gray_and_color_images_of_one_data_set(tmp_path: Path) -> None:
    for i, name in enumerate(("BACKGROUND_Google", "accordion", "ant", "brain")):
        folder = tmp_path / "caltech101" / "101_ObjectCategories" / name
        folder.mkdir(parents=True)
        for j in (1, 2):
            image = Image.new("L", (40, 30), 60 * i) if j == 1 else Image.new("RGB", (30, 40), (60 * i,) * 3)
            image.save(folder / f"image_{j:04d}.jpg")
    store = load("caltech101", root=tmp_path)
    assert store.images.shape == (6, 3, 64, 64)
    assert store.class_names == ("accordion", "ant", "brain")
    check_meta(store, 3)


@pytest.mark.parametrize("name", ["cifar10", "stl10", "svhn", "omniglot", "eurosat", "mnist", "emnist", "qmnist"])
def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"{name} is not in .*--set data.download=true.*--set data.root=PATH"):
        load(name, root=tmp_path)


def test_the_folder_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eurosat(tmp_path)
    monkeypatch.setenv("METATC2_DATA", str(tmp_path))
    assert len(load("eurosat")) == 12


@pytest.mark.parametrize("name", ["eurosat", "emnist", "qmnist"])
def test_download_is_torchvisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """It is asked for only by the user, and its failure is one sentence."""
    asked: list[str] = []

    def refuse(self: Any) -> None:
        asked.append(type(self).__name__)
        raise OSError("no network")

    kind: Callable[..., Any] = {"eurosat": datasets.EuroSAT, "emnist": datasets.EMNIST, "qmnist": datasets.QMNIST}[name]
    monkeypatch.setattr(kind, "download", refuse)
    with pytest.raises(InputError):
        load(name, root=tmp_path)
    assert asked == []
    with pytest.raises(InputError, match=f"{name} .*no network"):
        load(name, root=tmp_path, download=True)
    assert len(asked) == 1
