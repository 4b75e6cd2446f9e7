"""Fine-tuning of the whole encoder, with all labels or a fraction of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from metatc2.models.encoding import own_copy
from metatc2.transfer.fine_tune import STEPS, fine_tune
from metatc2.transfer.protocols.base import Measured, Subject, target_seed
from metatc2.transfer.protocols.parts import classified, parts, sides
from metatc2.transfer.semi_supervised import semi_supervised_fine_tune, semi_supervised_linear


def tuned(subject: Subject) -> Iterator[Measured]:
    """One row for each encoder that is a module; raw pixels have nothing to tune."""
    splits, images = parts(subject.target), subject.target.store.images
    for name, encoder in subject.table.encoders.items():
        if not isinstance(encoder, nn.Module):
            continue
        generator = torch.Generator().manual_seed(target_seed(subject.target.name, "fine-tune"))
        encoder, note = _in_mode(subject, encoder, name)
        found = fine_tune(
            encoder,
            *sides(subject, splits, images.__getitem__),
            generator=generator,
            steps=subject.options.fine_tune_steps,
            device=subject.device,
        )
        chosen = {"learning rate": found.learning_rate, "weight decay": found.weight_decay}
        yield classified(
            subject,
            splits,
            found.correct,
            protocol="fine-tune",
            features=name,
            chosen=chosen,
            head="fine-tuned",
            setting=", ".join(_steps(subject)),
            note=note,
        )


def few_labels(subject: Subject) -> Iterator[Measured]:
    """One row for each fraction and encoder: a linear classifier on frozen features."""
    splits = parts(subject.target)
    for fraction in subject.options.fractions:
        for name in subject.names:
            six = sides(subject, splits, partial(subject.table.at, name))
            found = semi_supervised_linear(*six, fraction=fraction)
            yield classified(
                subject,
                splits,
                found.correct,
                protocol="semi-supervised",
                features=name,
                chosen=found.chosen,
                setting=_share(fraction),
            )


def few_labels_tuned(subject: Subject) -> Iterator[Measured]:
    """One row for each fraction and encoder that is a module, fine-tuned on the fraction."""
    splits, images = parts(subject.target), subject.target.store.images
    for fraction in subject.options.fractions:
        for name, encoder in subject.table.encoders.items():
            if not isinstance(encoder, nn.Module):
                continue
            generator = torch.Generator().manual_seed(target_seed(subject.target.name, "semi-supervised", fraction))
            encoder, note = _in_mode(subject, encoder, name)
            found = semi_supervised_fine_tune(
                encoder,
                *sides(subject, splits, images.__getitem__),
                fraction=fraction,
                generator=generator,
                steps=subject.options.fine_tune_steps,
                device=subject.device,
            )
            yield classified(
                subject,
                splits,
                found.correct,
                protocol="semi-supervised-fine-tune",
                features=name,
                chosen=found.chosen,
                head="fine-tuned",
                setting=", ".join([_share(fraction), *_steps(subject)]),
                note=note,
            )


def _in_mode(subject: Subject, encoder: nn.Module, name: str) -> tuple[nn.Module, str]:
    """What is fine-tuned, and what a reader should know of its modes."""
    if subject.options.fine_tune_in_train_mode and not any(part.training for part in encoder.modules()):
        encoder = own_copy(encoder, name).train()
    norms = [part for part in encoder.modules() if isinstance(part, _BatchNorm)]
    fixed = sum(not part.training for part in norms)
    return (
        encoder,
        f"{fixed} of {len(norms)} BatchNorm layers in eval mode: they kept their statistics" if fixed else "",
    )


def _share(fraction: float) -> str:
    return f"{100 * fraction:g} % of the labels"


def _steps(subject: Subject) -> list[str]:
    steps = subject.options.fine_tune_steps
    return [] if steps == STEPS else [f"{steps} steps"]
