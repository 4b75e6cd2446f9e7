"""Options as strict pydantic models: types, ranges and documentation once, and one sentence for what is wrong."""

from metatc2.io.options.base import Options
from metatc2.io.options.signature import NO_OPTION, options_like
from metatc2.io.options.types import Ceiling, Count, Factor, InnerOptimizerName, Names, Number, Share
from metatc2.io.options.words import Bounds, describe, show, shown

__all__ = [
    "NO_OPTION",
    "Bounds",
    "Ceiling",
    "Count",
    "Factor",
    "InnerOptimizerName",
    "Names",
    "Number",
    "Options",
    "Share",
    "describe",
    "options_like",
    "show",
    "shown",
]
