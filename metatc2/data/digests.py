"""Images told by their pixels: short checksums of each, and a few of them that stand for all."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from metatc2.data.cache import recall, remember
from metatc2.data.originals import Digests, gray_digests, no_digests
from metatc2.data.streaming import Images, StreamedImages, in_chunks

_MOST = 2048


def image_digests(images: Images, rows: Tensor, *, gray: bool = True) -> Digests:
    """64 bits that stand for the pixels of each image; 0 for an image of one color, which may be anything.

    Of streamed images they are kept in the cache folder (see `remember`), since all must be read.

    Args:
        images: uint8 ``(N, C, H, W)``.
        rows: int64 ``(n,)``.
        gray: see `gray_digests`; else BLAKE2b of all channels, which older files of weights hold.

    >>> import torch
    >>> images = torch.arange(8, dtype=torch.uint8).view(2, 1, 2, 2)
    >>> len(set(image_digests(images, torch.tensor([0, 1, 0])).tolist())), image_digests(images[:1] * 0, torch.tensor([0]))
    (2, array([0], dtype=uint64))
    """
    key = ""
    if isinstance(images, StreamedImages) and (files := images.fingerprint()):
        key = f"digests {gray} {files} {hashlib.sha256(rows.numpy().tobytes()).hexdigest()}"
        if kept := recall(key, {"digests": (np.uint64, (len(rows),))}):
            return kept["digests"]
    digests: Digests = np.concatenate([no_digests(), *(_of(part, gray) for part in in_chunks(images, rows))])
    if key:
        remember(key, {"digests": digests})
    return digests


def _of(part: Tensor, gray: bool) -> Digests:
    if gray:
        return gray_digests(part)
    digests: list[int] = []
    flat = part.flatten(1).contiguous()
    # By channel: an image of one color has one value in each.
    plain = (part == part[..., :1, :1]).flatten(1).all(1).tolist()
    for pixels, one_color in zip(flat.numpy(), plain, strict=True):
        digests.append(0 if one_color else int.from_bytes(hashlib.blake2b(pixels, digest_size=8).digest(), "big"))
    return np.array(digests, dtype=np.uint64)


@dataclass(frozen=True)
class ImageSample:
    """Images of a set, of which the 2048 with the smallest digests (4096, where each has two) are remembered: all, where there
    are no more.

    Any image of the set whose digest is small enough to be among them is recognized, in whatever other set it comes: of
    two sets that share m images of the N of this one, about ``2048 m / N`` are found.

    Args:
        digests: in ascending order, without 0.
        gray: of which kind, see `image_digests`.
    """

    digests: tuple[int, ...] = ()
    gray: bool = True

    @classmethod
    def of(cls, *digests: Digests) -> ImageSample:
        """Those of a set of images, each of which may have several digests."""
        known = np.unique(np.concatenate(digests))
        return cls(tuple(known[known > 0][: _MOST * len(digests)].tolist()))

    def among(self, digests: Digests) -> NDArray[np.bool_]:
        """Which of further images are remembered.

        >>> ImageSample.of(np.array([5, 3, 0], dtype=np.uint64)).among(np.array([3, 4, 0], dtype=np.uint64)).tolist()
        [True, False, False]
        """
        return np.isin(digests, np.array(self.digests, dtype=np.uint64))

    def to_text(self) -> str:
        """As text of letters that `from_text` reads."""
        return base64.b64encode(np.array(self.digests, dtype=">u8").tobytes()).decode()

    @classmethod
    def from_text(cls, text: str, *, gray: bool = True) -> ImageSample:
        """What `to_text` wrote, of digests of a kind.

        Raises:
            ValueError: if it is damaged.

        >>> ImageSample.from_text(ImageSample((3, 5)).to_text())
        ImageSample(digests=(3, 5), gray=True)
        """
        try:
            raw = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError(f"seen_images is not base64: {error}") from error
        if len(raw) % 8:
            raise ValueError(f"seen_images has {len(raw)} bytes, not 8 an image")
        return cls(tuple(np.frombuffer(raw, dtype=">u8").tolist()), gray)
