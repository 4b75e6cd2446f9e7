"""Operations that torch has only slower, and what they need to know: the layout of images and who is running them."""

from metatc2.kernels.batch_norm import batch_norm
from metatc2.kernels.layout import channels_last, channels_last_parameters
from metatc2.kernels.transforms import in_rehearsal, in_transform, rehearsal
from metatc2.kernels.window_max import conv_norm_pool

__all__ = [
    "batch_norm",
    "channels_last",
    "channels_last_parameters",
    "conv_norm_pool",
    "in_rehearsal",
    "in_transform",
    "rehearsal",
]
