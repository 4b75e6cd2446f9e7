"""Self-supervised objectives, one a file, each a pure function under a thin module, and the watch against collapse."""

from metatc2.metrics.rank import collapsed, rank_summary, rankme
from metatc2.objectives.barlow_twins import BarlowTwins, redundancy
from metatc2.objectives.base import Embeddings, Objective, pair
from metatc2.objectives.byol import BYOL, normalized_distance
from metatc2.objectives.custom import Custom
from metatc2.objectives.moco import MoCo, info_nce
from metatc2.objectives.registry import (
    OBJECTIVES,
    ObjectiveOptions,
    TargetOptions,
    build_objective,
    objective_options,
    register_objective,
    title_of,
)
from metatc2.objectives.sigreg import LeJEPA, epps_pulley, sigreg
from metatc2.objectives.simclr import SimCLR, nt_xent
from metatc2.objectives.simsiam import SimSiam, negative_cosine
from metatc2.objectives.sketched import directions, view_variance
from metatc2.objectives.vicreg import VICReg, covariance, invariance, variance
from metatc2.objectives.visreg import VISReg, center_loss, scale_loss, shape_loss

__all__ = [
    "BYOL",
    "OBJECTIVES",
    "BarlowTwins",
    "Custom",
    "Embeddings",
    "LeJEPA",
    "MoCo",
    "Objective",
    "ObjectiveOptions",
    "SimCLR",
    "SimSiam",
    "TargetOptions",
    "VICReg",
    "VISReg",
    "build_objective",
    "center_loss",
    "collapsed",
    "covariance",
    "directions",
    "epps_pulley",
    "info_nce",
    "invariance",
    "negative_cosine",
    "normalized_distance",
    "nt_xent",
    "objective_options",
    "pair",
    "rank_summary",
    "rankme",
    "redundancy",
    "register_objective",
    "scale_loss",
    "shape_loss",
    "sigreg",
    "title_of",
    "variance",
    "view_variance",
]
