"""An average of the encoder over training, by torch's `AveragedModel`."""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from metatc2.errors import InputError
from metatc2.ops.module_state import copied
from metatc2.training.options import TrainerOptions


class Average:
    """The encoder's average, where the options ask for one; buffers (running statistics) are averaged too.

    Args:
        encoder: that is trained; None of a learner that has none.
        options: see `TrainerOptions`.

    Raises:
        InputError: if there is nothing to average.
    """

    def __init__(self, encoder: nn.Module | None, options: TrainerOptions) -> None:
        self.options, self.live = options, encoder
        self.model: AveragedModel | None = None
        if not options.ema and options.swa_from == 1:
            return
        if encoder is None:
            raise InputError(
                "TrainerOptions: ema and swa_from average the encoder, and the learner's exports() name none; leave them out"
            )
        how = get_ema_multi_avg_fn(options.ema) if options.ema else None
        # A copy by values first: torch's own copy refuses tensors with a graph, which hooks keep.
        self.model = AveragedModel(copied(encoder), multi_avg_fn=how, use_buffers=True)
        self.model.requires_grad_(False)

    def update(self, step: int) -> None:
        """Take the encoder in, after a step.

        Args:
            step: steps made.
        """
        if self.model is None or self.live is None:
            return
        if self.options.ema or step > self.options.swa_from * self.options.steps:
            self.model.update_parameters(self.live)

    @property
    def encoder(self) -> nn.Module | None:
        """The average, or the encoder as it is where there is none yet."""
        if self.model is None or not int(self.model.n_averaged):
            return self.live
        averaged: nn.Module = self.model.module
        return averaged
