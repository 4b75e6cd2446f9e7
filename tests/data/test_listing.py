"""What is found in class folders: links, cycles, and names that are written in several ways."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.datasets import ImageFolder

from metatc2.data import ImageStore, load, transfer_splits
from metatc2.data.file_list import FileList
from metatc2.data.listing import files_below
from metatc2.data.sources.clips import load_clips
from metatc2.data.sources.folder import UnreadableImages
from metatc2.errors import InputError
from metatc2.transfer import FewShot, SeenClasses, Target, evaluate

CAFE = "caf\u00e9"


def save(file: Path, value: int = 90) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), value).save(file)
    return file


def below(root: Path) -> list[str]:
    return [os.path.relpath(os.path.join(folder, name), root) for folder, names in files_below(root) for name in names]


def values(store: ImageStore) -> list[int]:
    return store.images[:][:, 0, 0, 0].tolist()


def linked(tmp_path: Path) -> Path:
    """Two classes; most of their images are behind links to folders, one of them behind two."""
    for kind, start in (("a", 0), ("b", 100)):
        for i in range(4):
            save(tmp_path / "elsewhere" / kind / "deep" / f"{i}.png", start + i)
        save(tmp_path / "photos" / kind / "own.png", start + 9)
        (tmp_path / "photos" / kind / "more").symlink_to(tmp_path / "elsewhere" / kind)
    return tmp_path / "photos"


@pytest.mark.parametrize("stream", [False, True])
def test_links_to_folders_are_followed_as_torchvision_does(tmp_path: Path, stream: bool) -> None:
    root = linked(tmp_path)
    store = load(f"folder:{root}", image_size=8, stream=stream)
    theirs = ImageFolder(root)
    assert len(store) == len(theirs) == 10
    pairs = sorted((image.getpixel((0, 0))[0], label) for image, label in theirs)
    assert sorted(zip(values(store), store.labels.tolist(), strict=True)) == pairs
    assert store.notes["ignored_files"] == 0


def test_links_in_domain_folders_are_followed(tmp_path: Path) -> None:
    root = tmp_path / "domains"
    root.mkdir()
    for name in ("first", "second"):
        (root / name).symlink_to(linked(tmp_path / name))
    assert len(load(f"domains:{root}")) == 20


def test_a_cycle_of_links_ends_and_every_real_folder_counts_once(tmp_path: Path) -> None:
    root = linked(tmp_path)
    (root / "a" / "again").symlink_to(tmp_path / "elsewhere" / "a" / "deep")  # inside of one that is followed
    (root / "a" / "self").symlink_to(root / "a")
    (root / "a" / "up").symlink_to(tmp_path)  # around it: would bring the images of b
    (root / "b" / "itself").symlink_to(root / "b" / "itself")  # leads nowhere and is called like no image
    (tmp_path / "elsewhere" / "b" / "deep" / "back").symlink_to(tmp_path / "elsewhere" / "b")
    store = load(f"folder:{root}", image_size=8)
    assert sorted(values(store)) == [0, 1, 2, 3, 9, 100, 101, 102, 103, 109]


def test_a_real_folder_keeps_its_own_name_whatever_links_to_it(tmp_path: Path) -> None:
    save(tmp_path / "z" / "x.png")
    (tmp_path / "a").symlink_to(tmp_path / "z")
    assert below(tmp_path) == ["z/x.png"]


def composed_two_ways(root: Path) -> Path:
    for form, split in (("NFC", "train"), ("NFD", "test")):
        for name in (CAFE, "na\u00efve", "plain"):
            for i in range(3):
                save(root / split / unicodedata.normalize(form, name) / f"{i}.png")
    return root


def test_names_composed_differently_are_one_class(tmp_path: Path) -> None:
    store = load(f"folder:{composed_two_ways(tmp_path)}")
    assert store.class_names == (CAFE, "na\u00efve", "plain")
    found = transfer_splits(store)
    assert set(store.labels[found.test].tolist()) == set(store.labels[found.train].tolist()) == {0, 1, 2}


def test_two_spellings_in_one_folder_are_merged(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        save(tmp_path / unicodedata.normalize(form, CAFE) / "x.png")
    save(tmp_path / "tea" / "x.png")
    store = load(f"folder:{tmp_path}")
    assert (store.class_names, store.labels.tolist()) == ((CAFE, "tea"), [0, 0, 1])
    assert store.notes["empty_classes"] == ""


def test_domains_and_clips_compare_names_likewise(tmp_path: Path) -> None:
    composed_two_ways(tmp_path / "domains")
    store = load(f"domains:{tmp_path / 'domains'}")
    assert len(store.class_names) == 3
    for split, form in (("train", "NFC"), ("test", "NFD")):
        for name in (CAFE, "plain"):
            save(tmp_path / "clips" / split / unicodedata.normalize(form, name) / "one" / "0.png")
    clips = load_clips(tmp_path / "clips")
    assert clips.class_names == (CAFE, "plain")
    assert clips.clip_names == tuple(unicodedata.normalize("NFC", name) for name in clips.clip_names)


NO_TEXT = b"\xff\xe9".decode("utf-8", "surrogateescape")  # bytes of Latin-1: no UTF-8


@pytest.mark.parametrize("stream", [False, True])
def test_names_that_are_no_text_are_read(tmp_path: Path, stream: bool) -> None:
    root = tmp_path / f"photos{NO_TEXT}"
    for i in range(2):
        save(root / NO_TEXT / f"{i}.png", 7)
        save(root / "b" / f"{NO_TEXT}{i}.png", 8)
    (root / "b" / f"{NO_TEXT}.png").write_text("no image")
    for _ in range(2):  # the second time from what was remembered
        with pytest.warns(UnreadableImages, match="1 of 5 images cannot be read"):
            store = load(f"folder:{root}", stream=stream)
        assert set(store.class_names) == {NO_TEXT, "b"}
        assert sorted(values(store)) == [7, 7, 8, 8]
        assert len(store.checksum()) == 64


def test_names_that_are_no_text_are_measured(tmp_path: Path) -> None:
    for kind in (NO_TEXT, "b"):
        for i in range(3):
            save(tmp_path / NO_TEXT / kind / f"{i}.png", i)
    target = Target(load(f"folder:{tmp_path / NO_TEXT}", image_size=4), "all", f"folder:{NO_TEXT}:all")
    rows, _ = evaluate({"encoder": nn.Flatten()}, [target], protocols=[FewShot(ways=(2,), shots=(1,), episodes=2)])
    assert rows[0].target == target.name
    assert SeenClasses.of(target.store, "all").same_source(target.store)


def test_domains_and_clips_that_are_no_text_are_read(tmp_path: Path) -> None:
    for domain in ("x", NO_TEXT):
        for kind in ("a", NO_TEXT):
            save(tmp_path / domain / kind / "0.png")
    assert NO_TEXT in load(f"domains:{tmp_path}").domain_names
    assert NO_TEXT in load_clips(tmp_path).class_names


def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = linked(tmp_path)
    usual = os.scandir

    def refused(path: str) -> object:
        if path.endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return usual(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(ValueError, match=r"folder .*deep cannot be listed \(Permission denied\)"):
        load(f"folder:{root}")


def test_the_order_is_that_of_the_paths(tmp_path: Path) -> None:
    names = ["b/1.png", "a.png", "b.png", "a/2.png", "a/b/c.png", "a/b.png", "a/a.png", "b/0/z.png", "c/0/0/0.png"]
    for name in names:
        save(tmp_path / name)
    save(tmp_path / ".hidden" / "x.png")
    assert below(tmp_path) == [str(path) for path in sorted(map(Path, names))]
    assert below(tmp_path)[:4] == ["a/2.png", "a/a.png", "a/b/c.png", "a/b.png"]


def test_what_a_link_brings_stands_where_its_name_does(tmp_path: Path) -> None:
    for name in ("photos/a.png", "photos/c.png", "elsewhere/x/1.png", "elsewhere/2.png"):
        save(tmp_path / name)
    (tmp_path / "photos" / "b").symlink_to(tmp_path / "elsewhere")
    assert below(tmp_path / "photos") == ["a.png", "b/2.png", "b/x/1.png", "c.png"]


def test_a_list_of_files_is_that_of_their_paths(tmp_path: Path) -> None:
    groups = [("a", ["1.png", NO_TEXT]), ("a/b", [CAFE]), ("a", ["2.png"]), ("", ["x.png"]), ("/", [])]
    expected = ["a/1.png", f"a/{NO_TEXT}", f"a/b/{CAFE}", "a/2.png", "x.png"]
    files = FileList(groups)
    assert list(files) == [files[i] for i in range(len(files))] == files[:] == expected
    assert files[-2] == expected[-2]
    with pytest.raises(IndexError):
        files[5]
    many = FileList([("a", list(map(str, range(9000)))), ("b", ["x"])])
    assert list(many) == [*(f"a/{i}" for i in range(9000)), "b/x"]


def test_files_are_not_asked_about_when_they_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of millions: the names alone are read."""
    save(tmp_path / "a" / "1.png")
    real = tmp_path.resolve()

    def asked(path: object, **options: object) -> object:
        raise AssertionError(path)

    monkeypatch.setattr(os, "stat", asked)
    assert list(files_below(real)) == [(str(real / "a"), ["1.png"])]


