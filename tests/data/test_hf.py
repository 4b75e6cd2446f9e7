"""Data sets of Hugging Face `datasets`: the images that the same files are in a folder, by whatever way they are stored."""

import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from PIL import Image

from metatc2.data import ImageStore, StreamedImages, UnreadableImages, load
from metatc2.errors import InputError, MissingPackage

SIZE = 12


pytestmark = pytest.mark.usefixtures("own_cache")
NAMES = ("ant", "bee", "cat")  # of the fixture `photos`


@pytest.fixture(scope="module")
def table(photos: Path) -> datasets.Dataset:
    """The same images, in the same order, with their content in the rows."""
    files = sorted(photos.rglob("*.png"))
    columns = {
        "photo": [{"bytes": file.read_bytes(), "path": None} for file in files],
        "kind": [NAMES.index(file.parent.name) for file in files],
        "number": list(range(len(files))),
    }
    kinds = datasets.Features(
        photo=datasets.Image(), kind=datasets.ClassLabel(names=list(NAMES)), number=datasets.Value("int64")
    )
    return datasets.Dataset.from_dict(columns, features=kinds)


def both(source: str, **options: Any) -> tuple[ImageStore, ImageStore]:
    """In memory and streamed; the same store."""
    held = load(source, image_size=SIZE, **options)
    streamed = load(source, image_size=SIZE, stream=True, workers=2, **options)
    assert isinstance(streamed.images, StreamedImages)
    assert streamed.images.fingerprint()
    assert streamed.checksum() == held.checksum()
    return held, streamed


def saved(table: datasets.Dataset, path: Path) -> str:
    table.save_to_disk(str(path))
    return f"hf:{path}"


def files_of(table: datasets.Dataset, root: Path, way: str) -> Path:
    if way == "parquet file":
        table.to_parquet(root / "birds.parquet")
        return root / "birds.parquet"
    if way == "folder of parquet files":
        (root / "data").mkdir()
        table.select(range(6)).to_parquet(root / "data" / "train-00000-of-00002.parquet")
        table.select(range(6, 12)).to_parquet(root / "data" / "train-00001-of-00002.parquet")
        return root / "data"
    table.save_to_disk(str(root / "saved"))
    return next((root / "saved").glob("*.arrow")) if way == "arrow file" else root / "saved"


@pytest.mark.parametrize("way", ["save_to_disk", "arrow file", "parquet file", "folder of parquet files"])
def test_images_are_those_of_the_files(photos: Path, table: datasets.Dataset, tmp_path: Path, way: str) -> None:
    expected = load(f"folder:{photos}", image_size=SIZE)
    held, streamed = both(f"hf:{files_of(table, tmp_path, way)}", root=tmp_path / "converted")
    assert held.images[:].equal(expected.images[:])
    assert held.labels.equal(expected.labels)
    assert held.class_names == NAMES
    assert (held.originals == expected.originals).all()
    assert streamed.images[torch.tensor([7, 0])].equal(expected.images[[7, 0]])


def test_a_folder_of_images(photos: Path, tmp_path: Path) -> None:
    held, _ = both(f"hf:{photos}", root=tmp_path)
    expected = load(f"folder:{photos}", image_size=SIZE)
    assert held.images[:].equal(expected.images[:])
    assert held.labels.equal(expected.labels)
    assert held.class_names == NAMES


def test_parts_are_splits(table: datasets.Dataset, tmp_path: Path) -> None:
    parts = datasets.DatasetDict(train=table.select(range(3, 12)), test=table.select(range(3)))
    held, streamed = both(saved(parts, tmp_path / "parts"))
    assert held.splits["train"].tolist() == [*range(9)]
    assert held.splits["test"].tolist() == streamed.splits["test"].tolist() == [9, 10, 11]
    assert held.labels[held.rows("test")].tolist() == [0, 0, 0]


def test_images_without_a_label_are_a_split_of_their_own(table: datasets.Dataset, tmp_path: Path) -> None:
    kinds = [-1 if i % 4 == 3 else label for i, label in enumerate(table["kind"])]
    some = table.remove_columns("kind").add_column("kind", kinds).cast_column("kind", table.features["kind"])
    held, _ = both(saved(some, tmp_path / "some"))
    assert held.class_names == (*NAMES, "unlabeled")
    assert held.splits["unlabeled"].tolist() == [3, 7, 11]
    assert held.labels.tolist() == [0, 0, 0, 3, 1, 1, 1, 3, 2, 2, 2, 3]


