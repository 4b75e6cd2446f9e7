"""What the outer loop is asked for: steps, optimizer, learning rates, how often it writes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from metatc2.errors import InputError, nearest
from metatc2.ops.numbers import real, whole
from metatc2.training.placement import Placement, Precision

OptimizerName = Literal["adamw", "sgd", "lars"]
Schedule = Literal["cosine", "constant"]
#: From sets of parameters, ``{"params": ..., "weight_decay": ...}``, to an optimizer of them.
OptimizerFactory: TypeAlias = Callable[[list[dict[str, Any]]], Optimizer]
SchedulerFactory: TypeAlias = Callable[[Optimizer], LRScheduler]


_COUNTED = ("steps", "devices", "nodes", "accumulate", "check_every", "log_every", "validate_every")


@dataclass(frozen=True)
class TrainerOptions:
    """How to train.

    Args:
        steps: episodes to train on.
        optimizer: of parameter groups that do not bring their own: AdamW, SGD with Nesterov momentum 0.9, or `LARS`. Or a
            function from sets of parameters (with their weight decay) to an optimizer: its own learning rates are then the
            peaks that `schedule` scales.
        schedule: the learning rate rises linearly over `warmup` (a share of the steps); then it falls as a cosine to 0, or
            stays. Or a function from an optimizer to a scheduler of torch, which is stepped after every step.
        lr: peak learning rate.
        ema: decay of an exponential moving average of the encoder's parameters and buffers (torch's `AveragedModel`), which
            then is what is kept and measured; 0: none.
        swa_from: share of the steps from which on the encoder's parameters and buffers are averaged equally (Izmailov et al.
            2018, arXiv 1803.05407), likewise; 1: not.
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
        validate_every: steps between looks at the episodes for validation, where the trainer has some.
        epoch_steps: steps of what `on_epoch` counts; 0: a pass over the images, as the sampler says, if it does.
        lengthened: lengths that the training had before it was made longer, rising: steps below the first are made as in a
            run of that length, with its learning rates, the next ones as in a run of the next length, and so on to `steps`.

    Raises:
        InputError: if a name is unknown, or a number out of range.

    >>> TrainerOptions(steps=200, lengthened=(100,)).length_at(99), TrainerOptions(steps=200, lengthened=(100,)).length_at(100)
    (100, 200)
    """

    steps: int = 600
    optimizer: OptimizerName | OptimizerFactory = "adamw"
    schedule: Schedule | SchedulerFactory = "cosine"
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
    validate_every: int = 100
    epoch_steps: int = 0
    ema: float = 0.0
    swa_from: float = 1.0
    lengthened: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, given, known in (
            ("optimizer", self.optimizer, get_args(OptimizerName)),
            ("schedule", self.schedule, get_args(Schedule)),
        ):
            if not callable(given) and given not in known:
                raise InputError(
                    f"TrainerOptions: unknown {name} {given!r}; {nearest(str(given), known)}, or give a function"
                )
        if self.precision not in get_args(Precision):
            raise InputError(
                f"TrainerOptions: unknown precision {self.precision!r}; {nearest(str(self.precision), get_args(Precision))}"
            )
        for name in _COUNTED:
            whole(getattr(self, name), f"TrainerOptions: {name}", 1)
        for name in ("checkpoint_every", "epoch_steps"):
            whole(getattr(self, name), f"TrainerOptions: {name}", 0)
        real(self.lr, "TrainerOptions: lr", above=0)
        real(self.warmup, "TrainerOptions: warmup", least=0, most=1)
        for name in ("weight_decay", "clip"):
            real(getattr(self, name), f"TrainerOptions: {name}", least=0)
        if not 0 <= self.ema < 1 or not 0 <= self.swa_from <= 1:
            raise InputError(
                f"TrainerOptions: ema must be from 0 to below 1 and swa_from from 0 to 1, got {self.ema} and {self.swa_from}"
            )
        if self.ema and self.swa_from < 1:
            raise InputError(
                f"TrainerOptions: ema = {self.ema} and swa_from = {self.swa_from} are two averages; choose one"
            )
        if callable(self.schedule) and self.lengthened:
            raise InputError("TrainerOptions: a schedule of your own knows no former lengths; leave out lengthened")

    @property
    def placement(self) -> Placement:
        """Where it trains."""
        return Placement(self.accelerator, self.devices, self.nodes, self.precision)

    def length_at(self, step: int) -> int:
        """The length of the run whose schedule holds at a step."""
        return next((length for length in self.lengthened if step < length), self.steps)

    def learning_rate(self, step: int) -> float:
        """Learning rate at a step by the schedule that is named: linear warm-up, then a cosine or no change.

        A function of the step alone, where schedulers of torch keep a state: runs are resumed, and made longer.
        """
        length = self.length_at(step)
        rise = self.warmup * length
        if step < rise:
            return self.lr * (step + 1) / (rise + 1)
        if self.schedule == "constant":
            return self.lr
        share = (step - rise) / max(1.0, length - rise)
        return self.lr * 0.5 * (1 + math.cos(math.pi * share))


def plain_options(options: TrainerOptions) -> dict[str, Any]:
    """Options as numbers and texts, for loggers; functions by their name.

    >>> plain_options(TrainerOptions(optimizer="sgd"))["optimizer"]
    'sgd'
    """
    return {
        field.name: value if isinstance(value, str | int | float) else getattr(value, "__qualname__", str(value))
        for field in fields(options)
        for value in (getattr(options, field.name),)
    }
