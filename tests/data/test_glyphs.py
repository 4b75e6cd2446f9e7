import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metatc2.data import ImageStore, load
from metatc2.data.sources import glyphs
from metatc2.data.sources.glyphs import SCRIPTS, font_faces, load_glyphs, script_of


@pytest.fixture(scope="module")
def store() -> ImageStore:
    return load("glyphs")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A quick stand-in for drawing; counts how often it is asked for."""
    calls: list[int] = []

    def render(faces: Sequence[Path]) -> dict[str, Any]:
        calls.append(len(faces))
        return {
            "images": np.arange(6 * 28 * 28, dtype=np.uint64).astype(np.uint8).reshape(6, 28, 28),
            "labels": np.arange(6),
            "domains": np.zeros(6, dtype=np.int64),
            "scripts": np.array([0, 0, 1, 2, 3, 4]),
            "characters": np.array(list("abαбაա")),
        }

    monkeypatch.setattr(glyphs, "render", render)
    return calls


def class_of(store: ImageStore, character: str) -> str:
    found = [name for name in store.class_names if character in name]
    assert len(found) == 1
    return found[0]


def test_counts(store: ImageStore) -> None:
    assert 1500 <= len(store.class_names) <= 1800
    assert 19_000 <= len(store) <= 22_000
    assert store.images.shape[1:] == (1, 28, 28)
    assert len(set(store.domain_names)) == 16
    assert set(store.domains.tolist()) == set(range(16))
    # Few-shot tasks need several images of each class, so one lost face must not empty a class.
    assert int(torch.bincount(store.labels, minlength=len(store.class_names)).min()) >= 5


def test_domains_are_the_faces(store: ImageStore) -> None:
    assert store.domain_names == tuple(face.stem for face in font_faces())
    weights = {
        name: store.images[(store.domains == i) & torch.isin(store.labels, torch.tensor(latin_letters(store)))]
        for i, name in enumerate(store.domain_names)
    }
    ink = {name: float(images.float().mean()) for name, images in weights.items()}
    for family in ("DejaVuSans", "DejaVuSansMono", "DejaVuSerif"):
        assert ink[f"{family}-Bold"] > 1.1 * ink[family]
    assert ink["STIXGeneralBol"] > 1.1 * ink["STIXGeneral"]


def latin_letters(store: ImageStore) -> list[int]:
    return [i for i, name in enumerate(store.class_names) if name[0].isascii() and name[0].isalpha()]


def test_scripts_are_splits(store: ImageStore) -> None:
    assert SCRIPTS == ("latin", "greek", "cyrillic", "georgian", "armenian")
    rows = torch.cat([store.rows(script) for script in SCRIPTS])
    assert rows.sort().values.equal(torch.arange(len(store)))
    for script in SCRIPTS:
        for label in set(store.labels[store.rows(script)].tolist()):
            for character in store.class_names[label]:
                named = unicodedata.name(character).startswith(script.upper() + " ")
                assert named or (script == "latin" and character in "0123456789")


def test_every_ascii_letter_and_digit_is_there(store: ImageStore) -> None:
    held = set("".join(store.class_names))
    assert set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") <= held
    assert set("αβγδεζηθικλμνξοπρστυφχψω") <= held
    assert all(unicodedata.category(character)[0] in "LN" for character in held)


def test_meta_splits(store: ImageStore) -> None:
    assert store.expand("meta-test") == ("greek", "cyrillic", "georgian", "armenian")
    classes = [set(store.labels[store.rows(f"meta-{part}")].tolist()) for part in ("train", "validation", "test")]
    assert sum(map(len, classes)) == len(store.class_names) == len(set.union(*classes))
    assert len(classes[1]) == (len(classes[0]) + len(classes[1])) // 5
    assert classes[0] | classes[1] == set(store.labels[store.rows("latin")].tolist())


def test_what_looks_the_same_in_a_script_is_one_class(store: ImageStore) -> None:
    assert class_of(store, "c") == class_of(store, "ᴄ")
    assert class_of(store, "ɔ") == class_of(store, "ᴐ")
    assert class_of(store, "Ð") == class_of(store, "Đ")


@pytest.mark.parametrize(("one", "other"), ["oO", "Il", "0O", "cC", "xX", "ij", ("6", "9"), "σς", "ΤΓ"])
def test_what_differs_is_not(store: ImageStore, one: str, other: str) -> None:
    assert class_of(store, one) != class_of(store, other)


def test_the_same_shape_in_two_scripts_stays_two_classes(store: ImageStore) -> None:
    for one, other in ("AΑ", "AА", "oο"):  # Latin against Greek or Cyrillic
        assert class_of(store, one) != class_of(store, other)


def test_no_bitmap_twice(store: ImageStore) -> None:
    """Nor one bitmap of a face under two labels of a script, which no learner could tell apart."""
    seen = Counter(
        (label, domain, image.tobytes())
        for label, domain, image in zip(
            store.labels.tolist(), store.domains.tolist(), store.images.numpy(), strict=True
        )
    )
    assert max(seen.values()) == 1
    labels = defaultdict(set)
    script = torch.empty(len(store), dtype=torch.int64)
    for i, name in enumerate(SCRIPTS):
        script[store.rows(name)] = i
    for (label, domain, content), number in zip(seen, script.tolist(), strict=True):
        labels[number, domain, content].add(label)
    assert max(map(len, labels.values())) == 1


def test_ink_is_white_and_centered(store: ImageStore) -> None:
    ink = store.images[:, 0] > 0
    assert ink.flatten(1).any(1).all()
    assert not ink[:, 0].any()  # a margin on every side
    assert not ink[:, -1].any()
    assert not ink[:, :, 0].any()
    assert not ink[:, :, -1].any()
    assert float(ink.float().mean()) < 0.35
    # Most letters have strokes a pixel wide, which are fully white somewhere.
    assert float((store.images.flatten(1).amax(1) >= 200).float().mean()) > 0.95
    for side in (1, 2):
        covered = ink.any(3 - side).int()  # rows, then columns, that hold ink
        before, after = covered.argmax(1), covered.flip(1).argmax(1)
        assert int((before - after).abs().max()) <= 1


def test_letters_stand_upright(store: ImageStore) -> None:
    """'L' has its bar below, 'T' above, 'b' its bowl to the right: nothing is mirrored or turned."""
    plain = store.domain_names.index("DejaVuSans")
    mean = {}
    for letter in "LTb":
        label = store.class_names.index(class_of(store, letter))
        image = store.images[(store.labels == label) & (store.domains == plain)][0, 0].float()
        ink = image / image.sum()
        place = torch.arange(28).float() - 13.5
        mean[letter] = (float(ink.sum(1) @ place), float(ink.sum(0) @ place))
    assert mean["L"][0] > 1 > -1 > mean["T"][0]
    assert mean["L"][1] < -0.5
    assert mean["b"][0] > 0.5


def test_upper_and_lower_case_keep_their_sizes(store: ImageStore) -> None:
    label = {letter: store.class_names.index(class_of(store, letter)) for letter in "oO"}
    height = {c: (store.images[store.labels == i, 0] > 0).any(2).sum(1).float().mean() for c, i in label.items()}
    assert height["O"] > 1.2 * height["o"]


def test_same_again_from_the_cache(store: ImageStore, suite_cache: Path, small: list[int]) -> None:
    (file,) = suite_cache.glob("glyphs-*")
    before = file.stat()
    again = load("glyphs")
    assert small == []
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert again.checksum() == store.checksum()
    assert again.class_names == store.class_names


def test_a_cache_is_written_once_and_leaves_nothing_beside(tmp_path: Path, small: list[int]) -> None:
    first = load_glyphs(tmp_path / "new" / "folder")
    second = load_glyphs(tmp_path / "new" / "folder")
    assert small == [16]
    assert first.checksum() == second.checksum()
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 1


def test_default_cache_is_the_variable_then_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: list[int]
) -> None:
    monkeypatch.setenv("METATC2_CACHE", str(tmp_path / "variable"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    load_glyphs()
    assert len(list((tmp_path / "variable").iterdir())) == 1
    monkeypatch.delenv("METATC2_CACHE")
    load_glyphs()
    assert len(list((tmp_path / "home/.cache/metatc2").iterdir())) == 1


def _flip(content: bytes, at: float) -> bytes:
    place = int(len(content) * at)
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


@pytest.mark.parametrize("flips", [16, pytest.param(40, marks=pytest.mark.slow)])
def test_damaged_cache_is_rebuilt(flips: int, tmp_path: Path, small: list[int]) -> None:
    good = load_glyphs(tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    damages = [b"", b"not an archive", whole[: len(whole) // 2], whole[:-10]]
    damages += [_flip(whole, at / flips) for at in range(flips)]
    for damage in damages:
        file.write_bytes(damage)
        assert load_glyphs(tmp_path).checksum() == good.checksum()
    asked = len(small)
    # Sound as an archive, with other numbers inside: only the stored checksum tells.
    with np.load(file) as content:
        arrays = {name: content[name] for name in content.files}
    arrays["labels"] = arrays["labels"][::-1]
    np.savez(file, **arrays)
    assert load_glyphs(tmp_path).checksum() == good.checksum()
    assert len(small) == asked + 1
    # A plain array under the archive's name, and an archive that lacks what is needed.
    with file.open("wb") as opened:
        np.save(opened, np.zeros(3))
    assert load_glyphs(tmp_path).checksum() == good.checksum()
    np.savez(file, images=np.zeros(3))
    assert load_glyphs(tmp_path).checksum() == good.checksum()
    assert len(small) == asked + 3


def test_other_fonts_are_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: list[int]) -> None:
    load_glyphs(tmp_path)
    faces = font_faces()
    changed = tmp_path / "fonts" / faces[3].name
    changed.parent.mkdir()
    changed.write_bytes(faces[3].read_bytes() + b"\0")
    monkeypatch.setattr(glyphs, "font_faces", lambda: [*faces[:3], changed, *faces[4:]])
    load_glyphs(tmp_path)
    assert small == [16, 16]
    assert len(list(tmp_path.glob("*.npz"))) == 2


def test_unwritable_cache_is_done_without(tmp_path: Path, small: list[int]) -> None:
    (tmp_path / "file").write_text("a file where a folder should be")
    assert len(load_glyphs(tmp_path / "file")) == 6
    assert len(load_glyphs(tmp_path / "file" / "below")) == 6
    assert small == [16, 16]
    assert os.listdir(tmp_path) == ["file"]


def test_script_of() -> None:
    assert [script_of(c) for c in "aZ5αЯაԱ"] == ["latin"] * 3 + ["greek", "cyrillic", "georgian", "armenian"]
    assert [script_of(c) for c in "!²٣あ א½"] == [None] * 7
