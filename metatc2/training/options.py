"""What the outer loop is asked for: steps, optimizer, learning rates, how often it writes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from metatc2.training.placement import Placement, Precision


@dataclass(frozen=True)
class TrainerOptions:
    """How to train.

    Args:
        steps: episodes to train on.
        optimizer: of parameter groups that do not bring their own: AdamW, or SGD with Nesterov momentum 0.9.
        lr: peak learning rate; it rises linearly over `warmup` (a share of the steps), then falls as a cosine to 0.
        weight_decay: on matrices and kernels, not on biases and norms, nor on what a module's own ``no_weight_decay()`` names
            (as timm's models do).
        clip: largest gradient norm of each parameter group; 0 switches clipping off.
        precision: of the forward pass through the encoder, as Lightning Fabric names them.
        accelerator: as Lightning Fabric names them.
        devices: of this kind on each node, a process each; the tasks of every episode are split over all of them. With one
            device and one node, as many as ``torchrun`` or ``srun`` has started.
        nodes: machines; the command is started on each.
        accumulate: parts that the images of a process are cut into, of which one at a time has its activations in memory; the
            backward pass runs the encoder again on each. Batch normalization is by one part at a time.
        check_every: steps between looks whether all processes have the same parameters and buffers.
        checkpoint_every: steps between checkpoints; 0 writes only the last one.
        log_every: steps between records of the metrics.
        lengthened: lengths that the training had before it was made longer, rising: steps below the first are made as in a
            run of that length, with its learning rates, the next ones as in a run of the next length, and so on to `steps`.

    >>> TrainerOptions(steps=200, lengthened=(100,)).length_at(99), TrainerOptions(steps=200, lengthened=(100,)).length_at(100)
    (100, 200)
    """

    steps: int = 600
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 2e-3
    weight_decay: float = 1e-4
    warmup: float = 0.05
    clip: float = 1.0
    precision: Precision = "32-true"
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    accumulate: int = 1
    check_every: int = 100
    checkpoint_every: int = 200
    log_every: int = 10
    lengthened: tuple[int, ...] = ()

    @property
    def placement(self) -> Placement:
        """Where it trains."""
        return Placement(self.accelerator, self.devices, self.nodes, self.precision)

    def length_at(self, step: int) -> int:
        """The length of the run whose schedule holds at a step."""
        return next((length for length in self.lengthened if step < length), self.steps)

    def learning_rate(self, step: int) -> float:
        """Learning rate at a step: linear warm-up, then cosine.

        A function of the step alone, where schedulers of torch keep a state: runs are resumed, and made longer.
        """
        length = self.length_at(step)
        rise = self.warmup * length
        if step < rise:
            return self.lr * (step + 1) / (rise + 1)
        share = (step - rise) / max(1.0, length - rise)
        return self.lr * 0.5 * (1 + math.cos(math.pi * share))
