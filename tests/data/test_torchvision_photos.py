"""Photographs in the formats that the benchmarks have on disk: in memory and streamed, with their lists and metrics."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torchvision import datasets

from metatc2.data import ImageStore, StreamedImages, load, transfer_splits
from metatc2.errors import InputError

Build = Callable[[Path, pytest.MonkeyPatch], None]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METATC2_CACHE", str(tmp_path_factory.mktemp("cache")))


def photo(file: Path, label: int, number: int = 0, mode: str = "RGB") -> None:
    """Red tells the class, in steps of 20; size and green differ from image to image."""
    file.parent.mkdir(parents=True, exist_ok=True)
    color = (20 * label, 9 * number % 200, 90)
    Image.new(mode, (40 + 3 * number % 20, 30), color if mode == "RGB" else color[0]).save(file, quality=95)


def check(store: ImageStore, names: list[str], parts: dict[str, list[int]], metric: str) -> None:
    """Classes of each part, in order; and that pixels stayed with their labels."""
    assert list(store.class_names) == names
    assert {part: store.labels[store.rows(part)].tolist() for part in parts} == parts
    assert (store.images[:][:, 0].float().mean((1, 2)) - 20 * store.labels).abs().max() < 6
    assert store.metric == metric


def food101(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "food-101"
    (folder / "meta").mkdir(parents=True)
    for part, numbers in (("train", range(4)), ("test", range(4, 6))):
        listed = {name: [f"{name}/{n + 100}" for n in numbers] for name in ("apple_pie", "baklava")}
        (folder / "meta" / f"{part}.json").write_text(json.dumps(listed))
        for label, files in enumerate(listed.values()):
            for n, file in enumerate(files):
                photo(folder / "images" / f"{file}.jpg", label, n)


def flowers102(root: Path, patch: pytest.MonkeyPatch) -> None:
    """imagelabels.mat: class of every image from 1 on; setid.mat: numbers of the images of each part."""
    folder = root / "flowers-102"
    labels = np.arange(24) % 102 % 3 + 1
    for i, label in enumerate(labels):
        photo(folder / "jpg" / f"image_{i + 1:05d}.jpg", int(label) - 1, i)
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": labels[None].astype(np.uint8)})
    # The training part is the smallest, as published.
    ids = {"trnid": np.arange(1, 7), "valid": np.arange(7, 13), "tstid": np.arange(24, 12, -1)}
    scipy.io.savemat(folder / "setid.mat", {name: part[None].astype(np.uint16) for name, part in ids.items()})
    sums = {
        key: (name, hashlib.md5((folder / name).read_bytes()).hexdigest())
        for key, name in (("label", "imagelabels.mat"), ("setid", "setid.mat"))
    }
    patch.setattr(datasets.Flowers102, "_file_dict", {**datasets.Flowers102._file_dict, **sums})


def cars(root: Path, patch: pytest.MonkeyPatch) -> None:
    """MATLAB structures: bounding box, class from 1 on, file name; the test labels lie outside of the devkit."""
    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    names = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012"]
    scipy.io.savemat(folder / "devkit" / "cars_meta.mat", {"class_names": np.array(names, dtype=object)[None]})
    fields = [(name, "O") for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    for part, table, labels in (
        ("cars_train", folder / "devkit" / "cars_train_annos.mat", [3, 1, 2, 2, 1, 3]),
        ("cars_test", folder / "cars_test_annos_withlabels.mat", [2, 3, 1]),
    ):
        rows = np.empty((1, len(labels)), dtype=fields)
        for i, label in enumerate(labels):
            photo(folder / part / f"{i + 1:05d}.jpg", label - 1, i)
            rows[0, i] = (39, 116, 569, 375, label, f"{i + 1:05d}.jpg")
        scipy.io.savemat(table, {"annotations": rows})


def aircraft(root: Path, patch: pytest.MonkeyPatch) -> None:
    data = root / "fgvc-aircraft-2013b" / "data"
    data.mkdir(parents=True)
    names = ["707-320", "A300B4", "Cessna 172"]
    (data / "variants.txt").write_text("\n".join(names) + "\n")
    for p, part in enumerate(("train", "val", "test")):
        lines = []
        for i in range(6):
            label = (i + p) % 3
            lines.append(f"{1000 * p + i:07d} {names[label]}\n")
            photo(data / "images" / f"{1000 * p + i:07d}.jpg", label, i)
        (data / f"images_variant_{part}.txt").write_text("".join(lines))


def pets(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    for part, numbers in (("trainval", range(1, 4)), ("test", range(4, 6))):
        lines = []
        for label, pet in enumerate(("Abyssinian", "american_bulldog")):
            for n in numbers:
                photo(folder / "images" / f"{pet}_{n}.jpg", label, n)
                lines.append(f"{pet}_{n} {label + 1} {2 - label} 1\n")
        (folder / "annotations" / f"{part}.txt").write_text("".join(lines))


def caltech101(root: Path, patch: pytest.MonkeyPatch, count: int = 33) -> None:
    folder = root / "caltech101" / "101_ObjectCategories"
    for label, name in enumerate(("accordion", "ant")):
        for n in range(1, count + 1 + label):
            photo(folder / name / f"image_{n:04d}.jpg", label, n, "L" if n == 2 else "RGB")
    photo(folder / "BACKGROUND_Google" / "image_0001.jpg", 7)


SUN = ["abbey", "bar", "outdoor/cabin"]


def sun397(root: Path, patch: pytest.MonkeyPatch, each: int = 4) -> None:
    folder = root / "SUN397"
    folder.mkdir()
    (folder / "ClassName.txt").write_text("".join(f"/{name[0]}/{name}\n" for name in SUN))
    for label, name in enumerate(SUN):
        for n in range(each):
            photo(folder / name[0] / name / f"sun_{name[-1]}{n:03d}.jpg", label, n)


def partition(root: Path, *, overlap: bool = False, inside: str = "") -> None:
    """One training and two test images a class; the rest is in neither."""
    folder = root / "SUN397" / inside
    folder.mkdir(exist_ok=True)
    for part, numbers in (("Training", (2,)), ("Testing", (0, 2 if overlap else 1))):
        lines = [f"/{name[0]}/{name}/sun_{name[-1]}{n:03d}.jpg" for name in SUN for n in numbers]
        (folder / f"{part}_01.txt").write_text("\n".join(lines) + "\n")


EXPECTED: list[tuple[str, Build, list[str], dict[str, list[int]], str]] = [
    ("food101", food101, ["apple_pie", "baklava"], {"train": [0] * 4 + [1] * 4, "test": [0, 0, 1, 1]}, "accuracy"),
    (
        "flowers102",
        flowers102,
        getattr(datasets.Flowers102, "classes", ["0", "1", "2"]),  # older torchvision does not name them
        {"train": [0, 1, 2] * 2, "val": [0, 1, 2] * 2, "test": [2, 1, 0] * 4},
        "mean per class",
    ),
    (
        "stanfordcars",
        cars,
        ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012"],
        {"train": [2, 0, 1, 1, 0, 2], "test": [1, 2, 0]},
        "accuracy",
    ),
    (
        "fgvcaircraft",
        aircraft,
        ["707-320", "A300B4", "Cessna 172"],
        {"train": [0, 1, 2] * 2, "val": [1, 2, 0] * 2, "test": [2, 0, 1] * 2},
        "mean per class",
    ),
    (
        "oxfordiiitpet",
        pets,
        ["Abyssinian", "American Bulldog"],
        {"train": [0] * 3 + [1] * 3, "test": [0, 0, 1, 1]},
        "mean per class",
    ),
    ("caltech101", caltech101, ["accordion", "ant"], {"all": [0] * 33 + [1] * 34}, "mean per class"),
    ("sun397", sun397, sorted(SUN), {"all": [0] * 4 + [1] * 4 + [2] * 4}, "accuracy"),
]


@pytest.mark.parametrize(("name", "build", "names", "parts", "metric"), EXPECTED, ids=[case[0] for case in EXPECTED])
def test_in_memory_and_streamed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    build: Build,
    names: list[str],
    parts: dict[str, list[int]],
    metric: str,
) -> None:
    build(tmp_path, monkeypatch)
    held = load(name, root=tmp_path, image_size=24)
    check(held, names, parts, metric)
    for workers in (0, 2):
        streamed = load(name, root=tmp_path, image_size=24, stream=True, workers=workers)
        assert isinstance(streamed.images, StreamedImages)
        assert streamed.images.fingerprint()  # torchvision tells which files these are
        assert streamed.images[:].equal(held.images)
        assert streamed.labels.equal(held.labels)
        assert streamed.checksum() == held.checksum()
        assert streamed.metric == metric


def test_corrected_labels_of_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was remembered about the files is not believed when their lists change."""
    aircraft(tmp_path, monkeypatch)
    cars(tmp_path, monkeypatch)
    for name in ("fgvcaircraft", "stanfordcars"):
        load(name, root=tmp_path, stream=True)
    list_file = tmp_path / "fgvc-aircraft-2013b" / "data" / "images_variant_train.txt"
    lines = [line.split(" ", 1) for line in list_file.read_text().splitlines()]
    turned = [f"{n} {lines[-1 - i][1]}" for i, (n, _) in enumerate(lines)]
    list_file.write_text("\n".join(turned))
    table = tmp_path / "stanford_cars" / "cars_test_annos_withlabels.mat"
    annotations = scipy.io.loadmat(table)["annotations"]
    annotations[0, 0]["class"] = np.array([[3]])
    scipy.io.savemat(table, {"annotations": annotations})
    for name, part, expected in (("fgvcaircraft", "train", [2, 1, 0] * 2), ("stanfordcars", "test", [2, 2, 0])):
        for stream in (False, True):
            store = load(name, root=tmp_path, stream=stream)
            assert store.labels[store.rows(part)].tolist() == expected


