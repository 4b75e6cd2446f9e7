import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metatc2.data import UnreadableImages, load
from metatc2.errors import InputError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def save(file: Path, image: Image.Image | None = None, **options: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    (image or Image.new("L", (8, 8), 100)).save(file, **options)
    return file


def classes(root: Path, names: str = "ab", count: int = 2) -> Path:
    for name in names:
        for i in range(count):
            save(root / name / f"{i}.png", Image.new("L", (8, 8), 40 * i + ord(name)))
    return root


def first(root: Path, image: Image.Image, ending: str = "png", size: int = 8, **options: object) -> torch.Tensor:
    """The image as it comes out of a folder whose other class is gray."""
    save(root / "a" / f"0.{ending}", image, **options)
    save(root / "b" / "0.png", Image.new("L", (8, 8), 1))
    return load(f"folder:{root}", image_size=size).images[0]


def test_classes_labels_and_sizes(tmp_path: Path) -> None:
    store = load(f"folder:{classes(tmp_path, 'cab', 3)}")
    assert store.class_names == ("a", "b", "c")
    assert store.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert store.images.shape == (9, 1, 32, 32)
    assert [int(image.float().mean()) for image in store.images] == [97, 137, 177, 98, 138, 178, 99, 139, 179]
    assert store.notes["unreadable"] == 0
    assert {name: len(store.rows(name)) for name in ("meta-train", "meta-validation", "meta-test")} == {
        "meta-train": 3,
        "meta-validation": 3,
        "meta-test": 3,
    }


def test_any_size_is_resized_and_cut_to_the_center(tmp_path: Path) -> None:
    wide = Image.new("RGB", (300, 100), RED)
    wide.paste(BLUE, (100, 0, 200, 100))
    save(tmp_path / "a" / "wide.png", wide)
    save(tmp_path / "a" / "high.png", wide.rotate(90, expand=True))
    save(tmp_path / "b" / "tiny.png", Image.new("RGB", (3, 2), RED))
    images = load(f"folder:{tmp_path}", image_size=20).images
    assert images.shape == (3, 3, 20, 20)
    middle = images[:2, :, 2:-2, 2:-2]
    assert middle[:, 2].unique().tolist() == [255]
    assert middle[:, 0].unique().tolist() == [0]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (8, 8), 90), [90]),
        (Image.new("1", (8, 8), 1), [255]),
        (Image.new("RGB", (8, 8), (10, 20, 30)), [10, 20, 30]),
        (Image.new("LA", (8, 8), (90, 255)), [90]),
        (Image.new("LA", (8, 8), (90, 0)), [255]),
        (Image.new("RGBA", (8, 8), (10, 20, 30, 255)), [10, 20, 30]),
        (Image.new("RGBA", (8, 8), (10, 20, 30, 0)), [255, 255, 255]),
        (Image.new("RGBA", (8, 8), (0, 0, 0, 51)), [204, 204, 204]),
        (Image.new("RGB", (8, 8), (10, 20, 30)).quantize(4), [10, 20, 30]),
    ],
    ids=["L", "1", "RGB", "LA", "LA-clear", "RGBA", "RGBA-clear", "RGBA-half", "P"],
)
def test_modes(tmp_path: Path, image: Image.Image, expected: list[int]) -> None:
    pixels = first(tmp_path, image)
    assert pixels.flatten(1).unique(dim=1).tolist() == [[value] for value in expected]


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([*RED, *BLUE])
    image.paste(1, (0, 0, 4, 8))
    pixels = first(tmp_path, image, transparency=1)
    assert pixels[:, 0, 0].tolist() == [255, 255, 255]
    assert pixels[:, 0, -1].tolist() == list(RED)


@pytest.mark.parametrize("level", [65535, 32768, 200, 0])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path, level: int) -> None:
    """A dark image stays dark: the scale is the format's, not the image's."""
    pixels = first(tmp_path, Image.fromarray(np.full((8, 8), level, dtype=np.uint16)))
    assert pixels.shape[0] == 1
    assert abs(int(pixels.unique()) - level / 257) <= 0.51


def test_integers_of_32_bits_and_floats(tmp_path: Path) -> None:
    half = np.full((8, 8), 32768, dtype=np.int32)
    assert first(tmp_path / "int", Image.fromarray(half), "tif").unique().tolist() in ([127], [128])
    assert first(tmp_path / "float", Image.fromarray(half.astype(np.float32)), "tif").unique().tolist() in (
        [127],
        [128],
    )


