"""Names of targets, also with paths that hold colons; groups; what was seen in pre-training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from metatc2.data import load_shapes
from metatc2.data.store import ImageStore
from metatc2.errors import InputError
from metatc2.transfer import SeenClasses, expand_targets, fingerprint, parse_target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("glyphs", ("glyphs", None)),
        ("glyphs:greek", ("glyphs", "greek")),
        ("glyphs:meta-test", ("glyphs", "meta-test")),
        ("cifar10:test", ("cifar10", "test")),
        ("folder:/data/x", ("folder:/data/x", None)),
        ("folder:/data/x:meta-test", ("folder:/data/x", "meta-test")),
        ("folder:C:/data/x", ("folder:C:/data/x", None)),
        ("folder:C:\\data\\x:train", ("folder:C:\\data\\x", "train")),
        ("folder:/data/a:b", ("folder:/data/a:b", None)),
        ("folder:/data/x:test:all", ("folder:/data/x:test", "all")),
        ("folder:test", ("folder:test", None)),
        ("npz:a.npz:all", ("npz:a.npz", "all")),
        ("npz:a.npz", ("npz:a.npz", None)),
        ("shapes", ("shapes", None)),
        ("shapes:meta-test", ("shapes", "meta-test")),
        ("shapes:hue", ("shapes:hue", None)),
        ("shapes:hue+size:test", ("shapes:hue+size", "test")),
    ],
)
def test_parse(text: str, expected: tuple[str, str | None]) -> None:
    assert parse_target(text) == expected


@pytest.mark.parametrize("text", ["", ":greek", "glyphs:", "folder:", "npz:", "shapes:", "shapes:hue:", "shapes::test"])
def test_parse_refuses_what_lacks_a_part(text: str) -> None:
    with pytest.raises(InputError, match="lacks a part"):
        parse_target(text)


def scripts(name: str = "scripts") -> ImageStore:
    images = torch.arange(8, dtype=torch.uint8).view(8, 1, 1, 1).expand(8, 1, 4, 4)
    splits = {"latin": torch.tensor([0, 1, 2, 3]), "greek": torch.tensor([4, 5]), "thai": torch.tensor([6, 7])}
    splits |= {"nothing": torch.empty(0, dtype=torch.int64)}
    groups = {"meta-test": ("greek", "thai"), "meta-train": ("latin",)}
    return ImageStore(name, images, torch.arange(8) // 2, splits=splits, groups=groups)


def test_a_group_is_one_target_each() -> None:
    found = expand_targets(scripts(), "meta-test", seen=SeenClasses.of(scripts(), "latin"))
    assert [(t.name, t.split, t.classes_seen) for t in found] == [
        ("scripts:greek", "greek", False),
        ("scripts:thai", "thai", False),
    ]


def test_default_split() -> None:
    assert [t.split for t in expand_targets(scripts())] == ["greek", "thai"]
    plain = ImageStore(
        "plain", torch.zeros(6, 1, 4, 4, dtype=torch.uint8), torch.arange(6), splits={"meta-test": torch.tensor([4, 5])}
    )
    # Another source was pre-trained on: all classes are new.
    assert [t.split for t in expand_targets(plain, seen=SeenClasses.of(scripts(), "latin"))] == ["all"]
    assert [t.split for t in expand_targets(plain, seen=SeenClasses.of(plain, "all"), allow_seen=True)] == ["meta-test"]


def seen(split: str, store: ImageStore | None = None) -> bool:
    store = store or scripts()
    return expand_targets(scripts(), "latin", seen=SeenClasses.of(store, split), allow_seen=True)[0].classes_seen


def test_classes_seen_needs_the_same_source() -> None:
    assert seen("latin")
    assert seen("meta-train")
    assert not seen("greek")
    assert not seen("latin", scripts("others"))


def test_words_are_the_same_class_in_whatever_source() -> None:
    def animals(name: str, *classes: str) -> ImageStore:
        labels = torch.arange(len(classes))
        return ImageStore(name, torch.zeros(len(classes), 1, 4, 4, dtype=torch.uint8), labels, class_names=classes)

    seen = SeenClasses.of(animals("cifar", "cat", "ship", "0", "io"), "all")
    assert seen.overlap(animals("stl", "Cat", "monkey", "0", "IO"), "all") == ["Cat"]
    assert seen.overlap(animals("cifar", "0", "monkey"), "all") == ["0"]


def test_classes_seen_are_refused_unless_allowed() -> None:
    with pytest.raises(
        InputError, match=r"scripts:latin: 2 of its classes were among the pre-training images \('0', '1'\)"
    ):
        expand_targets(scripts(), "latin", seen=SeenClasses.of(scripts(), "latin"))


def test_other_labels_of_shapes_keep_clear_of_the_images_of_pre_training() -> None:
    default, hue = (load_shapes(labels, 8, count=1000) for labels in ("shape+texture", "hue"))
    before = SeenClasses.of(default, "meta-train")
    seen_rows = set(default.rows("meta-train").tolist())
    for split in (None, "test", "validation", "held-out"):
        for target in expand_targets(hue, split, seen=before):
            assert not seen_rows & set(hue.rows(target.split).tolist())
    assert [target.name for target in expand_targets(hue, seen=before)] == ["shapes:hue:meta-test"]
    assert [target.name for target in expand_targets(default, seen=before)] == ["shapes:meta-test"]
    with pytest.raises(InputError, match="48 of its classes were among the pre-training images"):
        expand_targets(default, "all", seen=before)


def test_bad_splits() -> None:
    with pytest.raises(InputError, match="did you mean 'greek'"):
        expand_targets(scripts(), "grek")
    with pytest.raises(InputError, match="scripts:nothing holds no image"):
        expand_targets(scripts(), "nothing")


def test_fingerprint_sees_pixels_labels_order_and_shape() -> None:
    s = scripts()
    rows = torch.tensor([0, 1])
    changed = s.images.clone()
    changed[1, 0, 3, 3] += 1
    found = {
        fingerprint(s, rows),
        fingerprint(s, rows.flip(0)),
        fingerprint(s, torch.tensor([0])),
        fingerprint(ImageStore("a", changed, s.labels), rows),
        fingerprint(ImageStore("a", s.images, s.labels + 1), rows),
    }
    assert len(found) == 5
    assert fingerprint(scripts("other name"), rows) in found


def test_what_stands_behind_a_path_that_is_there_must_be_a_split(tmp_path: Path) -> None:
    (tmp_path / "im").mkdir()
    with pytest.raises(InputError, match=r"'nosplit' is no split of folder:.*im; write one of all, train"):
        parse_target(f"folder:{tmp_path}/im:nosplit")
    (tmp_path / "im:nosplit").mkdir()
    assert parse_target(f"folder:{tmp_path}/im:nosplit") == (f"folder:{tmp_path}/im:nosplit", None)
