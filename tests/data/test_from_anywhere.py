"""Stores of a program's own images: data sets of torch, arrays of any type and order of axes, many channels, oblong images."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import Normalize, ToTensor

from metatc2.augment import Views
from metatc2.data import ImageStore, load
from metatc2.data.value_range import DarkImages
from metatc2.episodes import LabeledTasks, SplitBatch
from metatc2.errors import InputError
from metatc2.transfer import KNN, FewShot, Target, evaluate, expand_targets

GENERATOR = np.random.default_rng(0)
BYTES = GENERATOR.integers(0, 256, (6, 9, 9, 3), dtype=np.uint8)
LABELS = [0, 1, 2, 0, 1, 2]
PIXELS = torch.from_numpy(BYTES).permute(0, 3, 1, 2)

FORMS: dict[str, Any] = {
    "images of Pillow": [(Image.fromarray(image), label) for image, label in zip(BYTES, LABELS, strict=True)],
    "arrays": list(zip(BYTES, LABELS, strict=True)),
    "tensors of bytes": TensorDataset(PIXELS, torch.tensor(LABELS)),
    "tensors in [0, 1]": [(image.float() / 255, label) for image, label in zip(PIXELS, LABELS, strict=True)],
    "double tensors": [(image.double(), np.int64(label)) for image, label in zip(PIXELS, LABELS, strict=True)],
    "mappings": [{"img": image, "label": label} for image, label in zip(BYTES, LABELS, strict=True)],
    "lists with more": [[image, label, {"id": 3}] for image, label in zip(BYTES, LABELS, strict=True)],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_dataset_gives_the_pixels_and_labels(form: str) -> None:
    store = ImageStore.from_dataset(FORMS[form])
    assert torch.equal(store.images, PIXELS)
    assert (store.labels.tolist(), store.class_names) == (LABELS, ("0", "1", "2"))
    assert {"meta-train", "meta-test", "all"} <= store.splits.keys()


def test_a_folder_of_torchvision_is_the_folder(tmp_path: Path) -> None:
    for i, image in enumerate(BYTES):
        (tmp_path / "abc"[i % 3]).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "abc"[i % 3] / f"{i}.png")
    theirs = ImageFolder(str(tmp_path))
    ours, store = load(f"folder:{tmp_path}", image_size=9), ImageStore.from_dataset(theirs)
    assert torch.equal(store.images, ours.images)
    assert (store.class_names, store.labels.tolist()) == (ours.class_names, ours.labels.tolist())
    part = ImageStore.from_dataset(Subset(theirs, [4, 0]), image_size=8)
    assert (part.class_names, part.labels.tolist(), part.images.shape) == (("a", "b", "c"), [2, 0], (2, 3, 8, 8))


def test_images_are_resized_as_a_folder_resizes_them(tmp_path: Path) -> None:
    image = Image.fromarray(GENERATOR.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    for name in "ab":
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "0.png")
    pixels = load(f"folder:{tmp_path}", image_size=16).images[:1]
    assert torch.equal(ImageStore.from_dataset([image], image_size=16).images, pixels)
    assert torch.equal(ImageStore.from_arrays(np.array(image)[None], image_size=16).images, pixels)
    # Values that become pixels afterwards differ by rounding alone.
    values = ImageStore.from_dataset([ToTensor()(image)], image_size=16).images
    assert (values.int() - pixels.int()).abs().max() <= 1


class Stream(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        return iter(FORMS["arrays"])


def test_streams_words_and_missing_labels() -> None:
    assert torch.equal(ImageStore.from_dataset(Stream()).images, PIXELS)
    store = ImageStore.from_dataset([(BYTES[0], "cat"), (BYTES[1], None), (BYTES[2], "ant")])
    assert (store.class_names, store.labels.tolist()) == (("ant", "cat", "unlabeled"), [1, 2, 0])
    assert store.rows("unlabeled").tolist() == [1]
    assert ImageStore.from_dataset(list(PIXELS)).class_names == ("0",)


class Odd(Dataset[Any]):
    def __init__(self, item: Any) -> None:
        self.item = item

    def __len__(self) -> int:
        return 2

    def __getitem__(self, row: int) -> Any:
        return self.item if row else (BYTES[0], 0)


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (Odd((BYTES[0], torch.zeros(3))), r"label 1 is of shape \(3,\)"),
        (Odd((BYTES[0], 0.5)), "label 1 is a float"),
        (Odd(("path.png", 0)), "item 1: must be an image of Pillow, a NumPy array or a tensor, got str"),
        (Odd(()), "item 1 is empty"),
        (Odd({"text": "a"}), "item 1 has text and none of image, img"),
        (Odd((BYTES, 0)), r"item 1: an image must be \(H, W\), .* got \(6, 9, 9, 3\)"),
        (Odd((BYTES[0, :5], 0)), "images are of 2 sizes .such as 5 × 9 and 9 × 9.; give image_size"),
        ([], "the dataset has no items"),
        (3, "must be a torch Dataset"),
        ("digits", "is a str and no Dataset"),
        (DataLoader(FORMS["arrays"]), "gives batches; give its dataset"),
        ([Normalize([0.5] * 3, [0.2] * 3)(PIXELS[0] / 255)], "from -2.* normalizes them, leave that out"),
        ([PIXELS[0].float() + torch.nan], "hold NaN"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_number(dataset: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ImageStore.from_dataset(dataset)


class Broken(Dataset[Any]):
    """The user's own: its third item cannot be had."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 4

    def __getitem__(self, row: int) -> Any:
        if row == 2:
            raise self.error
        return PIXELS[row], row