def test_cmyk_jpeg(tmp_path: Path) -> None:
    pixels = first(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "jpg", quality=95)
    assert pixels.shape[0] == 3
    assert (pixels.float().mean((1, 2)) - torch.tensor([255.0, 0.0, 0.0])).abs().max() < 12


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))])
def test_exif_orientation(tmp_path: Path, orientation: int, corner: tuple[int, int]) -> None:
    image = Image.new("L", (32, 32), 0)
    image.paste(255, (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = first(tmp_path, image, "jpg", size=32, exif=exif)
    corners = {(r, c): int(pixels[0, r, c]) for r in (0, -1) for c in (0, -1)}
    assert [place for place, value in corners.items() if value > 128] == [corner]


def test_one_color_image_makes_all_color(tmp_path: Path) -> None:
    classes(tmp_path)
    save(tmp_path / "b" / "color.png", Image.new("RGB", (8, 8), RED))
    store = load(f"folder:{tmp_path}")
    assert store.channels == 3
    assert store.images[0, :, 0, 0].tolist() == [97, 97, 97]
    assert load(f"folder:{tmp_path}", channels=1).channels == 1


def test_truncated_and_corrupt_files_are_named_and_counted(tmp_path: Path) -> None:
    classes(tmp_path)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for name in ("cut.jpg", "cut.png", "cut.gif"):
        file = save(tmp_path / "a" / name, noise)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    (tmp_path / "b" / "text.png").write_text("no image")
    (tmp_path / "b" / "empty.jpg").touch()
    (tmp_path / "b" / "link.png").symlink_to(tmp_path / "nowhere.png")
    bad = ["a/cut.jpg", "a/cut.png", "a/cut.gif", "b/text.png", "b/empty.jpg", "b/link.png"]
    with pytest.warns(UnreadableImages, match="6 of 10 images cannot be read and are left out: a/cut") as caught:
        store = load(f"folder:{tmp_path}")
    assert len(caught) == 1
    assert len(store) == 4
    assert store.notes["unreadable"] == 6
    assert sorted(str(store.notes["unreadable_files"]).split(", ")) == sorted(bad)
    assert sum(name in str(caught[0].message) for name in bad) >= 5


def test_good_folders_do_not_warn(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(f"folder:{classes(tmp_path)}")
    assert caught == []


def test_a_class_that_lost_all_its_images_leaves_no_hole(tmp_path: Path) -> None:
    classes(tmp_path, "abc")
    for file in (tmp_path / "b").iterdir():
        file.write_bytes(b"")
    with pytest.warns(UnreadableImages, match="2 of 6"):
        store = load(f"folder:{tmp_path}")
    assert store.class_names == ("a", "c")
    assert store.labels.tolist() == [0, 0, 1, 1]


def test_hidden_and_other_files(tmp_path: Path) -> None:
    classes(tmp_path)
    for other in ("a/notes.txt", "b/labels.csv", "README", "a/model.h5"):
        (tmp_path / other).write_text("text")
    save(tmp_path / "lost.png")  # in no class folder
    save(tmp_path / ".hidden" / "0.png")
    save(tmp_path / "a" / ".thumbs" / "0.png")
    save(tmp_path / "__MACOSX" / "a" / "0.png")
    (tmp_path / "a" / "._0.png").write_bytes(b"resource fork")
    (tmp_path / "a" / ".DS_Store").write_bytes(b"\0")
    store = load(f"folder:{tmp_path}")
    assert store.class_names == ("a", "b")
    assert len(store) == 4
    assert store.notes["ignored_files"] == 5


def test_upper_case_endings_and_deeper_folders_count(tmp_path: Path) -> None:
    classes(tmp_path)
    save(tmp_path / "a" / "2020" / "x.PNG")
    save(tmp_path / "b" / "x.JPeG", format="JPEG")
    assert load(f"folder:{tmp_path}").labels.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("words", [("train", "test"), ("Training", "Testing"), ("train", "val", "test")])
def test_official_splits(tmp_path: Path, words: tuple[str, ...]) -> None:
    for i, word in enumerate(words):
        classes(tmp_path / word, "abc", i + 1)
    store = load(f"folder:{tmp_path}")
    assert store.class_names == ("a", "b", "c")
    for i, word in enumerate(words):
        rows = store.rows(word.lower().replace("ing", ""))
        assert store.labels[rows].tolist() == sorted([0, 1, 2] * (i + 1))
        # Other words have the images of the same name, so the pixels tell which is which.
    assert sum(len(store.splits[w.lower().replace("ing", "")]) for w in words) == len(store)
    parts = [set(store.labels[store.rows(f"meta-{p}")].tolist()) for p in ("train", "validation", "test")]
    assert sum(map(len, parts)) == 3 == len(set.union(*parts))


def test_official_splits_hold_their_own_images(tmp_path: Path) -> None:
    for word, level in (("train", 10), ("test", 200)):
        for name in "ab":
            save(tmp_path / word / name / "0.png", Image.new("L", (8, 8), level))
    store = load(f"folder:{tmp_path}")
    assert store.images[store.rows("train")].unique().tolist() == [10]
    assert store.images[store.rows("test")].unique().tolist() == [200]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("train", "plane", "bus"):
        save(tmp_path / name / "0.png")
    store = load(f"folder:{tmp_path}")
    assert store.class_names == ("bus", "plane", "train")
    assert "train" not in store.splits


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: no such folder"):
        load(f"folder:{tmp_path / 'none'}")


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="x.png: is a file, not a folder"):
        load(f"folder:{save(tmp_path / 'x.png')}")


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no image.*at least two"):
        load(f"folder:{tmp_path}")


def test_images_without_class_folders(tmp_path: Path) -> None:
    save(tmp_path / "x.png")
    with pytest.raises(InputError, match="found no image"):
        load(f"folder:{tmp_path}")


def test_one_class(tmp_path: Path) -> None:
    classes(tmp_path, "a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found one class, 'a'.*at least two"):
        load(f"folder:{tmp_path}")


def test_all_corrupt(tmp_path: Path) -> None:
    for file in classes(tmp_path).rglob("*.png"):
        file.write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match="4 of 4 images cannot be read.*fewer than two classes"):
        load(f"folder:{tmp_path}")


def test_images_published_for_validation_and_test_are_in_no_meta_train(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        for label in "abcdef":
            (tmp_path / part / label).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(
                    tmp_path / part / label / f"{i}.png"
                )
    for stream in (False, True):
        store = load(f"folder:{tmp_path}", image_size=8, stream=stream)
        learned = set(store.rows("meta-train").tolist())
        assert learned
        assert learned <= set(store.rows("train").tolist())
        # Classes that are held out are so with all their images.
        held = torch.cat([store.rows("meta-validation"), store.rows("meta-test")])
        assert len(held) == int(torch.isin(store.labels, store.labels[held].unique()).sum())
