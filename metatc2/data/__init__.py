"""Image sources: everything becomes an `ImageStore`."""

from metatc2.data.depths import DepthLost
from metatc2.data.registry import SOURCES, known_sources, load, register_source
from metatc2.data.sources.folder import UnreadableImages
from metatc2.data.sources.shapes.dataset import load_shapes, shape_factors
from metatc2.data.sources.shapes.factors import GenerativeFactors
from metatc2.data.splits import TransferSplits, transfer_splits
from metatc2.data.store import ImageStore, meta_splits
from metatc2.data.streaming import Images, StreamedImages, in_chunks

__all__ = [
    "SOURCES",
    "DepthLost",
    "GenerativeFactors",
    "ImageStore",
    "Images",
    "StreamedImages",
    "TransferSplits",
    "UnreadableImages",
    "in_chunks",
    "known_sources",
    "load",
    "load_shapes",
    "meta_splits",
    "register_source",
    "shape_factors",
    "transfer_splits",
]
