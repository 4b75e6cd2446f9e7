"""Classes of pre-training are recognized however the source is spelled, opened, copied, archived or cut."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metatc2.data import ImageStore, load
from metatc2.data.digests import ImageSample, image_digests
from metatc2.data.image_io import to_channels
from metatc2.data.originals import gray_digests
from metatc2.errors import InputError
from metatc2.experiment.config import Config, method_key, override
from metatc2.io.source_names import place, same_place
from metatc2.transfer import SeenClasses, expand_targets

from ..command_line import call
from ..covering import covered

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")


def photos(root: Path, classes: int = 12, images: int = 3, seed: int = 0) -> Path:
    generator = np.random.default_rng(seed)
    for kind in range(classes):
        (root / str(kind)).mkdir(parents=True)
        for i in range(images):
            pixels = generator.integers(0, 256, (10, 10), dtype=np.uint8)
            Image.fromarray(pixels).save(root / str(kind) / f"{i}.png")
    return root


def opened(source: str) -> ImageStore:
    return load(source, image_size=8, channels=1)


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SeenClasses:
    photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return SeenClasses.of(opened("folder:photos"), "meta-train")


def archive(tmp_path: Path) -> str:
    store = load("folder:photos", image_size=10)
    np.savez(tmp_path / "x.npz", images=store.images[:].numpy(), labels=store.labels.numpy())
    return "npz:x.npz"


def copied(tmp_path: Path) -> str:
    shutil.copytree(tmp_path / "photos", tmp_path / "copy")
    return "folder:copy"


def moved(tmp_path: Path) -> str:
    (tmp_path / "photos").rename(tmp_path / "album")
    return "folder:album"


def around(tmp_path: Path) -> str:
    photos(tmp_path / "set" / "others", seed=1)
    (tmp_path / "photos").rename(tmp_path / "set" / "photos")
    return "folder:set"


def as_clips(tmp_path: Path) -> str:
    (tmp_path / "films" / "all").mkdir(parents=True)
    (tmp_path / "films" / "none" / "x").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "films" / "none" / "x" / "0.png")
    for kind in (tmp_path / "photos").iterdir():
        (tmp_path / "films" / "all" / kind.name).symlink_to(kind)
    return "clips:films"


def as_domains(tmp_path: Path) -> str:
    photos(tmp_path / "styles" / "drawn", seed=1)
    (tmp_path / "styles" / "real").symlink_to(tmp_path / "photos")
    return "domains:styles"


def renamed_classes(tmp_path: Path) -> str:
    for kind in list((tmp_path / "photos").iterdir()):
        (tmp_path / "named" / f"n{kind.name}").mkdir(parents=True)
        for file in kind.iterdir():
            (tmp_path / "named" / f"n{kind.name}" / file.name).hardlink_to(file)
    return "folder:named"


def by_link(tmp_path: Path) -> str:
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    return "folder:link"


SPELLINGS: dict[str, Callable[[Path], str]] = {
    "as typed": lambda _: "folder:photos",
    "dot": lambda _: "folder:./photos",
    "slash": lambda _: "folder:photos/",
    "slashes": lambda _: "folder:.//photos//.",
    "dots": lambda _: "folder:photos/../photos",
    "absolute": lambda tmp_path: f"folder:{tmp_path / 'photos'}",
    "home": lambda _: "folder:~/photos",
    "link": by_link,
}
OTHERS = {
    "archive": archive,
    "copy": copied,
    "moved": moved,
    "around": around,
    "clips": as_clips,
    "domains": as_domains,
    "hard links, other names": renamed_classes,
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_another_spelling_is_the_same_source(
    seen: SeenClasses, tmp_path: Path, spelling: Callable[[Path], str]
) -> None:
    store = opened(spelling(tmp_path))
    assert seen.same_source(store)
    for split in ("meta-train", "all"):
        with pytest.raises(InputError, match="7 of its classes were among the pre-training images"):
            expand_targets(store, split, seen=seen)
        assert expand_targets(store, split, seen=seen, allow_seen=True)[0].classes_seen
    assert [(t.split, t.classes_seen) for t in expand_targets(store, seen=seen)] == [("meta-test", False)]


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_images_that_were_seen_are_recognized_elsewhere(
    seen: SeenClasses, tmp_path: Path, other: Callable[[Path], str]
) -> None:
    store = opened(other(tmp_path))
    assert not seen.same_source(store)
    with pytest.raises(InputError, match="of its classes were among the pre-training images"):
        expand_targets(store, "all", seen=seen)
    assert expand_targets(store, "all", seen=seen, allow_seen=True)[0].classes_seen


def test_a_copy_still_has_classes_that_are_new(seen: SeenClasses, tmp_path: Path) -> None:
    assert not expand_targets(opened(copied(tmp_path)), "meta-test", seen=seen)[0].classes_seen


def test_a_part_of_the_folder_is_recognized(tmp_path: Path) -> None:
    for kind in ("0", "1", "2"):
        photos(tmp_path / "whole" / kind, classes=2, seed=int(kind))
    seen = SeenClasses.of(opened(f"folder:{tmp_path / 'whole'}"), "meta-train")
    inside = {kind: opened(f"folder:{tmp_path / 'whole' / kind}") for kind in ("0", "1", "2")}
    found = {kind: seen.overlap(store, "all") for kind, store in inside.items()}
    assert found == {kind: ["0", "1"] if kind in seen.names else [] for kind in ("0", "1", "2")}
    assert len(seen.names) == 1


def test_another_folder_of_the_same_name_is_new(
    seen: SeenClasses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(tmp_path / "elsewhere" / "photos", seed=5)
    monkeypatch.chdir(tmp_path / "elsewhere")
    store = opened("folder:photos")
    assert store.name == seen.source
    assert not seen.same_source(store)
    assert not expand_targets(store, "all", seen=seen)[0].classes_seen


def test_what_was_recorded_elsewhere_is_not_what_the_name_means_here(seen: SeenClasses, tmp_path: Path) -> None:
    """A run of another directory, whose `folder:photos` is not the one here."""
    other = SeenClasses(seen.source, seen.names, place(f"folder:{tmp_path}/elsewhere/photos"))
    assert not other.same_source(opened("folder:photos"))


def test_a_file_system_that_ignores_case_is_asked(
    seen: SeenClasses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_link(tmp_path)  # stands for a second spelling that no resolving of links would find
    monkeypatch.setattr("os.path.realpath", lambda path: str(tmp_path / path))
    assert seen.same_source(opened("folder:link"))
    assert same_place(str(tmp_path / "link"), str(tmp_path / "photos"))


def test_older_files_of_weights_are_compared_too(seen: SeenClasses) -> None:
    facts = {"source": "folder:photos", "class_names": json.dumps(sorted(seen.names))}
    old = SeenClasses.from_facts(facts, "")
    assert old is not None
    assert old.same_source(opened("folder:./photos"))
    # Nothing but names is known of it: where places touch, also names that are no words decide.
    assert len(SeenClasses("folder:.", seen.names).overlap(opened("folder:photos"), "all")) == 7
    assert SeenClasses("digits", seen.names).overlap(opened("folder:photos"), "all") == []


def test_facts_survive_their_writing(seen: SeenClasses) -> None:
    assert SeenClasses.from_facts(seen.to_facts(), "") == seen
    odd = SeenClasses(
        "folder:\udcff", frozenset({"\udcfe", "\u00e9"}), place("folder:\udcff"), ImageSample((1, 2**64 - 1))
    )
    facts = odd.to_facts()
    assert all(value.encode() for value in facts.values())  # safetensors keeps UTF-8 alone
    found = SeenClasses.from_facts(facts, "")
    assert found is not None
    assert (found.names, found.place, found.images) == (odd.names, odd.place, odd.images)
    for key, value in (("seen_images", "???"), ("seen_images", "AAAA"), ("class_names", "1")):
        with pytest.raises(ValueError, match=r"seen_images|class_names"):
            SeenClasses.from_facts({**facts, key: value}, "")


def test_names_composed_or_cased_differently_are_one_class() -> None:
    def toy(name: str, word: str) -> ImageStore:
        return ImageStore(name, torch.zeros(1, 1, 4, 4, dtype=torch.uint8), torch.tensor([0]), class_names=(word,))

    seen = SeenClasses("one", frozenset({"caf\u00e9"}))
    assert seen.overlap(toy("one", "cafe\u0301"), "all") == ["cafe\u0301"]
    assert seen.overlap(toy("other", "CAFE\u0301"), "all") == ["CAFE\u0301"]


def test_a_sample_finds_a_share_of_many_images() -> None:
    images = torch.randint(0, 256, (6000, 1, 3, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    digests = image_digests(images, torch.arange(6000))
    sample = ImageSample.of(digests)
    assert len(sample.digests) == 2048
    assert len(ImageSample.of(digests[:100]).digests) == 100
    share = sample.among(digests[:600]).sum()  # expected 205, standard deviation below 12
    assert 140 < share < 270


def test_images_of_one_color_tell_nothing() -> None:
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 2, 2)
    assert image_digests(images, torch.arange(4)).tolist() == [0, 0, 0, 0]


@pytest.mark.slow
def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    small = ["encoder.width=8", "episode.batch=8", "episode.tasks=2", "data.image_size=16"]
    assert call("pretrain", "folder:photos", "--steps", "1", "--run", "r", "--set", *small) == 0
    words = ["transfer", "r", "--episodes", "2", "--way", "3", "--shot", "1"]
    for source in ("folder:photos", "folder:./photos", f"folder:{tmp_path}/photos"):
        assert call(*words, "--to", f"{source}:meta-train") == 2
        assert call(*words, "--to", f"{source}:all") == 2
    assert not (tmp_path / "r" / "transfer.json").exists()
    assert call(*words, "--to", "folder:./photos:meta-train", "--allow-seen") == 0
    rows = json.loads((tmp_path / "r" / "transfer.json").read_text())
    assert {(row["target"], row["classes_seen"]) for row in rows} == {("folder:photos:meta-train", True)}
    # The same images under another spelling replace their rows, and are measured once where both are named.
    spellings = [f"folder:{tmp_path}/photos:meta-train", "folder:photos/:meta-train"]
    assert call(*words, "--to", *spellings, "--allow-seen") == 0
    again = json.loads((tmp_path / "r" / "transfer.json").read_text())
    assert {row["target"] for row in again} == {spellings[0]}
    assert len(again) == len(rows)
    assert call("export", "r", "out") == 0
    assert str(tmp_path).encode() not in (tmp_path / "out" / "model.safetensors").read_bytes()
    assert str(tmp_path) not in (tmp_path / "out" / "config.json").read_text()


def test_spelling_makes_no_other_method() -> None:
    keys = {method_key(override(Config(), [f"data.source='{name}'"])) for name in ("folder:photos", "folder:./photos/")}
    assert len(keys) == 1


def colors(root: Path, side: int = 10, seed: int = 0) -> Path:
    generator = np.random.default_rng(seed)
    for kind in range(4):
        (root / str(kind)).mkdir(parents=True)
        for i in range(3):
            pixels = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / str(kind) / f"{i}.png")
    return root


def archived(path: Path, size: int, channels: int | None = None) -> str:
    store = load("folder:photos", image_size=size, channels=channels)
    np.savez(path, images=store.images[:].numpy(), labels=store.labels.numpy())
    return f"npz:{path}"


def in_another_format(tmp_path: Path) -> str:
    for file in (tmp_path / "photos").glob("*/*.png"):
        (tmp_path / "bitmaps" / file.parent.name).mkdir(parents=True, exist_ok=True)
        Image.open(file).save((tmp_path / "bitmaps" / file.parent.name / file.stem).with_suffix(".bmp"))
    return "folder:bitmaps"


ELSEWHERE: dict[str, Callable[[Path], str]] = {
    "copy": copied,
    "moved": moved,
    "hard links, other names": renamed_classes,
    "clips": as_clips,
    "domains": as_domains,
    "another format": in_another_format,
    "archive, own size": lambda tmp_path: archived(tmp_path / "x.npz", 10),
    "archive, own size, gray": lambda tmp_path: archived(tmp_path / "x.npz", 10, 1),
    "archive, size of the run": lambda tmp_path: archived(tmp_path / "x.npz", 16),
    "archive, size of the run, gray": lambda tmp_path: archived(tmp_path / "x.npz", 16, 1),
    "archive, size of the run, color": lambda tmp_path: archived(tmp_path / "x.npz", 16, 3),
}


@pytest.mark.parametrize(("elsewhere", "make"), covered(ELSEWHERE, (photos, colors), strength=1))
def test_images_are_recognized_at_another_size_and_in_other_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path], elsewhere: str
) -> None:
    make(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    run = load("folder:photos", image_size=16)
    seen = SeenClasses.from_facts(SeenClasses.of(run, "meta-train").to_facts(), "")
    assert seen is not None
    count, source = len(seen.names), ELSEWHERE[elsewhere](tmp_path)
    for size, channels in ((16, 3), (32, 1), (7, 3)):
        store = load(source, image_size=size, channels=channels)
        found = seen.overlap(store, "all")
        assert found == ["all"] if source == "clips:films" else len(found) == count, (size, channels)
    new = load(f"folder:{make(tmp_path / 'new', seed=9)}", image_size=32)  # type: ignore[call-arg]
    assert seen.overlap(new, "all") == []


def test_streamed_images_are_recognized_at_another_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colors(tmp_path / "photos", side=300)
    monkeypatch.chdir(tmp_path)
    seen = SeenClasses.of(load("folder:photos", image_size=16, stream=True), "meta-train")
    copied(tmp_path)
    for _ in range(2):  # the second time from what was remembered
        for stream in (True, False):
            assert len(seen.overlap(load("folder:copy", image_size=32, stream=stream, channels=1), "all")) == 2


def test_images_of_sixteen_bits_are_recognized_whatever_white_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    for kind in range(4):
        (tmp_path / "photos" / str(kind)).mkdir(parents=True)
        Image.fromarray(generator.integers(0, 65536, (10, 10), dtype=np.uint16)).save(tmp_path / f"photos/{kind}/0.png")
    monkeypatch.chdir(tmp_path)
    seen = SeenClasses.of(load("folder:photos", image_size=16), "all")
    store = load(copied(tmp_path), image_size=32, value_range=(-10, 70000))
    assert len(seen.overlap(store, "all")) == 4


@pytest.mark.slow
def test_arrays_are_recognized_by_what_they_were_before_resizing(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 9, 9, 3), dtype=np.uint8)
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.arange(12) % 4)
    seen = SeenClasses.of(load(f"npz:{tmp_path}/a.npz", image_size=16), "meta-train")
    for size in (None, 9, 32):
        assert len(seen.overlap(load(f"npz:{tmp_path}/b.npz", image_size=size, channels=1), "all")) == 2
    whole = load("glyphs")
    assert not len(whole.originals)
    small = load("glyphs", image_size=14)
    np.savez(tmp_path / "glyphs.npz", images=whole.images[:500].numpy(), labels=whole.labels[:500].numpy())
    store = load(f"npz:{tmp_path}/glyphs.npz", image_size=20)
    assert len(SeenClasses.of(small, "all").overlap(store, "all")) > 0


def test_weights_of_before_still_tell_images_at_their_own_size(seen: SeenClasses, tmp_path: Path) -> None:
    run = opened("folder:photos")
    old = ImageSample.of(image_digests(run.images, run.rows("meta-train"), gray=False))
    facts = {**seen.to_facts(), "seen_images": old.to_text()}
    del facts["seen_images_of"]
    before = SeenClasses.from_facts(facts, "")
    assert before is not None
    assert len(before.overlap(opened(copied(tmp_path)), "all")) == 7
    assert before.overlap(load("folder:copy", image_size=32, channels=1), "all") == []


def test_luma_is_the_same_in_whatever_batch(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (50, 3, 31, 100), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    together = gray_digests(images)
    assert together.tolist() == [int(gray_digests(image[None])[0]) for image in images]
    assert together.tolist() == gray_digests(to_channels(images, 1)).tolist()
    # Every pixel of a small image is looked at, and some of each part of a large one.
    changed = images.clone()
    changed[:, :, -1, -1] = 255 - changed[:, :, -1, -1]
    assert not np.isin(gray_digests(changed), together).any()
    large = torch.randint(0, 256, (1, 1, 700, 1100), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    changed = large.clone()
    changed[..., -20:, -20:] = 0
    assert gray_digests(changed) != gray_digests(large)


def test_originals_follow_the_images(tmp_path: Path) -> None:
    photos(tmp_path / "photos", classes=3, images=2)
    store = load(f"folder:{tmp_path}/photos", image_size=16)
    native = load(f"folder:{tmp_path}/photos", image_size=10)
    assert store.originals.tolist() == gray_digests(native.images[:]).tolist()
    assert store.checksum() == replace(store, originals=store.originals[:0]).checksum()
    chosen = replace(store, images=store.images[:2], labels=store.labels[:2], domains=store.domains[:2], splits={})
    assert not len(chosen.originals)