def two_classes(root: Path) -> Path:
    for kind in ("a", "b"):
        save(root / kind / "x" / "1.png")
    return root


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("target", ["..", "../.."])
def test_a_class_folder_that_leads_to_the_source_is_refused(tmp_path: Path, target: str, deep: bool) -> None:
    root = two_classes(tmp_path / "photos" / "train" if deep else tmp_path / "photos")
    (root / "all").symlink_to((root / "a" / target).resolve())
    with pytest.raises(InputError, match=r"the class folder \S*all is a link to \S+, which holds all classes"):
        load(f"folder:{root}", image_size=8)


@pytest.mark.parametrize("source", ["folder", "clips"])
@pytest.mark.parametrize("target", ["b", "b/x", "outer"])
def test_a_link_into_another_class_is_refused(tmp_path: Path, target: str, source: str) -> None:
    root = two_classes(tmp_path / "photos")
    save(tmp_path / "pool" / "outer" / "c" / "x" / "1.png")
    (root / "c").symlink_to(tmp_path / "pool" / "outer" / "c")
    (root / "a" / "more").symlink_to(tmp_path / "pool" / "outer" if target == "outer" else root / target)
    with pytest.raises(InputError, match=r"a/more of class 'a' and \S+ of class '[bc]' share images through a link"):
        load(f"{source}:{root}", image_size=8)


