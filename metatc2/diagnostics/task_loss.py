"""The loss of one task as a function of the encoder's parameters; calling it changes nothing in the learner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from metatc2.augment.descriptor import DESCRIPTOR_SIZE
from metatc2.conditioning.views.base import conditioned
from metatc2.episodes import Episode, Samples
from metatc2.errors import InputError, nearest
from metatc2.inner import Params
from metatc2.learners import Learner, SelfSupervised
from metatc2.learners.base import full_precision
from metatc2.ops.functional import call
from metatc2.ops.module_state import modes_kept

#: Loss of a task: parameters by name and its images ``(samples, views, C, H, W)`` to a scalar.
TaskLoss = Callable[[Params, Tensor], Tensor]
Norm = Literal["batch", "running"]


def task_loss(learner: Learner, *, calibrated: bool = True, norm: Norm = "batch") -> tuple[TaskLoss, Params]:
    """Objective of a self-supervised learner on one task, and the parameters of its encoder, which it is a function of.

    Heads, calibrator and momentum branch stay as they are. A shared calibrator works under its present parameters ω, without
    inner steps, as in `LookAheadTC2`; weights of each task's own adapt on the task's samples first. Negatives, batch statistics
    and standardization stay within the task. Dropout is off.

    Args:
        learner: `SelfSupervised`, `TC2`, `SharedTC2` or a kind of them. Its parameters, gradients, buffers and modes are left
            alone.
        calibrated: whether TC² calibrates; without, the objective gets the representation as it is. Others ignore it.
        norm: what batch normalization in the encoder normalizes by: the task's own samples (``"batch"``), or the running
            statistics (``"running"``).

    Returns:
        The loss, and copies of the encoder's trainable parameters by their names in the encoder.

    Raises:
        InputError: if the learner is another, `norm` is unknown, or all parameters of the encoder are frozen.

    >>> from metatc2.objectives import SimCLR
    >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    >>> loss, parameters = task_loss(SelfSupervised(encoder, SimCLR(), projector=nn.Identity()))
    >>> sorted(parameters), loss(parameters, torch.rand(5, 2, 1, 2, 2)).shape
    (['1.bias', '1.weight'], torch.Size([]))
    """
    if not isinstance(learner, SelfSupervised):
        raise InputError(
            f"task conflict: {type(learner).__name__} has no self-supervised task loss; give SelfSupervised, TC2 or SharedTC2, "
            "or call task_conflict with a loss of your own"
        )
    if any(conditioned(head) for head in learner.told_of_views()):
        raise InputError(
            "task conflict: the heads of this learner are told how views were made, which a loss of images alone cannot do; "
            "measure a learner without conditioned heads"
        )
    if norm not in get_args(Norm):
        raise InputError(f"task conflict: unknown norm {norm!r}; {nearest(norm, get_args(Norm))}")
    parameters = {name: p.detach().clone() for name, p in learner.encoder.named_parameters() if p.requires_grad}
    if not parameters:
        raise InputError(
            "task conflict: every parameter of the encoder is frozen; set requires_grad on those to look at"
        )
    one = _OneTask(learner, calibrated)

    def loss(params: Params, images: Tensor) -> Tensor:
        # `call` copies buffers: running statistics that move, move in the copy.
        with _modes(one, norm):
            value: Tensor = call(one, {f"learner.encoder.{name}": p for name, p in params.items()}, images)
        return value

    return loss, parameters


class _OneTask(nn.Module):
    """Objective on one task's images ``(samples, views, C, H, W)``."""

    def __init__(self, learner: SelfSupervised, calibrated: bool) -> None:
        super().__init__()
        self.learner, self.calibrated = learner, calibrated

    def forward(self, images: Tensor) -> Tensor:
        learner = self.learner
        branches = learner.branches(learner.seen(_as_episode(images)))
        z, target = branches.online, branches.target
        with full_precision(z):
            if self.calibrated:
                z, target = learner.objective_inputs(z, target, branches.told)
            value: Tensor = learner.objective(learner.embed(z, target, branches.told))
        return value


def _as_episode(images: Tensor) -> Episode:
    index = torch.zeros(1, len(images), dtype=torch.int64, device=images.device)
    # An auxiliary loss would need them, and is no part of the objective.
    descriptors = images.new_zeros(1, *images.shape[:2], DESCRIPTOR_SIZE)
    whole = Samples(images[None], None, descriptors, index)
    return Episode(whole, whole.map(lambda t: t[:, :0]))


@contextmanager
def _modes(module: nn.Module, norm: Norm) -> Iterator[None]:
    """Everything in eval mode, but batch normalization as `norm` says; on leaving, each part is as it was."""
    with modes_kept(module):
        for part in module.modules():
            part.training = norm == "batch" and isinstance(part, _BatchNorm)
        yield
