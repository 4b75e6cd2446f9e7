"""Operations that torch has only slower, and what they need to know: the layout of images and who is running them."""

from metatc2.ops.batch_norm import batch_norm
from metatc2.ops.channels_last import channels_last, channels_last_parameters
from metatc2.ops.conv_norm_pool import conv_norm_pool
from metatc2.ops.transforms import in_rehearsal, in_transform, rehearsal

__all__ = [
    "batch_norm",
    "channels_last",
    "channels_last_parameters",
    "conv_norm_pool",
    "in_rehearsal",
    "in_transform",
    "rehearsal",
]
