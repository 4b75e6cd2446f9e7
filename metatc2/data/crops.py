"""What is said of oblong images, of which a square is kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metatc2.data.store import ImageStore

#: Key of `ImageStore.notes`.
CROPPED = "cropped"
#: Share of an image that may be cut away without a word: a row or two of a photograph that is not quite square.
_LITTLE = 0.02


def about_crops(shares: NDArray[np.float64], first: str = "") -> str:
    """A sentence on images of which a part is cut away, and how all of them is kept; empty where there are none.

    Args:
        shares: of each image, see `metatc2.data.image_io.share_cut`.
        first: the image of which most is, if it has a name.

    >>> about_crops(np.array([0.0, 0.25, 0.5]), "a/1.png").partition(" cut")[0]
    '2 of 3 images are oblong: the square in their middle is kept, and up to 50 % of one is'
    """
    cut = shares > _LITTLE
    if not cut.any():
        return ""
    named = f" ({first})" if first else ""
    return (
        f"{int(cut.sum())} of {len(shares)} images are oblong: the square in their middle is kept, and up to "
        f"{100 * shares.max():.0f} % of one is cut away{named}; to keep all of it, make the images square beforehand, by "
        "padding or squeezing them (docs/data.md, Channels and shapes)"
    )


def crops_noted(*sentences: str) -> dict[str, str | int]:
    """Notes of a store.

    Args:
        sentences: of `about_crops`, one for each part of a source; the first that says something is kept.
    """
    said = [sentence for sentence in sentences if sentence]
    return {CROPPED: said[0]} if said else {}


def crops_of(stores: Sequence[ImageStore]) -> list[str]:
    """What is to be said of some stores, each once, with its name."""
    return list(dict.fromkeys(f"{store.name}: {store.notes[CROPPED]}" for store in stores if CROPPED in store.notes))
