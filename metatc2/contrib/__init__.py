"""Bridges to other libraries. Optional packages are imported in here and nowhere else, when they are asked for."""

from metatc2.contrib.learn2learn import require_learn2learn

__all__ = ["require_learn2learn"]
