"""`shapes`: rendered objects whose generative factors are known, labeled by any of them; no download."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metatc2.data.registry import register_source
from metatc2.data.sources.shapes.factors import GenerativeFactors
from metatc2.data.sources.shapes.render import FACTORS, KINDS, LISTS, RANGES, draw_factors, render
from metatc2.data.store import ImageStore, meta_splits
from metatc2.errors import InputError, nearest

LABELS = "shape+texture"
SIZE = 32  # pixels
COUNT = 20_000
BINS = 8  # classes that a continuous factor is cut into
_FEWEST = 10  # images a class, on average
_PARTS = ("train", "validation", "test")
_SHARES = (0.5, 0.25)  # of the classes in meta-train and in meta-validation


@register_source("shapes")
@register_source("shapes:FACTORS")
def load_shapes(
    labels: str = LABELS, image_size: int | None = None, *, count: int = COUNT, seed: int = 0
) -> ImageStore:
    """Objects of 12 shapes and 8 textures, with 7 continuous factors; the same images whatever the labels.

    Images are split into ``train``, ``validation`` and ``test`` once, by the default classes (shape and texture together: 48,
    24 and 24 of 96, every shape and every texture in each part), for every labeling alike: an encoder pre-trained on
    ``shapes:meta-train`` has seen no image of ``shapes:hue:test``, nor any of a shape with that texture. The meta splits keep
    to that and share no class besides: ``meta-test`` holds the test images of the labeling's own test classes (where shape
    and texture are both among the labels, all test images). ``held-out`` stands for ``validation`` and ``test``. A domain
    is an eighth of the hues of the background.

    Args:
        labels: factors of `FACTORS` joined by ``+``, in any order; a continuous one is cut into `BINS` equal parts.
        image_size: side in pixels, 32 by default; from 28 on textures can be told apart.
        count: number of images.
        seed: of the factors.

    Raises:
        InputError: if a factor is unknown or named twice, or classes would have under ten images on average.

    >>> store = load_shapes("hue", 16, count=200)
    >>> store.name, store.images.shape, store.class_names[:2]
    ('shapes:hue', torch.Size([200, 3, 16, 16]), ('hue 1/8', 'hue 2/8'))
    """
    names = _named(labels)
    known = shape_factors(count, seed)
    own, class_names = _classes(known, names)
    parts = _parts(known)
    meta = {f"meta-{part}": rows for part, rows in parts.items()}
    if not {"shape", "texture"} <= set(names):
        mine = meta_splits(own, len(class_names), shares=_SHARES)
        meta = {part: rows[torch.isin(rows, mine[part])] for part, rows in meta.items()}
    title = "+".join(names)
    return ImageStore(
        "shapes" if title == LABELS else f"shapes:{title}",
        render(known.values, image_size or SIZE),
        own,
        _bins(known, "background"),
        class_names=class_names,
        domain_names=_bin_names("background"),
        splits={**parts, **meta},
        # A group makes `meta-test` the split that is meant when none is named, also after pre-training on other labels.
        groups={"held-out": ("validation", "test")},
        notes={"factors": ", ".join(FACTORS), "seed": seed},
        factors=known,
    )


def shape_factors(count: int = COUNT, seed: int = 0) -> GenerativeFactors:
    """True factors of the images of `load_shapes`, row by row, whatever the labels.

    Raises:
        InputError: if `count` is below 1.

    >>> known = shape_factors(100)
    >>> known.names
    ('shape', 'texture', 'size', 'orientation', 'hue', 'background', 'x', 'y', 'lighting')
    """
    if count < 1:
        raise InputError(f"shapes: count must be at least 1, got {count}")
    return draw_factors(count, torch.Generator().manual_seed(seed))


def is_rendered(store: ImageStore) -> bool:
    """Whether a store holds images of `load_shapes`, under any labels."""
    return store.name.partition(":")[0] == "shapes" and store.notes.get("factors") == ", ".join(FACTORS)


def in_part(split: str) -> Tensor:
    """Combinations of shape and texture in a part of the data, int64 ``(combinations, 2)``, shape first.

    Args:
        split: ``"all"``, ``"train"``, ``"validation"``, ``"test"``, or the latter three with ``meta-`` before them.

    Raises:
        InputError: if it is another.

    >>> len(in_part("all")), len(in_part("meta-train")), len(in_part("test"))
    (96, 48, 24)
    """
    every = torch.cartesian_prod(torch.arange(len(LISTS["shape"])), torch.arange(len(LISTS["texture"])))
    if split == "all":
        return every
    name = split.removeprefix("meta-")
    if name not in _PARTS:
        known = ("all", *_PARTS, *(f"meta-{part}" for part in _PARTS))
        raise InputError(f"shapes: {split!r} is no part that factors can be drawn for; {nearest(split, known)}")
    return every[_part_of(every[:, 0], every[:, 1]) == _PARTS.index(name)]


def _part_of(shape: Tensor, texture: Tensor) -> Tensor:
    """Which part. Along a diagonal of the table of shapes and textures all is one part, so each row has them all."""
    return torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])[(shape + texture) % len(LISTS["texture"])]


def _parts(known: GenerativeFactors) -> dict[str, Tensor]:
    """Rows of each part."""
    shape, texture = (known.values[:, FACTORS.index(name)].long() for name in ("shape", "texture"))
    part = _part_of(shape, texture)
    return {name: (part == i).nonzero().flatten() for i, name in enumerate(_PARTS)}


def _named(labels: str) -> list[str]:
    """Factors in the order of `FACTORS`."""
    given = labels.split("+")
    for name in given:
        if name not in FACTORS:
            raise InputError(f"shapes:{labels}: unknown factor {name!r}; {nearest(name, FACTORS)}")
    if len(set(given)) < len(given):
        once = "+".join(dict.fromkeys(given))
        raise InputError(f"shapes:{labels}: a factor is named twice; name each once, e.g. shapes:{once}")
    return [name for name in FACTORS if name in given]


def _classes(known: GenerativeFactors, names: list[str]) -> tuple[Tensor, tuple[str, ...]]:
    """Labels ``(N,)`` and one name a class: every combination of the factors' values or parts."""
    values = [
        [f"{name} {value}" for value in LISTS[name]] if name in LISTS else list(_bin_names(name)) for name in names
    ]
    number = math.prod(len(each) for each in values)
    if number * _FEWEST > len(known):
        raise InputError(
            f"shapes:{'+'.join(names)}: {number} classes for {len(known)} images leave under {_FEWEST} a class; "
            "name fewer factors"
        )
    labels, titles = torch.zeros(len(known), dtype=torch.int64), [""]
    for name, each in zip(names, values, strict=True):
        labels = labels * len(each) + _bins(known, name)
        titles = [f"{title}, {value}" if title else value for title in titles for value in each]
    return labels, tuple(titles)


def _bins(known: GenerativeFactors, name: str) -> Tensor:
    """Position in the list, or part of the range, of each image; int64 ``(N,)``."""
    column = known.values[:, FACTORS.index(name)]
    if KINDS[FACTORS.index(name)] == "categorical":
        return column.long()
    low, high = RANGES[name]
    return ((column - low) / (high - low) * BINS).floor().long().clamp(0, BINS - 1)


def _bin_names(name: str) -> tuple[str, ...]:
    return tuple(f"{name} {part + 1}/{BINS}" for part in range(BINS))
