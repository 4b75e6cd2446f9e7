"""Simple ways to combine encoders, one file each: what fusion has to be better than."""

from metatc2.transfer.fusion.baselines.base import Baseline
from metatc2.transfer.fusion.baselines.registry import BASELINES, register_baseline
from metatc2.transfer.fusion.baselines.sur import sur_weights

__all__ = ["BASELINES", "Baseline", "register_baseline", "sur_weights"]
