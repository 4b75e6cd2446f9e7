"""`glyphs`: letters and digits of five scripts, rendered from the fonts that matplotlib ships; no download."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib import ft2font
from numpy.typing import NDArray

from metatc2.data.cache import Form, has_form, whole_archive
from metatc2.data.registry import register_source
from metatc2.data.store import ImageStore
from metatc2.errors import InputError
from metatc2.io.files import check_regular

SCRIPTS = ("latin", "greek", "cyrillic", "georgian", "armenian")
FACES = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
)
SIZE = 28  # pixels
_EM = 24  # pixels: capitals are then about 17 high, and 'o' stays smaller than 'O'
_MARGIN = 1
_FACES_AT_LEAST = 7
_VERSION = 2  # of the rendering below; raise it with every change

_MOST_BYTES = 1 << 28  # of what is kept: ten times what it is
_FORM: Form = {
    "images": (np.uint8, (None, SIZE, SIZE)),
    **dict.fromkeys(("labels", "domains", "scripts"), (np.int64, (None,))),
    "characters": (np.str_, (None,)),
}

Image = NDArray[np.uint8]
Arrays = dict[str, NDArray[Any]]


@register_source("glyphs")
def load_glyphs(cache: Path | None = None) -> ImageStore:
    """About 21 000 images of 1 680 classes: a class is a character, a domain a face, a split a script.

    Every letter or decimal digit that at least seven of sixteen faces contain. Characters of one script that look the
    same in at least half of the faces they share are one class. Characters are white on black. Four fifths of the Latin
    classes are ``meta-train``, the others ``meta-validation``; ``meta-test`` stands for the other four scripts, which
    an episode never mixes.

    Args:
        cache: folder for the rendered images; by default ``$METATC2_CACHE`` or ``~/.cache/metatc2``. The file is
            rebuilt when fonts change or its content is damaged; a folder that cannot be written to is done without.

    Raises:
        InputError: if matplotlib lacks one of the sixteen font files.
    """
    faces = font_faces()
    folder = cache or Path(os.environ.get("METATC2_CACHE") or os.path.expanduser("~/.cache/metatc2"))
    file = folder / f"glyphs-{cache_key(faces)[:16]}.npz"
    arrays = _read_cache(file)
    if arrays is None:
        arrays = render(faces)
        _write_cache(file, arrays)
    return _store(arrays)


def font_faces() -> list[Path]:
    """Files of the sixteen faces: four families, each in regular, bold, italic and bold italic.

    Raises:
        InputError: if one is not there (some systems package matplotlib without its fonts).
    """
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = [folder / f"{face}.ttf" for face in FACES]
    if missing := [file.name for file in files if not file.is_file()]:
        raise InputError(
            f"glyphs: matplotlib's folder {folder} lacks {', '.join(missing)}; install matplotlib with pip, which ships it"
        )
    return files


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


def render(faces: Sequence[Path]) -> Arrays:
    """Draw all characters.

    Args:
        faces: font files; a domain is a position in it.

    Returns:
        Of images: ``images (N, 28, 28)``, ``labels (N,)``, ``domains (N,)``. Of classes: ``scripts`` (a position in
        `SCRIPTS`) and ``characters``, a string each. No bitmap occurs twice in a script.
    """
    fonts = [ft2font.FT2Font(str(face)) for face in faces]
    holders: dict[str, list[int]] = defaultdict(list)
    for domain, font in enumerate(fonts):
        for point in font.get_charmap():
            holders[chr(point)].append(domain)
    bitmaps: dict[str, dict[int, Image]] = {}
    for character in sorted(holders):
        if len(holders[character]) >= _FACES_AT_LEAST and script_of(character):
            drawn = {domain: draw(fonts[domain], character) for domain in holders[character]}
            visible = {domain: image for domain, image in drawn.items() if image.any()}
            if len(visible) >= _FACES_AT_LEAST:
                bitmaps[character] = visible
    groups = merge_twins(bitmaps)
    scripts = [SCRIPTS.index(script_of(group[0]) or "") for group in groups]
    # Of equal bitmaps of a class the first stays: a face that copies another would give answers away.
    distinct: list[dict[bytes, tuple[Image, int]]] = [{} for _ in groups]
    for group, images in zip(groups, distinct, strict=True):
        for character in group:
            for domain, image in bitmaps[character].items():
                images.setdefault(image.tobytes(), (image, domain))
    # A bitmap that two classes of a script still share has no right answer.
    owners = Counter((script, content) for script, images in zip(scripts, distinct, strict=True) for content in images)
    kept = [
        (image, label, domain)
        for label, (script, images) in enumerate(zip(scripts, distinct, strict=True))
        for content, (image, domain) in images.items()
        if owners[script, content] == 1
    ]
    return {
        "images": np.stack([image for image, _, _ in kept]),
        "labels": np.array([label for _, label, _ in kept], dtype=np.int64),
        "domains": np.array([domain for _, _, domain in kept], dtype=np.int64),
        "scripts": np.array(scripts, dtype=np.int64),
        "characters": np.array(["".join(group) for group in groups]),
    }


def draw(font: ft2font.FT2Font, character: str) -> Image:
    """One character, white on black, centered, ``(28, 28)``; what is too large for the frame is drawn smaller."""
    frame = SIZE - 2 * _MARGIN
    em = float(_EM)
    while True:
        font.clear()
        font.set_size(em, 72)
        font.set_text(character, 0.0)
        font.draw_glyphs_to_bitmap(antialiased=True)
        bitmap = np.asarray(font.get_image())
        rows, columns = np.flatnonzero(bitmap.any(1)), np.flatnonzero(bitmap.any(0))
        if len(rows) == 0:
            return np.zeros((SIZE, SIZE), dtype=np.uint8)
        bitmap = bitmap[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if max(bitmap.shape) <= frame:
            break
        em *= min(0.95, frame / max(bitmap.shape))
    top, left = (SIZE - bitmap.shape[0]) // 2, (SIZE - bitmap.shape[1]) // 2
    image = np.zeros((SIZE, SIZE), dtype=np.uint8)
    image[top : top + bitmap.shape[0], left : left + bitmap.shape[1]] = bitmap
    return image


def merge_twins(bitmaps: dict[str, dict[int, Image]]) -> list[list[str]]:
    """Characters as classes: those of one script whose bitmaps are equal in at least half of the faces they share.

    Args:
        bitmaps: by character and face.
    """
    same: Counter[tuple[str, str]] = Counter()
    by_content: dict[tuple[str | None, int, bytes], list[str]] = defaultdict(list)
    for character, images in bitmaps.items():
        for domain, image in images.items():
            twins = by_content[script_of(character), domain, image.tobytes()]
            same.update((other, character) for other in twins)
            twins.append(character)
    first = {character: character for character in bitmaps}  # of the class it belongs to
    for (one, other), count in same.items():
        if 2 * count >= len(bitmaps[one].keys() & bitmaps[other].keys()):
            joined, into = first[other], first[one]
            first = {character: into if root == joined else root for character, root in first.items()}
    groups: dict[str, list[str]] = defaultdict(list)
    for character, root in first.items():
        groups[root].append(character)
    return list(groups.values())


def cache_key(faces: Sequence[Path]) -> str:
    """SHA-256 over all that the images depend on: font files, FreeType, Unicode tables, this file's version."""
    versions = (_VERSION, SIZE, matplotlib.__version__, ft2font.__freetype_version__, unicodedata.unidata_version)
    digest = hashlib.sha256(repr(versions).encode())
    for face in faces:
        digest.update(face.read_bytes())
    return digest.hexdigest()


