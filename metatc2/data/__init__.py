"""Image sources: everything becomes an `ImageStore`."""

from metatc2.data.folder import UnreadableImages
from metatc2.data.sources import known_sources, load
from metatc2.data.store import ImageStore, meta_splits

__all__ = ["ImageStore", "UnreadableImages", "known_sources", "load", "meta_splits"]
