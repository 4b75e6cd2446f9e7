from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metatc2.data import ImageStore, load
from metatc2.data.splits import transfer_splits
from metatc2.episodes import LabeledTasks
from metatc2.errors import InputError
from metatc2.experiment.config import Config, override
from metatc2.experiment.targets import Sources
from metatc2.transfer import Target
from metatc2.transfer.evaluate import check_target

from ..command_line import call

GENERATOR = np.random.default_rng(0)
GRAY = GENERATOR.integers(0, 256, (12, 6, 6), dtype=np.uint8)
COLOR = GENERATOR.integers(0, 256, (12, 3, 6, 6), dtype=np.uint8)
LABELS = np.repeat(np.arange(4), 3)


def write(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "set.npz", **arrays)
    return f"npz:{folder / 'set.npz'}"


def meta_classes(store: ImageStore) -> list[set[int]]:
    names = ("meta-train", "meta-validation", "meta-test")
    return [set(store.labels[store.splits[name]].tolist()) for name in names if name in store.splits]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (GRAY, GRAY[:, None]),
        (GRAY[..., None], GRAY[:, None]),
        (GRAY[:, None], GRAY[:, None]),
        (COLOR, COLOR),
        (COLOR.transpose(0, 2, 3, 1), COLOR),
        (np.asfortranarray(COLOR), COLOR),
    ],
)
def test_layouts(tmp_path: Path, stored: np.ndarray, expected: np.ndarray) -> None:
    source = write(tmp_path, images=stored, labels=LABELS)
    store = load(source)
    np.testing.assert_array_equal(store.images.numpy(), expected)
    assert store.labels.tolist() == LABELS.tolist()
    assert store.name == source
    assert store.class_names == ("0", "1", "2", "3")


def test_compressed_archives_are_read_as_well(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "set.npz", images=GRAY, labels=LABELS)
    np.testing.assert_array_equal(load(f"npz:{tmp_path / 'set.npz'}").images[:, 0].numpy(), GRAY)


def test_unequal_sides_are_cut_to_the_center(tmp_path: Path) -> None:
    wide = np.zeros((4, 6, 10), dtype=np.uint8)
    wide[:, :, 2:8] = 7
    store = load(write(tmp_path, images=wide))
    assert store.images.shape == (4, 1, 6, 6)
    assert store.images.unique().tolist() == [7]


def test_image_size(tmp_path: Path) -> None:
    assert load(write(tmp_path, images=COLOR), image_size=9).images.shape == (12, 3, 9, 9)


def test_what_needs_labels_says_how_an_archive_gets_them(tmp_path: Path) -> None:
    store = load(write(tmp_path, images=GRAY))
    target = Target(store, "all", f"{store.name}:all")
    for refused in (
        lambda: check_target(target, []),
        lambda: transfer_splits(store),
        lambda: LabeledTasks(store),
    ):
        with pytest.raises(InputError, match=r"no array 'labels': write it again with numpy\.savez\(PATH, images="):
            refused()
    one = load(write(tmp_path, images=GRAY, labels=LABELS * 0))  # labels, of one class
    with pytest.raises(InputError, match="name a target with at least two classes$"):
        check_target(Target(one, "all", f"{one.name}:all"), [])


def test_values_of_unknown_black_and_white_say_what_a_command_takes(tmp_path: Path) -> None:
    source = write(tmp_path, images=GRAY.astype(np.float32) / 100 - 1, labels=LABELS)
    with pytest.raises(
        InputError, match=r"say it with --set data\.value_range=BLACK,WHITE \(metatc2 transfer: --value"
    ) as e:
        load(source)
    words = str(e.value).replace("BLACK", "-1").replace("WHITE", "2").split()
    data = override(Config(), [words[words.index("--set") + 1]]).data
    assert load(source, value_range=data.value_range).notes["value_range"] == "-1 to 2"
    option, black, white = words[words.index("--value-range") :][:3]
    asked: list[object] = []

    def kept(*given: object, sources: Sources, **rest: object) -> None:
        asked.append(sources.value_range)
        raise InputError("it is known what would be measured")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metatc2.experiment.transfer.transfer", kept)
        assert call("transfer", "nowhere", option, black, white.rstrip(";")) == 2
    assert asked == [(-1.0, 2.0)]


def test_without_labels_all_is_one_class_and_meta_train(tmp_path: Path) -> None:
    store = load(write(tmp_path, images=GRAY))
    assert store.labels.tolist() == [0] * 12
    assert store.rows("meta-train").tolist() == list(range(12))
    assert "meta-test" not in store.splits


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, np.uint64])
def test_meta_splits_share_no_class(tmp_path: Path, kind: type) -> None:
    store = load(write(tmp_path, images=GRAY, labels=LABELS.astype(kind)))
    parts = meta_classes(store)
    assert len(parts) == 3
    assert all(parts)
    assert set.union(*parts) == {0, 1, 2, 3}
    assert sum(map(len, parts)) == 4


def test_gaps_in_the_numbering_leave_no_meta_split_empty(tmp_path: Path) -> None:
    store = load(write(tmp_path, images=GRAY, labels=LABELS * 1_000_003 + 7))
    parts = meta_classes(store)
    assert all(parts)
    assert len(set.union(*parts)) == 4
    assert {store.class_names[label] for label in store.labels.tolist()} == {str(7 + i * 1_000_003) for i in range(4)}


