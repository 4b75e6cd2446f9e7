"""Operations whose second derivatives are cheap, and the memory layout that kernels are fast in."""

from metatc2.kernels.batch_norm import batch_norm
from metatc2.kernels.layout import channels_last

__all__ = ["batch_norm", "channels_last"]
