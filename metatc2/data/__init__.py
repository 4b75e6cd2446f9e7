"""Image sources: everything becomes an `ImageStore`."""

from metatc2.data.conventions import TransferSplits, transfer_splits
from metatc2.data.folder import UnreadableImages
from metatc2.data.sources import known_sources, load
from metatc2.data.store import ImageStore, meta_splits
from metatc2.data.streaming import Images, StreamedImages, in_chunks

__all__ = [
    "ImageStore",
    "Images",
    "StreamedImages",
    "TransferSplits",
    "UnreadableImages",
    "in_chunks",
    "known_sources",
    "load",
    "meta_splits",
    "transfer_splits",
]