def test_names_and_domains(tmp_path: Path) -> None:
    store = load(
        write(
            tmp_path,
            images=GRAY,
            labels=LABELS,
            domains=np.tile([0, 1, 1], 4),
            class_names=np.array(["ant", "bee", "cat", "dog"]),
            domain_names=np.array(["photo", "sketch"]),
        )
    )
    assert store.class_names == ("ant", "bee", "cat", "dog")
    assert store.domain_names == ("photo", "sketch")
    assert store.domains.tolist() == [0, 1, 1] * 4


def test_own_splits_stand_beside_the_meta_splits(tmp_path: Path) -> None:
    store = load(write(tmp_path, images=GRAY, labels=LABELS, split=np.array(["train", "test", "train"] * 4)))
    assert store.rows("test").tolist() == [1, 4, 7, 10]
    assert len(store.rows("train")) == 8
    assert all(meta_classes(store))


def test_own_meta_splits_replace_the_dealt_ones(tmp_path: Path) -> None:
    split = np.array(["meta-train"] * 6 + ["meta-test"] * 6)
    store = load(write(tmp_path, images=GRAY, labels=LABELS, split=split))
    assert store.rows("meta-test").tolist() == list(range(6, 12))
    assert set(store.splits) == {"all", "meta-train", "meta-test"}


def test_own_meta_splits_must_share_no_class(tmp_path: Path) -> None:
    split = np.array(["meta-train", "meta-test"] * 6)
    with pytest.raises(InputError, match="is in both meta-"):
        load(write(tmp_path, images=GRAY, labels=LABELS, split=split))


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"pictures": GRAY}, "no array 'images'.*pictures"),
        ({"images": GRAY.astype(np.float32) - 1}, "values from -1 to .*value_range"),
        ({"images": GRAY.astype(np.complex64)}, "'images' must be numbers.*complex64"),
        ({"images": GRAY[0]}, r"'images' must be numbers.*\(6, 6\)"),
        ({"images": GRAY[:0]}, r"'images' must be numbers.*\(0, 6, 6\)"),
        ({"images": GRAY[:, :0]}, r"'images' must be numbers.*\(12, 0, 6\)"),
        (
            {"features": np.zeros((4, 2))},
            "holds features and no images; they are measured by: metatc2 transfer features:",
        ),
        ({"images": np.array([GRAY[0], None], dtype=object)}, "Python objects"),
        ({"images": GRAY, "labels": np.array(["a"] * 12, dtype=object)}, "Python objects"),
        ({"images": GRAY, "labels": LABELS[:5]}, r"'labels' must be whole numbers.*\(12,\).*\(5,\)"),
        ({"images": GRAY, "labels": LABELS[:, None]}, "'labels' must be whole numbers"),
        ({"images": GRAY, "labels": LABELS.astype(float)}, "'labels' must be whole numbers.*float64"),
        ({"images": GRAY, "labels": LABELS > 1}, "'labels' must be whole numbers.*bool"),
        ({"images": GRAY, "labels": LABELS.astype(bytes)}, "'labels' must be whole numbers"),
        ({"images": GRAY, "labels": LABELS - 1}, "'labels' must be whole numbers from 0 on.*-1"),
        ({"images": GRAY, "domains": LABELS - 1}, "'domains' must be whole numbers from 0 on.*-1"),
        ({"images": GRAY, "domains": LABELS[:5]}, "'domains' must be whole numbers"),
        ({"images": GRAY, "labels": LABELS, "class_names": np.array(["a", "b"])}, "labels"),
        ({"images": GRAY, "labels": LABELS - 1, "class_names": np.array(list("abcd"))}, "labels"),
        ({"images": GRAY, "labels": LABELS, "class_names": np.array("abcd")}, "'class_names' must be a list"),
        ({"images": GRAY, "domains": LABELS, "domain_names": np.array(["a"])}, "domains"),
        ({"images": GRAY, "split": np.array(["train"] * 11)}, "'split' must be one word an image"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, arrays: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        load(write(tmp_path, **arrays))
    assert "set.npz" in str(raised.value)


def test_missing_file_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file.*numpy.savez"):
        load(f"npz:{tmp_path / 'none.npz'}")


def test_a_folder_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a readable NumPy archive"):
        load(f"npz:{tmp_path}")


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.3, 0.5, 0.9, 0.99])
def test_truncated_archive(tmp_path: Path, keep: float) -> None:
    source = write(tmp_path, images=GRAY, labels=LABELS)
    file = tmp_path / "set.npz"
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    with pytest.raises(InputError, match="set.npz: not a readable NumPy archive"):
        load(source)


def test_flipped_bytes_are_noticed(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "set.npz", images=GRAY, labels=LABELS)
    file = tmp_path / "set.npz"
    whole = file.read_bytes()
    place = whole.index(b"images.npy") + 60
    file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
    with pytest.raises(InputError, match="not a readable NumPy archive"):
        load(f"npz:{file}")


@pytest.mark.parametrize("content", [b"no archive at all", b"PK\x03\x04", b"\x80\x04N."])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(InputError, match="not a readable NumPy archive"):
        load(f"npz:{tmp_path / 'set.npz'}")


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", GRAY)
    with pytest.raises(InputError, match="images.npy.*savez"):
        load(f"npz:{tmp_path / 'images.npy'}")


def test_labels_may_be_words(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=GRAY, labels=np.array(["b", "a"] * 6))
    store = load(f"npz:{tmp_path / 'x.npz'}")
    assert (store.class_names, store.labels[:2].tolist()) == (("a", "b"), [1, 0])
