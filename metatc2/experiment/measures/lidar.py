"""LiDAR, of features without labels."""

from __future__ import annotations

from metatc2.experiment.measures.registry import Seen, register_measure
from metatc2.metrics.lidar import lidar


@register_measure("lidar")
def rank_between_images(seen: Seen) -> float | None:
    """LiDAR (Thilak et al. 2024) of views of the images; see `metatc2.metrics.lidar`."""
    return None if seen.views is None else lidar(seen.views)
