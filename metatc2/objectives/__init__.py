"""Self-supervised objectives, one a file, each a pure function under a thin module, and the watch against collapse."""

from metatc2.objectives.barlow_twins import BarlowTwins, redundancy
from metatc2.objectives.base import Embeddings, Objective, pair
from metatc2.objectives.byol import BYOL, normalised_distance
from metatc2.objectives.collapse import collapsed, rank_summary, rankme
from metatc2.objectives.custom import Custom
from metatc2.objectives.moco import MoCo, info_nce
from metatc2.objectives.registry import OBJECTIVES, build_objective
from metatc2.objectives.simclr import SimCLR, nt_xent
from metatc2.objectives.simsiam import SimSiam, negative_cosine
from metatc2.objectives.vicreg import VICReg, covariance, invariance, variance

__all__ = [
    "BYOL",
    "OBJECTIVES",
    "BarlowTwins",
    "Custom",
    "Embeddings",
    "MoCo",
    "Objective",
    "SimCLR",
    "SimSiam",
    "VICReg",
    "build_objective",
    "collapsed",
    "covariance",
    "info_nce",
    "invariance",
    "negative_cosine",
    "normalised_distance",
    "nt_xent",
    "pair",
    "rank_summary",
    "rankme",
    "redundancy",
    "variance",
]
