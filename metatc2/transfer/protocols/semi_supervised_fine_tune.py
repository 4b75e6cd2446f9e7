"""Learning from a fraction of the labels by fine-tuning the encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from metatc2.augment import Views
from metatc2.data.streaming import Images, some_of
from metatc2.errors import InputError
from metatc2.io.options import NO_OPTION
from metatc2.models.inputs import images_of, labels_of
from metatc2.transfer.protocols._classifier import ClassifierProtocol, classified, images_and_labels, target_splits
from metatc2.transfer.protocols.base import Measured, Subject, target_seed
from metatc2.transfer.protocols.fine_tune import (
    RATES,
    STEPS,
    WEIGHT_DECAYS,
    fine_tune,
    in_train_mode,
    kept_statistics,
    steps_words,
)
from metatc2.transfer.protocols.registry import register_protocol
from metatc2.transfer.protocols.semi_supervised import (
    FRACTIONS,
    SemiSupervisedResult,
    by_value,
    fraction_words,
    label_fraction,
)


def semi_supervised_fine_tune(
    encoder: nn.Module,
    train: Images,
    train_labels: Tensor,
    validation: Images,
    validation_labels: Tensor,
    test: Images,
    test_labels: Tensor,
    *,
    fraction: float,
    generator: torch.Generator,
    seed: int = 0,
    steps: int = STEPS,
    batch: int = 64,
    rates: Sequence[float] = RATES,
    weight_decays: Sequence[float] = WEIGHT_DECAYS,
    views: Views | None = None,
    batch_norm: str = "kept",
    device: torch.device | str | None = None,
) -> SemiSupervisedResult:
    """Fine-tune the encoder on the labeled fraction alone; learning rate and weight decay chosen on validation.

    There is no second training on validation images, see `semi_supervised_linear`.

    Args:
        encoder: see `fine_tune`; it is copied, never changed.
        train: uint8 ``(N, C, H, W)``; only the images of `label_fraction` are used.
        train_labels: int64 ``(N,)``.
        validation: uint8 ``(V, C, H, W)``.
        validation_labels: int64 ``(V,)``.
        test: uint8 ``(Q, C, H, W)``.
        test_labels: int64 ``(Q,)``.
        fraction: see `label_fraction`.
        generator: on the CPU; decides order, augmentation and dropout.
        seed: of the labeled subset; the same for every encoder that is to be compared.
        steps, batch, rates, weight_decays, views, batch_norm, device: see `fine_tune`.

    Raises:
        InputError: as `fine_tune` and `label_fraction`.
    """
    images = images_of(train, "semi-supervised: train images")
    rows = label_fraction(train_labels, fraction, seed=seed)
    if len(images) != len(train_labels):
        raise InputError(
            f"semi-supervised: train and train_labels must have one label an image, got {len(images)} and {len(train_labels)}"
        )
    result = fine_tune(
        encoder,
        some_of(images, rows),
        labels_of(train_labels, "semi-supervised: train_labels").cpu()[rows],
        validation,
        validation_labels,
        test,
        test_labels,
        generator=generator,
        steps=steps,
        batch=batch,
        rates=rates,
        weight_decays=weight_decays,
        views=views,
        batch_norm=batch_norm,
        refit=False,
        device=device,
    )
    pairs = list(product(result.rates, result.weight_decays))
    figures = (by_value(pairs, each) for each in (result.validation, result.validation_loss))
    chosen = {"learning_rate": result.learning_rate, "weight_decay": result.weight_decay}
    return SemiSupervisedResult(result.correct, result.predicted, rows, fraction, chosen, *figures)


@register_protocol("semi-supervised-fine-tune")
@dataclass(frozen=True, kw_only=True)
class SemiSupervisedFineTune(ClassifierProtocol):
    """Fine-tuning on a fraction of the labels: one row for each fraction and encoder that is a module.

    See `semi_supervised_fine_tune`.

    Args:
        fractions: shares of the labels; 1 % is 0.01.
        steps: steps of each fine-tuning (VTAB-1k: 1000).
        train_mode: see `metatc2.transfer.protocols.fine_tune.FineTune`.

    Raises:
        InputError: if a fraction or `steps` is out of range.
    """

    needs_images = True
    facts = (*ClassifierProtocol.facts, "setting")

    fractions: Sequence[Annotated[float, Field(gt=0, le=1)]] = FRACTIONS
    steps: Annotated[int, Field(ge=1)] = STEPS
    train_mode: bool = field(default=False, metadata=NO_OPTION)

    def run(self, subject: Subject) -> Iterator[Measured]:
        """See `Protocol.run`."""
        splits = target_splits(subject.target)
        for fraction in self.fractions:
            for name, encoder in subject.table.encoders.items():
                if not isinstance(encoder, nn.Module):
                    continue  # raw pixels have nothing to tune
                seed = target_seed(subject.target.name, "semi-supervised", fraction)
                result = semi_supervised_fine_tune(
                    in_train_mode(encoder, name) if self.train_mode else encoder,
                    *images_and_labels(subject, splits),
                    fraction=fraction,
                    generator=torch.Generator().manual_seed(seed),
                    steps=self.steps,
                    device=subject.device,
                )
                yield classified(
                    subject,
                    splits,
                    name,
                    result.correct,
                    head="fine-tuned",
                    chosen=result.chosen,
                    setting=", ".join([fraction_words(fraction), *[steps_words(self.steps)] * (self.steps != STEPS)]),
                    note=kept_statistics(encoder, self.train_mode),
                )
