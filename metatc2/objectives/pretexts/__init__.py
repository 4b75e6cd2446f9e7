"""Pretext tasks, one a file: answers that are known because the images were made to have them."""

from metatc2.objectives.pretext import Pretext
from metatc2.objectives.pretexts.colorization import Colorization, chroma_histograms
from metatc2.objectives.pretexts.jigsaw import Jigsaw, distant_permutations
from metatc2.objectives.pretexts.relative_position import RelativePosition
from metatc2.objectives.pretexts.rotation import Rotation, quarter_turns
from metatc2.objectives.pretexts.tiles import cut_tiles

__all__ = [
    "Colorization",
    "Jigsaw",
    "Pretext",
    "RelativePosition",
    "Rotation",
    "chroma_histograms",
    "cut_tiles",
    "distant_permutations",
    "quarter_turns",
]