def _store(arrays: Arrays) -> ImageStore:
    labels, scripts = torch.from_numpy(arrays["labels"]), torch.from_numpy(arrays["scripts"])
    of_image = scripts[labels]
    latin = (scripts == 0).nonzero().flatten()
    held_out = latin[torch.randperm(len(latin), generator=torch.Generator().manual_seed(0))[: len(latin) // 5]]
    validation = torch.isin(labels, held_out)
    masks = {"meta-train": (of_image == 0) & ~validation, "meta-validation": validation}
    masks |= {name: of_image == i for i, name in enumerate(SCRIPTS)}
    return ImageStore(
        "glyphs",
        torch.from_numpy(arrays["images"])[:, None],
        labels,
        torch.from_numpy(arrays["domains"]),
        class_names=tuple(str(character) for character in arrays["characters"]),
        domain_names=FACES,
        splits={name: mask.nonzero().flatten() for name, mask in masks.items()},
        groups={"meta-test": SCRIPTS[1:]},
    )


def _checksum(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _read_cache(file: Path) -> Arrays | None:
    try:
        check_regular(file)
        # Opened here: NumPy leaves a damaged file open.
        with file.open("rb") as opened:
            if not whole_archive(opened, os.fstat(opened.fileno()).st_size, _MOST_BYTES):
                return None
            opened.seek(0)
            with np.load(opened, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
        right = str(arrays.pop("checksum")) == _checksum(arrays)
        return arrays if right and has_form(arrays, _FORM) and _fits(arrays) else None
    except Exception:  # whatever is wrong with it (NumPy, zipfile and zlib raise a dozen kinds), it is made again
        return None


def _fits(arrays: Arrays) -> bool:
    """Whether the numbers in a cache can be meant."""
    labels, domains, scripts = arrays["labels"], arrays["domains"], arrays["scripts"]
    return (
        0 < len(labels) == len(domains) == len(arrays["images"])
        and len(scripts) == len(arrays["characters"])
        and 0 <= labels.min() <= labels.max() < len(scripts)
        and 0 <= domains.min() <= domains.max() < len(FACES)
        and 0 <= scripts.min() <= scripts.max() < len(SCRIPTS)
    )


def _write_cache(file: Path, arrays: Arrays) -> None:
    content = io.BytesIO()
    whole: dict[str, Any] = {"checksum": np.array(_checksum(arrays)), **arrays}
    np.savez_compressed(content, **whole)
    aside: Path | None = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: processes that build at the same time must not write into one file.
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".glyphs-", suffix=".tmp", delete=False) as opened:
            aside = Path(opened.name)
            opened.write(content.getvalue())
        aside.replace(file)
    except OSError:
        if aside:
            aside.unlink(missing_ok=True)