def test_two_names_of_one_folder_are_refused_as_two_classes(tmp_path: Path) -> None:
    root = two_classes(tmp_path / "photos")
    (root / "c").symlink_to(root / "b")
    with pytest.raises(InputError, match="would give them two labels; take the link out"):
        load(f"folder:{root}", image_size=8)


def test_a_link_reached_through_a_link_does_not_bring_all_classes(tmp_path: Path) -> None:
    root = two_classes(tmp_path / "photos")
    save(tmp_path / "elsewhere" / "2.png")
    (tmp_path / "elsewhere" / "back").symlink_to(root)
    (root / "a" / "more").symlink_to(tmp_path / "elsewhere")
    store = load(f"folder:{root}", image_size=8)
    assert torch.bincount(store.labels).tolist() == [2, 1]


def test_domains_do_not_mix_classes_through_links(tmp_path: Path) -> None:
    for domain in ("ink", "pen"):
        two_classes(tmp_path / "photos" / domain)
    (tmp_path / "photos" / "pen" / "a" / "more").symlink_to(tmp_path / "photos" / "ink" / "b")
    with pytest.raises(InputError, match="share images through a link"):
        load(f"domains:{tmp_path / 'photos'}", image_size=8)


@pytest.mark.parametrize("source", ["folder", "domains", "clips"])
def test_folders_of_the_operating_system_are_refused(source: str) -> None:
    with pytest.raises(InputError, match="belongs to the operating system"):
        load(f"{source}:/proc/self")


def test_a_link_to_the_operating_system_is_refused(tmp_path: Path) -> None:
    root = two_classes(tmp_path / "photos")
    (root / "a" / "more").symlink_to("/proc/self")
    with pytest.raises(InputError, match=r"a/more belongs to the operating system \(it leads to /proc/"):
        load(f"folder:{root}", image_size=8)


def test_a_walk_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metatc2.data.listing.MOST_FOLDERS", 5)
    for i in range(6):
        (tmp_path / f"{i}").mkdir()
    with pytest.raises(InputError, match="has more than 5 folders below it"):
        list(files_below(tmp_path))
