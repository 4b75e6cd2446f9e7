"""Common corruptions of images at five severities (Hendrycks & Dietterich 2019, arXiv 1903.12261), in batches of tensors.

`corrupt` applies one of `CORRUPTIONS`; `CorruptionKind.parameters` says how severities follow the size of the images.
"""

from metatc2.augment.corruptions.corrupt import CORRUPTIONS, SEVERITIES, corrupt
from metatc2.augment.corruptions.severity import CorruptionKind

__all__ = ["CORRUPTIONS", "SEVERITIES", "CorruptionKind", "corrupt"]
