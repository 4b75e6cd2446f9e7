"""metatc2: self-supervised pre-training as meta-learning.

Every batch is an episode of several self-supervised tasks. In task conflict calibration (TC²) each task adapts weights over
shared factors in a differentiable inner loop, and the encoder steps through it.

>>> import metatc2 as mt
>>> mt.SimCLR(temperature=0.2).temperature
0.2

What stands here is loaded when it is asked for; the packages have more. From the ground up: `metatc2.data`,
`metatc2.augment`, `metatc2.inner`; `metatc2.models`, `metatc2.metrics`, `metatc2.objectives`, `metatc2.episodes`,
`metatc2.calibration`, `metatc2.conditioning`; `metatc2.learners`; `metatc2.training`, `metatc2.transfer`,
`metatc2.diagnostics`; `metatc2.experiment`; `metatc2.report`; `metatc2.cli`.
"""

import lazy_loader

__version__ = "0.1.0"

# The names stand in __init__.pyi, once, for people, type checkers and this loader.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
