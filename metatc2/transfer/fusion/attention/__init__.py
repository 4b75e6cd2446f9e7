"""Attentions over encoders, one file each."""

from metatc2.transfer.fusion.attention.base import Attention, AttentionSizes, Params
from metatc2.transfer.fusion.attention.registry import ATTENTIONS, register_attention
from metatc2.transfer.fusion.attention.sparsemax import sparsemax

__all__ = ["ATTENTIONS", "Attention", "AttentionSizes", "Params", "register_attention", "sparsemax"]