def test_omniglot_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two parts with classes of their own, images in the order of their content."""
    folder, sums = tmp_path / "omniglot-py", {}
    for part, alphabets in (("images_background", "ab"), ("images_evaluation", "c")):
        for alphabet in alphabets:
            for character in range(3):
                for i in range(3):
                    paper = np.full((105, 105), 255, dtype=np.uint8)
                    paper[20 * character : 20 * character + 30 - 7 * i, 30:60] = 0
                    file = folder / part / alphabet / f"character{character:02d}" / f"{i}.png"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(paper).convert("1").save(file)
        (folder / f"{part}.zip").write_bytes(b"zip")
        sums[part] = hashlib.md5(b"zip").hexdigest()
    monkeypatch.setattr(datasets.Omniglot, "zips_md5", sums)
    held, streamed = (load("omniglot", root=tmp_path, stream=stream) for stream in (False, True))
    assert isinstance(streamed.images, StreamedImages)
    assert streamed.images.fingerprint()
    assert streamed.checksum() == held.checksum()
    # Different classes in its two parts: a classifier learns from some images of every character.
    found = transfer_splits(streamed)
    assert "no parts of the same classes" in found.how
    assert torch.unique(streamed.labels[found.train]).tolist() == list(range(9))


@pytest.mark.parametrize("inside", ["", "Partitions"])
@pytest.mark.parametrize("stream", [False, True])
def test_sun397_has_its_published_partition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str, stream: bool
) -> None:
    sun397(tmp_path, monkeypatch)
    partition(tmp_path, inside=inside)
    store = load("sun397", root=tmp_path, image_size=24, stream=stream)
    assert store.labels[store.rows("train")].tolist() == [0, 1, 2]
    assert store.labels[store.rows("test")].tolist() == [0, 0, 1, 1, 2, 2]
    # Green tells the number of the file: the lists' files, wherever their content has put them.
    green = [round(float(image[1].float().mean())) for image in store.images[store.rows("train")]]
    assert all(abs(value - 18) <= 3 for value in green)
    green = [round(float(image[1].float().mean()) / 9) for image in store.images[store.rows("test")]]
    assert green == [0, 1] * 3


def test_sun397_lists_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sun397(tmp_path, monkeypatch)
    partition(tmp_path, overlap=True)
    with pytest.raises(InputError, match=r"sun397: 3 images are in both train and test \(first sun_y002\.jpg\)"):
        load("sun397", root=tmp_path)
    partition(tmp_path)
    (tmp_path / "SUN397" / "a" / "abbey" / "sun_y002.jpg").unlink()
    with pytest.raises(InputError, match=r"sun397: Training_01\.txt names 1 images that are not there.*sun_y002"):
        load("sun397", root=tmp_path)
    (tmp_path / "SUN397" / "Testing_01.txt").unlink()
    with pytest.raises(InputError, match=r"sun397: .*Testing_01\.txt is not there, although its partner is"):
        load("sun397", root=tmp_path)


def test_a_list_that_names_a_training_image_for_testing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    food101(tmp_path, monkeypatch)
    meta = tmp_path / "food-101" / "meta"
    listed = json.loads((meta / "test.json").read_text())
    listed["baklava"].append("baklava/100")
    (meta / "test.json").write_text(json.dumps(listed))
    with pytest.raises(InputError, match=r"food101: 1 images are in both train and test \(first 100\.jpg\)"):
        load("food101", root=tmp_path)


@pytest.mark.parametrize("stream", [False, True])
def test_an_image_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    pets(tmp_path, monkeypatch)
    (tmp_path / "oxford-iiit-pet" / "images" / "Abyssinian_2.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match="oxfordiiitpet: image 1 of 6 cannot be read"):
        load("oxfordiiitpet", root=tmp_path, stream=stream)


@pytest.mark.parametrize(("build", "name", "file"), [
    (food101, "food101", "food-101/meta/test.json"),
    (flowers102, "flowers102", "flowers-102/setid.mat"),
    (cars, "stanfordcars", "stanford_cars/devkit/cars_train_annos.mat"),
    (aircraft, "fgvcaircraft", "fgvc-aircraft-2013b/data/images_variant_val.txt"),
    (pets, "oxfordiiitpet", "oxford-iiit-pet/annotations/test.txt"),
    (sun397, "sun397", "SUN397/ClassName.txt"),
])  # fmt: skip
def test_a_missing_list_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: Build, name: str, file: str
) -> None:
    build(tmp_path, monkeypatch)
    (tmp_path / file).unlink()
    with pytest.raises(InputError, match=f"^{name} is not in .* or is damaged"):
        load(name, root=tmp_path)


def test_caltech101_learns_from_30_images_a_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caltech101(tmp_path, monkeypatch)
    store = load("caltech101", root=tmp_path, image_size=8)
    found = transfer_splits(store)
    learned = torch.cat([found.train, found.validation])
    assert torch.bincount(store.labels[learned]).tolist() == [30, 30]
    assert torch.bincount(store.labels[found.validation]).tolist() == [6, 6]
    assert torch.bincount(store.labels[found.test]).tolist() == [3, 4]
    assert sorted(torch.cat([learned, found.test]).tolist()) == list(range(67))
    assert "30 training images of every class" in found.how


def test_caltech101_with_a_class_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caltech101(tmp_path, monkeypatch, count=30)
    with pytest.raises(InputError, match="caltech101: class 'accordion' has 30 images and needs 31"):
        transfer_splits(load("caltech101", root=tmp_path, image_size=8))
