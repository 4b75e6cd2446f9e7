"""Fusion: one classifier on several frozen encoders, beside the simple ways to combine them."""

from metatc2.transfer.fusion.attention import ATTENTIONS, Attention, AttentionSizes, register_attention, sparsemax
from metatc2.transfer.fusion.baselines import BASELINES, Baseline, register_baseline
from metatc2.transfer.fusion.labeled import Fitted, LabeledSet
from metatc2.transfer.fusion.network import FitOptions
from metatc2.transfer.fusion.pretext_fusion import PretextFusion

__all__ = [
    "ATTENTIONS",
    "BASELINES",
    "Attention",
    "AttentionSizes",
    "Baseline",
    "FitOptions",
    "Fitted",
    "LabeledSet",
    "PretextFusion",
    "register_attention",
    "register_baseline",
    "sparsemax",
]
