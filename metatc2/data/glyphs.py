"""`glyphs`: letters and digits of five scripts, rendered from the fonts that matplotlib ships; no download."""

from __future__ import annotations

import hashlib
import io
import os
import unicodedata
import zipfile
from collections import defaultdict
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.ft2font import FT2Font

from metatc2.data.store import ImageStore

SCRIPTS = ("latin", "greek", "cyrillic", "georgian", "armenian")
FAMILIES = ("DejaVuSans", "DejaVuSansMono", "DejaVuSerif", "STIXGeneral")
SIZE = 28  # pixels
_EM = 24  # pixels: capitals are then about 17 high, and 'o' stays smaller than 'O'
_MARGIN = 1
_FACES_AT_LEAST = 7
_VERSION = 1  # of the rendering below; part of the cache's name


def load_glyphs(cache: Path | None = None) -> ImageStore:
    """About 20 800 images of 1 650 classes: a class is a character, a domain a face, a split a script.

    Every letter or decimal digit that at least seven of sixteen faces contain. Characters of one script that look the same
    in most faces they share are one class. Ink is white. Four fifths of the Latin classes are ``meta-train``, the others
    ``meta-validation``; ``meta-test`` stands for the other four scripts, which an episode never mixes.

    Args:
        cache: folder for the rendered images; by default ``$METATC2_CACHE`` or ``~/.cache/metatc2``. The file is rebuilt
            when fonts change or its content is damaged; a folder that cannot be written to is done without.
    """
    faces = font_faces()
    folder = cache or Path(os.environ.get("METATC2_CACHE") or Path.home() / ".cache" / "metatc2")
    file = folder / f"glyphs-{_fonts_checksum(faces)[:16]}.npz"
    arrays = _read_cache(file)
    if arrays is None:
        arrays = render(faces)
        _write_cache(file, arrays)
    return _store(arrays, tuple(face.stem for face in faces))


