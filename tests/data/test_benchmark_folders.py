"""MIT-67, CropDisease, ISIC 2018 and ChestX, as their publishers lay them."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metatc2.data import ImageStore, StreamedImages, UnreadableImages, known_sources, load, transfer_splits
from metatc2.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METATC2_CACHE", str(tmp_path_factory.mktemp("cache")))


def photo(file: Path, level: int, mode: str = "RGB") -> None:
    """A picture of one brightness, which tells the class."""
    file.parent.mkdir(parents=True, exist_ok=True)
    color = {"RGB": (level,) * 3, "RGBA": (*(level,) * 3, 255), "L": level}[mode]
    Image.new(mode, (40, 30), color).save(file)


def brightness(store: ImageStore) -> list[int]:
    return [round(float(image.float().mean()) / 20) for image in store.images[:]]


def streamed_alike(source: str) -> ImageStore:
    held, streamed = load(source, image_size=16), load(source, image_size=16, stream=True, workers=2)
    assert isinstance(streamed.images, StreamedImages)
    assert streamed.checksum() == held.checksum()
    assert (streamed.metric, streamed.notes) == (held.metric, held.notes)
    return held


def mit67(root: Path) -> str:
    """Lists of class/file.jpg; the folder holds images that are in neither."""
    lists = {"TrainImages.txt": (0, 1, 2), "TestImages.txt": (3, 4)}
    scenes = ["airport_inside", "bakery", "winecellar"]
    for label, scene in enumerate(scenes):
        for i in range(6):
            photo(root / "Images" / scene / f"{scene}_{i}.jpg", 20 * label)
    for file, numbers in lists.items():
        lines = [f"{scene}/{scene}_{i}.jpg" for i in numbers for scene in reversed(scenes)]
        (root / file).write_text("\n".join(lines))  # no newline at the end, as published
    return f"mit67:{root}"


def test_mit67(tmp_path: Path) -> None:
    store = streamed_alike(mit67(tmp_path))
    assert store.class_names == ("airport_inside", "bakery", "winecellar")
    assert store.labels[store.rows("train")].tolist() == [2, 1, 0] * 3
    assert store.labels[store.rows("test")].tolist() == [2, 1, 0] * 2
    assert brightness(store) == store.labels.tolist()
    assert len(store) == 15
    assert store.metric == "accuracy"
    assert load(f"mit67:{tmp_path}").image_size == 64
    found = transfer_splits(store)
    assert found.test.tolist() == store.rows("test").tolist()
    assert sorted([*found.train.tolist(), *found.validation.tolist()]) == sorted(store.rows("train").tolist())
    assert torch.bincount(store.labels[found.validation]).tolist() == [1, 1, 1]


def test_mit67_in_both_lists(tmp_path: Path) -> None:
    source = mit67(tmp_path)
    with (tmp_path / "TestImages.txt").open("a") as opened:
        opened.write("\nbakery/bakery_1.jpg\n")
    with pytest.raises(InputError, match=r"mit67:.*: 1 images are in both train and test \(first bakery_1\.jpg\)"):
        load(source)


ISIC = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]


def isic(root: Path, nested: bool = True, wrong: str | None = None) -> str:
    """One-hot floats, an image a row."""
    name = "ISIC2018_Task3_Training_GroundTruth"
    folder = root / name if nested else root
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["image," + ",".join(ISIC)]
    for i, label in enumerate([1, 0, 6, 1, 1, 2, 3, 4, 5, 0] * 3):
        photo(root / "ISIC2018_Task3_Training_Input" / f"ISIC_{24306 + i:07d}.jpg", 20 * label)
        hot = ["1.0" if k == label else "0.0" for k in range(7)]
        lines.append(f"ISIC_{24306 + i:07d}," + ",".join(hot))
    (root / "ISIC2018_Task3_Training_Input" / "LICENSE.txt").write_text("CC")
    if wrong == "two":
        lines[3] = lines[3].replace("0.0", "1.0", 1)
    if wrong == "none":
        lines[3] = lines[3].replace("1.0", "0.0")
    if wrong == "cut":
        lines[-1] = lines[-1][:20]
    if wrong == "header":
        lines = [line.partition(",")[2] for line in lines]
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return f"isic:{root}"


@pytest.mark.parametrize("nested", [True, False])
def test_isic(tmp_path: Path, nested: bool) -> None:
    store = streamed_alike(isic(tmp_path, nested))
    assert store.class_names == tuple(ISIC)
    assert store.labels.tolist() == [1, 0, 6, 1, 1, 2, 3, 4, 5, 0] * 3
    assert brightness(store) == store.labels.tolist()
    assert store.metric == "mean per class"
    found = transfer_splits(store)
    assert torch.bincount(store.labels[found.test]).tolist() == [1, 2, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("two", r"gives ISIC_0024308 the classes MEL, VASC; expected exactly one"),
        ("none", r"gives ISIC_0024308 the classes none; expected exactly one"),
        ("cut", r"GroundTruth\.csv ends in the middle of a row"),
        ("header", r"has no column 'image' or no rows \(columns: MEL, NV"),
    ],
)
def test_isic_tables_that_cannot_be(tmp_path: Path, wrong: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        load(isic(tmp_path, wrong=wrong))


CHEST = ["Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax"]
LEFT_OUT = ["No Finding", "Pneumonia", "Atelectasis|Effusion", "Hernia"]


def chestx(root: Path, lists: bool = True, parts: bool = False) -> str:
    """The columns of the published table; X-rays are gray, a few of them RGBA."""
    root.mkdir(exist_ok=True)
    columns = ["Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age"]
    with (root / "Data_Entry_2017.csv").open("w", newline="") as opened:
        table = csv.writer(opened)
        table.writerow(columns)
        for patient, finding in enumerate([*CHEST, *LEFT_OUT]):
            for visit in range(4):
                index = f"{patient:08d}_{visit:03d}.png"
                table.writerow([index, finding, visit, patient, 58])
                folder = root / (f"images_{visit % 2 + 1:03d}/images" if parts else "images")
                photo(folder / index, 20 * patient, "RGBA" if (patient, visit) == (2, 1) else "L")
    if lists:
        for file, visits in (("train_val_list.txt", (0, 1, 3)), ("test_list.txt", (2,))):
            names = [f"{p:08d}_{v:03d}.png" for p in range(len(CHEST) + len(LEFT_OUT)) for v in visits]
            (root / file).write_text("\n".join(names))
    return f"chestx:{root}"


@pytest.mark.parametrize("parts", [False, True])
def test_chestx(tmp_path: Path, parts: bool) -> None:
    store = streamed_alike(chestx(tmp_path, parts=parts))
    assert store.class_names == tuple(CHEST)
    assert store.labels.tolist() == [label for label in range(7) for _ in range(4)]
    assert brightness(store) == store.labels.tolist()
    assert store.notes["left_out"] == 16
    assert store.rows("test").tolist() == list(range(2, 28, 4))
    assert len(store.rows("train")) == 21
    assert store.channels == 3


def test_chestx_without_the_publishers_lists(tmp_path: Path) -> None:
    store = load(chestx(tmp_path, lists=False))
    assert "train" not in store.splits
    assert "a patient may be in several parts" in transfer_splits(store).how


def cropdisease(root: Path, inside: str = "") -> str:
    for label, name in enumerate(("Apple___Apple_scab", "Corn_(maize)___healthy", "Tomato___healthy")):
        for part, count in (("train", 5), ("test", 2)):
            for i in range(count):
                photo(root / inside / part / name / f"{i} leaf.JPG", 20 * label)
    return f"cropdisease:{root}"


@pytest.mark.parametrize("inside", ["", "dataset"])
def test_cropdisease(tmp_path: Path, inside: str) -> None:
    source = cropdisease(tmp_path, inside)
    store = streamed_alike(source)
    assert store.name == source
    assert store.class_names == ("Apple___Apple_scab", "Corn_(maize)___healthy", "Tomato___healthy")
    assert torch.bincount(store.labels[store.rows("train")]).tolist() == [5, 5, 5]
    assert torch.bincount(store.labels[store.rows("test")]).tolist() == [2, 2, 2]
    assert brightness(store) == store.labels.tolist()
    assert load(source).image_size == 64


def test_cropdisease_names_itself_in_warnings(tmp_path: Path) -> None:
    source = cropdisease(tmp_path)
    (tmp_path / "train" / "Tomato___healthy" / "0 leaf.JPG").write_bytes(b"cut")
    with pytest.warns(UnreadableImages, match=r"^cropdisease:.* 1 of 21 images cannot be read"):
        load(source)


BUILD: list[tuple[Callable[[Path], str], str, str]] = [
    (mit67, "TestImages.txt", r"no TestImages\.txt in .*says which images belong where"),
    (mit67, "Images/bakery/bakery_1.jpg", r"1 of 15 listed images are not there \(first .*bakery_1\.jpg\)"),
    (isic, "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv", "no .*GroundTruth.csv in"),
    (isic, "ISIC2018_Task3_Training_Input/ISIC_0024307.jpg", "1 of 30 listed images are not there"),
    (chestx, "Data_Entry_2017.csv", r"no Data_Entry_2017\.csv in"),
    (chestx, "test_list.txt", r"no test_list\.txt in"),
    (chestx, "images/00000003_001.png", "1 of 28 listed images are not there"),
]


@pytest.mark.parametrize(("build", "file", "sentence"), BUILD, ids=[f"{case[0].__name__}-{case[1]}" for case in BUILD])
def test_what_is_missing_is_named(tmp_path: Path, build: Callable[[Path], str], file: str, sentence: str) -> None:
    source = build(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(InputError, match=sentence) as caught:
        load(source)
    assert str(caught.value).startswith(f"{source}: ")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("build", "file"), [(mit67, "Images/bakery/bakery_1.jpg"), (chestx, "images/00000003_001.png")]
)
def test_an_image_that_cannot_be_read_is_an_error(
    tmp_path: Path, build: Callable[[Path], str], file: str, stream: bool
) -> None:
    source = build(tmp_path)
    cut = tmp_path / file
    cut.write_bytes(cut.read_bytes()[:60])
    with pytest.raises(InputError, match=f"^{source}: image file .*{Path(file).name} cannot be read"):
        load(source, stream=stream)


@pytest.mark.parametrize("kind", ["mit67", "cropdisease", "isic", "chestx"])
def test_folders_that_are_not_there(tmp_path: Path, kind: str) -> None:
    assert f"{kind}:PATH" in known_sources()
    with pytest.raises(InputError, match=f"^{kind}:{tmp_path / 'no'}: no folder .*; give the folder that holds"):
        load(f"{kind}:{tmp_path / 'no'}")
    with pytest.raises(InputError, match=f"'{kind}:' lacks its path; write {kind}:PATH"):
        load(f"{kind}:")
    with pytest.raises(InputError, match=f"^{kind}:{tmp_path}: no "):
        load(f"{kind}:{tmp_path}")


def test_lists_without_an_image(tmp_path: Path) -> None:
    source = mit67(tmp_path)
    (tmp_path / "TrainImages.txt").write_text("\n\n")
    with pytest.raises(InputError, match=r"TrainImages\.txt is empty"):
        load(source)
    (tmp_path / "TrainImages.txt").write_bytes(np.arange(200, 256, dtype=np.uint8).tobytes())
    with pytest.raises(InputError, match=r"TrainImages\.txt cannot be read"):
        load(source)


def test_chestx_of_other_findings_alone(tmp_path: Path) -> None:
    source = chestx(tmp_path, lists=False)
    table = (tmp_path / "Data_Entry_2017.csv").read_text().splitlines()
    (tmp_path / "Data_Entry_2017.csv").write_text("\n".join([table[0], *table[-4:]]))
    with pytest.raises(InputError, match="its lists name no image"):
        load(source)


@pytest.mark.parametrize("word", ["../secret.jpg", "/etc/secret.jpg", "a/../../secret.jpg"])
def test_a_list_names_no_file_outside_of_its_folder(word: str, tmp_path: Path) -> None:
    for file in (tmp_path / "secret.jpg", tmp_path / "mit67" / "secret.jpg"):
        photo(file, 20)
    source = mit67(tmp_path / "mit67")
    with (tmp_path / "mit67" / "TestImages.txt").open("a") as opened:
        opened.write(f"\n{word}")
    with pytest.raises(InputError, match=r"a list names '.*secret.jpg', which is not in .*Images"):
        load(source)