class BrokenStream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield PIXELS[0], 0
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (FileNotFoundError(2, "No such file", "a.png"), r"FileNotFoundError: \[Errno 2\] No such file: 'a.png'"),
        (IndexError("list index\nout of range"), "IndexError: list index out of range"),  # and not the end of the items
        (StopIteration(), "RuntimeError: generator raised StopIteration"),
        (ValueError(), "ValueError"),
    ],
)
def test_an_item_that_raises_is_named_with_its_class_and_the_error_chained(error: Exception, why: str) -> None:
    with pytest.raises(
        InputError, match=rf"^mine: item 2 of Broken cannot be read \({why}\); mend the dataset"
    ) as caught:
        ImageStore.from_dataset(Broken(error), "mine")
    assert error in (caught.value.__cause__, getattr(caught.value.__cause__, "__cause__", None))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="item 1 of BrokenStream cannot be read"):
        ImageStore.from_dataset(BrokenStream())


@pytest.mark.parametrize(
    ("values", "asked", "pixels", "noted"),
    [
        (np.array([0, 1000, 4095], np.uint16), None, [0, 62, 255], "0 to 4095"),
        (np.array([0, 4096, 65535], np.uint16), None, [0, 16, 255], "0 to 65535"),
        (np.array([0, 600, 1023], np.int32), None, [0, 150, 255], "0 to 1023"),
        (np.array([0, 600, 1023], np.int32), (0, 2046), [0, 75, 128], "0 to 2046"),
        (np.array([0, 0.5, 1.0], np.float32), None, [0, 128, 255], "0 to 1"),
        (np.array([0, 0.5, 254.6]), None, [0, 0, 255], "0 to 255"),
        (np.array([-1.0, 0.0, 3.0]), (-1, 1), [0, 128, 255], "-1 to 1"),
        (np.array([False, True, True]), None, [0, 255, 255], None),
    ],
)
def test_depths_are_scaled_by_one_rule_for_all_images(
    tmp_path: Path, values: Any, asked: tuple[float, float] | None, pixels: list[int], noted: str | None
) -> None:
    images = np.broadcast_to(values[:, None, None], (3, 4, 4))
    store = ImageStore.from_arrays(images, value_range=asked)
    assert store.images[:, 0, 0, 0].tolist() == pixels
    assert store.notes.get("value_range") == noted
    np.savez(tmp_path / "x.npz", images=images)
    again = load(f"npz:{tmp_path / 'x.npz'}", value_range=asked)
    assert torch.equal(again.images, store.images)
    assert again.notes.get("value_range") == noted
    if values.dtype != np.bool_:
        one_by_one = ImageStore.from_dataset(list(torch.from_numpy(images.astype(np.float64))), value_range=asked)
        assert torch.equal(one_by_one.images, store.images)


@pytest.mark.parametrize(("brightest", "white"), [(16.0, 16), (37.5, 38), (1.02, 1), (63, 63)])
def test_images_that_are_nearly_black_are_said_with_the_cure(brightest: float, white: int) -> None:
    values = np.linspace(0, brightest, 5 * 64).reshape(5, 8, 8).astype(type(brightest))
    cure = rf"digits: the largest value is {brightest:g} .* white is {white}, .*value_range=\(0, {white}\)"
    with pytest.warns(DarkImages, match=cure) as said:
        dark = ImageStore.from_arrays(values, name="digits")
    assert int(dark.images.max()) == round(brightest)  # as before
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert int(ImageStore.from_arrays(values, value_range=(0, white)).images.max()) >= 250