def font_faces() -> list[Path]:
    """The sixteen faces: four families, each in regular, bold, italic and bold italic."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    styles = ("", "-Bold", "-Oblique", "-BoldOblique", "-Italic", "-BoldItalic", "Bol", "Italic", "BolIta")
    names = [f"{family}{style}.ttf" for family in FAMILIES for style in styles]
    return [folder / name for name in names if (folder / name).exists()]


def script_of(character: str) -> str | None:
    """Script of a letter or decimal digit, if it is one of the five; ASCII digits count as Latin.

    >>> script_of("A"), script_of("7"), script_of("α"), script_of("!"), script_of("あ")
    ('latin', 'latin', 'greek', None, None)
    """
    category = unicodedata.category(character)
    if category == "Nd" and character.isascii():
        return "latin"
    if not category.startswith("L") and category != "Nd":
        return None
    script = unicodedata.name(character, "").partition(" ")[0].lower()
    return script if script in SCRIPTS else None


def render(faces: list[Path]) -> dict[str, np.ndarray]:
    """Arrays ``images (N, 28, 28)``, ``labels``, ``domains``, ``scripts`` (of classes) and ``characters`` (of classes)."""
    fonts = [FT2Font(str(face)) for face in faces]
    holders: dict[str, list[int]] = defaultdict(list)
    for domain, font in enumerate(fonts):
        for point in font.get_charmap():
            holders[chr(point)].append(domain)
    bitmaps: dict[str, dict[int, np.ndarray]] = {}
    for character in sorted(holders):
        if len(holders[character]) >= _FACES_AT_LEAST and script_of(character):
            drawn = {domain: _draw(fonts[domain], character) for domain in holders[character]}
            found = {domain: image for domain, image in drawn.items() if image.any()}
            if len(found) >= _FACES_AT_LEAST:
                bitmaps[character] = found
    groups = _merge_twins(bitmaps)
    images, labels, domains = [], [], []
    for label, group in enumerate(groups):
        seen: set[bytes] = set()
        for character in group:
            for domain, image in bitmaps[character].items():
                if (content := bytes([domain]) + image.tobytes()) not in seen:
                    seen.add(content)
                    images.append(image)
                    labels.append(label)
                    domains.append(domain)
    return {
        "images": np.stack(images),
        "labels": np.array(labels, dtype=np.int64),
        "domains": np.array(domains, dtype=np.int64),
        "scripts": np.array([SCRIPTS.index(script_of(group[0]) or "") for group in groups], dtype=np.int64),
        "characters": np.array(["".join(group) for group in groups]),
    }


def _draw(font: FT2Font, character: str) -> np.ndarray:
    """One character, white on black, centred; characters too large for the frame are drawn smaller."""
    room = SIZE - 2 * _MARGIN
    em = float(_EM)
    while True:
        font.clear()
        font.set_size(em, 72)
        font.set_text(character, 0.0)
        font.draw_glyphs_to_bitmap(antialiased=True)
        ink = np.asarray(font.get_image())
        rows, columns = ink.any(1).nonzero()[0], ink.any(0).nonzero()[0]
        if len(rows) == 0:
            return np.zeros((SIZE, SIZE), dtype=np.uint8)
        ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if max(ink.shape) <= room:
            break
        em *= min(0.95, room / max(ink.shape))
    top, left = (SIZE - ink.shape[0]) // 2, (SIZE - ink.shape[1]) // 2
    image = np.zeros((SIZE, SIZE), dtype=np.uint8)
    image[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return image


def _merge_twins(bitmaps: dict[str, dict[int, np.ndarray]]) -> list[list[str]]:
    """Characters as classes: those of one script whose bitmaps are equal in at least half of the faces they share."""
    same: dict[tuple[str, str], int] = defaultdict(int)
    by_content: dict[tuple[str | None, int, bytes], list[str]] = defaultdict(list)
    for character, images in bitmaps.items():
        for domain, image in images.items():
            twins = by_content[script_of(character), domain, image.tobytes()]
            for other in twins:
                same[other, character] += 1
            twins.append(character)
    parent = {character: character for character in bitmaps}

    def root(character: str) -> str:
        while parent[character] != character:
            character = parent[character]
        return character

    for (one, other), count in same.items():
        if 2 * count >= len(bitmaps[one].keys() & bitmaps[other].keys()):
            parent[root(other)] = root(one)
    groups: dict[str, list[str]] = defaultdict(list)
    for character in bitmaps:
        groups[root(character)].append(character)
    return list(groups.values())


def _store(arrays: dict[str, np.ndarray], faces: tuple[str, ...]) -> ImageStore:
    labels = torch.from_numpy(arrays["labels"])
    scripts = torch.from_numpy(arrays["scripts"])
    of_image = scripts[labels]
    parts = {name: (of_image == i).nonzero().flatten() for i, name in enumerate(SCRIPTS)}
    latin = (scripts == 0).nonzero().flatten()
    held_out = latin[torch.randperm(len(latin), generator=torch.Generator().manual_seed(0))[: len(latin) // 5]]
    validation = torch.isin(labels, held_out)
    return ImageStore(
        "glyphs",
        torch.from_numpy(arrays["images"])[:, None],
        labels,
        torch.from_numpy(arrays["domains"]),
        class_names=tuple(str(character) for character in arrays["characters"]),
        domain_names=faces,
        splits={
            "meta-train": ((of_image == 0) & ~validation).nonzero().flatten(),
            "meta-validation": validation.nonzero().flatten(),
            **parts,
        },
        groups={"meta-test": SCRIPTS[1:]},
    )


def _fonts_checksum(faces: list[Path]) -> str:
    digest = hashlib.sha256(f"{_VERSION} {SIZE} {unicodedata.unidata_version}".encode())
    for face in faces:
        digest.update(face.read_bytes())
    return digest.hexdigest()


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _read_cache(file: Path) -> dict[str, np.ndarray] | None:
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        return arrays if str(arrays.pop("checksum")) == _checksum(arrays) else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write_cache(file: Path, arrays: dict[str, np.ndarray]) -> None:
    content = io.BytesIO()
    np.savez_compressed(content, checksum=np.array(_checksum(arrays)), **arrays)  # type: ignore[arg-type]
    aside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content.getvalue())
        aside.replace(file)
    except OSError:
        aside.unlink(missing_ok=True)
