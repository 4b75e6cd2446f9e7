"""Regularizers of representations, one a file: what their distribution over all samples of an episode shall be."""

from metatc2.objectives.regularizers.base import Regularizer, by_view, over_episode
from metatc2.objectives.regularizers.isotropy import Isotropy, isotropy
from metatc2.objectives.regularizers.registry import (
    REGULARIZERS,
    RegularizerOptions,
    build_regularizer,
    register_regularizer,
    regularizer_options,
)
from metatc2.objectives.regularizers.sigreg import SIGReg
from metatc2.objectives.regularizers.visreg import ScaleShape

__all__ = [
    "REGULARIZERS",
    "Isotropy",
    "Regularizer",
    "RegularizerOptions",
    "SIGReg",
    "ScaleShape",
    "build_regularizer",
    "by_view",
    "isotropy",
    "over_episode",
    "register_regularizer",
    "regularizer_options",
]