@pytest.mark.parametrize("values", [np.full((2, 8, 8), 1.0), np.full((2, 8, 8), 64.0), np.full((2, 8, 8), 5, np.uint8)])
def test_images_that_are_as_they_seem_are_not_warned_of(values: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ImageStore.from_arrays(values)


def test_pictures_of_16_bits_of_a_dataset_share_their_white() -> None:
    dark, bright = (Image.fromarray(np.full((4, 4), value, np.uint16)) for value in (1000, 4000))
    store = ImageStore.from_dataset([dark, bright])
    assert store.images[:, 0, 0, 0].tolist() == [round(1000 / 4095 * 255), round(4000 / 4095 * 255)]


@pytest.mark.parametrize("shape", [(6, 12, 12, 7), (6, 7, 12, 12), (6, 12, 10, 7), (6, 7, 12, 10)])
def test_many_channels_in_any_order(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = GENERATOR.integers(0, 256, shape, dtype=np.uint8)
    right = images if shape[1] == 7 else images.transpose(0, 3, 1, 2)
    store = ImageStore.from_arrays(images, LABELS)
    assert np.array_equal(store.images.numpy(), right)
    assert store.channels == 7
    np.savez(tmp_path / "x.npz", images=images, labels=LABELS)
    assert load(f"npz:{tmp_path / 'x.npz'}", image_size=8).images.shape == (6, 7, 8, 8)
    with pytest.raises(InputError, match="its images have 7 channels and 3 are needed"):
        load(f"npz:{tmp_path / 'x.npz'}", channels=3)
    assert load(f"npz:{tmp_path / 'x.npz'}", channels=1).channels == 1


def test_views_of_many_channels_leave_out_colors_alone() -> None:
    images = torch.from_numpy(GENERATOR.integers(0, 256, (40, 5, 12, 12), dtype=np.uint8))
    recipe = Views(jitter=1.0, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, grayscale=1.0)
    views, descriptors = recipe(images, torch.Generator().manual_seed(0))
    plain = Views(jitter=1.0, brightness=0.4, contrast=0.4)
    without, same = plain(images, torch.Generator().manual_seed(0))
    assert torch.equal(views, without)
    assert torch.equal(descriptors, same)
    # The equations: brightness, then contrast around the mean over pixels and channels.
    drawn = recipe.sample(1, torch.Generator().manual_seed(1))
    factors = recipe._factors(drawn[:, _columns("color")])[0]
    x = (images[:1].double() / 255 * factors[0]).clamp(0, 1)
    x = (factors[1] * x + (1 - factors[1]) * x.mean()).clamp(0, 1)
    torch.testing.assert_close(recipe.apply(images[:1], drawn), x.float(), atol=1e-5, rtol=0)


def _columns(name: str) -> slice:
    from metatc2.augment.descriptor import DESCRIPTOR

    return DESCRIPTOR[name]


def test_oblong_images_of_many_channels_are_learned_from_and_measured() -> None:
    labels = [i % 4 for i in range(40)]
    images = GENERATOR.integers(0, 60, (40, 10, 16, 5)).astype(np.uint8)
    images[np.arange(40), :, np.array(labels)] += 150  # a bright column tells the class
    store = ImageStore.from_arrays(images, labels, "strips")
    assert store.images.shape == (40, 5, 10, 16)
    with pytest.raises(InputError, match="strips: images are 10 × 16 and here they must be square"):
        _ = store.image_size
    sampler = SplitBatch(store, Views.natural(), tasks=2, batch=8, split="all")
    episode = next(iter(sampler))
    assert episode.support.images.shape[-3:] == (5, 10, 16)
    (target,) = expand_targets(store, "all")
    encoder = torch.nn.Sequential(torch.nn.AvgPool2d((10, 1)), torch.nn.Flatten())
    protocols = [FewShot(ways=(4,), shots=(1,), episodes=20, heads=("euclidean",)), KNN(ks=(3,))]
    rows, _ = evaluate({"encoder": encoder}, [target], protocols=protocols)
    assert {row.protocol: row.mean for row in rows if row.features == "encoder"} == {"few-shot": 1.0, "knn": 1.0}


@pytest.mark.parametrize(
    "use",
    [
        lambda d: SplitBatch(d, Views.none(), tasks=2, batch=4),
        lambda d: LabeledTasks(d, way=2, shot=1, query=1, tasks=1),
        lambda d: Target(d, "all", "mine"),
        lambda d: expand_targets(d),
    ],
)
def test_a_dataset_where_a_store_is_expected_is_told_how_it_becomes_one(use: Any) -> None:
    with pytest.raises(
        InputError, match=r"takes an ImageStore, got a TensorDataset; make one: ImageStore.from_dataset"
    ):
        use(TensorDataset(PIXELS, torch.tensor(LABELS)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image_size": 0}, "image_size must be at least 1"),
        ({"image_size": "8"}, "image_size must be a whole number"),
        ({"splits": "test"}, "splits must be rows by the name"),
        ({"splits": {"test": [0, 1]}}, "split 'test' must be an int64 vector"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], said: str) -> None:
    images = np.zeros((4, 8, 8), dtype=np.uint8)
    with pytest.raises(InputError, match=f"mine: {said}"):
        ImageStore.from_arrays(images, [0, 1, 0, 1], "mine", **options)
    with pytest.raises(InputError, match=f"mine: {said}"):
        ImageStore.from_dataset(list(zip(images, [0, 1, 0, 1], strict=True)), "mine", **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image_size": "8"}, "image_size must be a whole number"),
        ({"image_size": True}, "image_size must be a whole number"),
        ({"channels": 1.5}, "channels must be a whole number"),
        ({"workers": "x"}, "workers must be a whole number"),
        ({"value_range": "12"}, "value_range must be two numbers"),
        ({"value_range": (0, None)}, "value_range must be two numbers"),
        ({"value_range": 255}, "value_range must be two numbers"),
    ],
)
def test_what_is_no_number_of_a_source(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"digits: {said}"):
        load("digits", **options)
