"""One run of fine-tuning: a copy of an encoder and a linear head, trained by SGD."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from metatc2.augment import Views
from metatc2.data.streaming import Images, StreamedImages
from metatc2.errors import InputError
from metatc2.models.encoding import encode, own_copy
from metatc2.ops.module_state import evaluation_mode
from metatc2.ops.precision import without_autocast
from metatc2.ops.random_state import seeded
from metatc2.ops.replacing import refuse_outside_parameters

MOMENTUM = 0.9


@dataclass(frozen=True, eq=False)
class FineTuning:
    """How one run goes, whatever its rate and weight decay.

    Args:
        encoder: see `metatc2.transfer.protocols.fine_tune.fine_tune`; so are steps, batch, views, batch_norm and device.
        seed: of order, augmentation and dropout.
    """

    encoder: nn.Module
    steps: int
    batch: int
    views: Views | None
    batch_norm: str
    device: torch.device
    seed: int

    def train(self, images: Images, labels: Tensor, rate: float, decay: float) -> nn.Module | None:
        """A copy of the encoder with a head, trained; None if the loss or a weight became infinite or NaN."""
        names, classes = torch.unique(labels, return_inverse=True)
        draws = torch.Generator().manual_seed(self.seed)
        with seeded(self.seed):  # dropout draws from torch's own generator
            model = self._copy(images[:2], len(names))
            optimizer = torch.optim.SGD(
                model.parameters(), lr=rate, momentum=MOMENTUM, nesterov=True, weight_decay=decay
            )
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
            for rows, following in self._batches(len(images), draws):
                some = images[rows.to(images.device)]
                if isinstance(images, StreamedImages) and len(following):
                    images.prefetch(following)
                x, y = self._inputs(some, draws), classes[rows].to(self.device)
                loss = cross_entropy(model(x), y)
                if not bool(loss.isfinite()):
                    return None
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
        usable = all(bool(t.isfinite().all()) for t in chain(model.parameters(), model.buffers()))
        return model if usable else None

    def scores(self, model: nn.Module, images: Images) -> Tensor:
        """Logits ``(n, classes)``, classes in the order of their names, on the CPU."""
        parts = []
        with evaluation_mode(model), torch.no_grad(), without_autocast(self.device):
            for start in range(0, len(images), 512):
                some = images[start : start + 512]
                parts.append(model(some.to(self.device).float() / 255).cpu())
        return torch.cat(parts)

    def _copy(self, some: Tensor, classes: int) -> nn.Module:
        encoder = own_copy(self.encoder, "fine-tune: the encoder").to(self.device).float()
        # Weights that were made in inference mode have no gradients; copies of them made here have.
        with evaluation_mode(encoder), torch.enable_grad():
            for parameter in encoder.parameters():
                parameter.requires_grad_(parameter.is_floating_point())
            features = encode(encoder, some.to(self.device).float() / 255, "fine-tune: the encoder")
            if not features.requires_grad:
                raise InputError(
                    "fine-tune: no gradient comes out of the encoder, so only the head would learn; take torch.no_grad, "
                    "torch.inference_mode or detach out of its forward, or measure it by a protocol on features"
                )
            refuse_outside_parameters(encoder, self.encoder, features, "fine-tune: the encoder")
        head = nn.Linear(features.shape[1], classes, device=self.device)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        model = nn.Sequential(encoder, head)
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        # No `train()` of the whole: modes are the caller's.
        if self.batch_norm != "kept":
            for part in model.modules():
                if isinstance(part, _BatchNorm):
                    part.train(self.batch_norm == "train")
        return model

    def _batches(self, count: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows of each step and, within a pass, of the next: pass after pass, the incomplete last batch of a pass dropped."""
        size, done = min(self.batch, count), 0
        while True:
            whole = torch.randperm(count, generator=generator)[: count // size * size].split(size)
            for rows, following in zip(whole, (*whole[1:], whole[0][:0]), strict=True):
                if done == self.steps:
                    return
                done += 1
                yield rows, following

    def _inputs(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if self.views is None:
            return images.to(self.device).float() / 255
        return self.views(images, generator, views=1)[0][:, 0].to(self.device)