def test_columns_are_named(table: datasets.Dataset, tmp_path: Path) -> None:
    words = table.add_column("word", [NAMES[2 - label] for label in table["kind"]])
    source = saved(words, tmp_path / "words")
    assert load(source).class_names == NAMES
    by_word = load(f"{source}:photo:word")
    assert by_word.class_names == NAMES
    assert by_word.labels.tolist() == [2 - label for label in table["kind"]]
    assert load(f"{source}:photo:number").class_names == tuple(map(str, range(12)))
    plain = saved(words.remove_columns("kind"), tmp_path / "plain")
    assert load(f"{plain}:photo").class_names == ("0",)
    with pytest.raises(
        InputError, match=r"no column of class labels .*number \(int64\).*name one: hf:.*:photo:number, or"
    ):
        load(plain)
    with pytest.raises(InputError, match=r"no column of labels called 'color'; it has photo \(Image\), number"):
        load(f"{plain}:photo:color")
    with pytest.raises(InputError, match="no column of images called 'number'"):
        load(f"{plain}:number")
    two = words.add_column("other", words["kind"]).cast_column("other", words.features["kind"])
    with pytest.raises(InputError, match=r"several columns of class labels.*name one: hf:.*:photo:kind"):
        load(saved(two, tmp_path / "two"))


def test_an_image_that_is_none_is_left_out(table: datasets.Dataset, tmp_path: Path) -> None:
    photos = [row["bytes"] for row in table.cast_column("photo", datasets.Image(decode=False))["photo"]]
    columns = {
        "photo": [{"bytes": b"none" if i == 5 else photo, "path": None} for i, photo in enumerate(photos)],
        "kind": table["kind"],
    }
    kinds = datasets.Features({name: table.features[name] for name in ("photo", "kind")})
    source = saved(datasets.Dataset.from_dict(columns, features=kinds), tmp_path / "bad")
    with pytest.warns(UnreadableImages, match=r"1 of 12 images cannot be read.*row 5 \(Pillow finds no image in it\)"):
        held, _ = both(source)
    assert (len(held), held.notes["unreadable"]) == (11, 1)


def test_image_files_that_rows_name_are_looked_at_again_when_they_change(photos: Path, tmp_path: Path) -> None:
    image = tmp_path / "one.png"
    image.write_bytes((photos / "ant" / "0.png").read_bytes())
    kinds = datasets.Features(photo=datasets.Image(), kind=datasets.ClassLabel(names=["a", "b"]))
    rows = {"photo": [{"path": str(file), "bytes": None} for file in (image, photos / "bee" / "0.png")], "kind": [0, 1]}
    source = saved(datasets.Dataset.from_dict(rows, features=kinds), tmp_path / "paths")
    # Where files are named, their content is saved too, unless it is written as it stands.
    import pyarrow

    (file,) = (tmp_path / "paths").glob("*.arrow")
    writer = datasets.arrow_writer.ArrowWriter(features=kinds, path=str(file))
    writer.write_table(
        pyarrow.table({"photo": pyarrow.array(rows["photo"]), "kind": rows["kind"]}).cast(kinds.arrow_schema)
    )
    writer.finalize()
    before, _ = both(source)
    Image.new("RGB", (9, 9), (200, 2, 3)).save(image)
    after, _ = both(source)
    assert before.checksum() != after.checksum()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nowhere", "no file or folder nowhere; if it is a name on the Hugging Face Hub, allow the download"),
        ("owner/birds", "if it is a name on the Hugging Face Hub, allow the download"),
        ("/nowhere/at/all", "no file or folder /nowhere/at/all$"),
        ("{root}/note.txt", "is no data set; give a folder that save_to_disk wrote"),
        ("{root}/cut.parquet", "cannot be opened as a data set"),
        ("{root}/empty", "cannot be opened as a data set"),
        ("{root}/words.parquet", r"has no column of images; it has word \(string\)"),
    ],
)
def test_what_is_no_data_set_of_images(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 cut")
    (tmp_path / "empty").mkdir()
    if "words" in text:
        datasets.Dataset.from_dict({"word": ["a", "b"]}).to_parquet(tmp_path / "words.parquet")
    with pytest.raises(InputError, match=sentence):
        load(f"hf:{text.format(root=tmp_path)}", root=tmp_path / "converted")


def test_the_package_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingPackage, match=r"needs the package datasets; pip install 'metatc2\[hf\]'"):
        load(f"hf:{tmp_path}")
