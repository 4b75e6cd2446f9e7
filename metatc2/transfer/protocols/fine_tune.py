"""Fine-tune a whole encoder with a linear head, its two hyper-parameters chosen on validation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from metatc2.augment import Views
from metatc2.data.streaming import Images, join_images
from metatc2.errors import InputError
from metatc2.io.options import NO_OPTION
from metatc2.metrics.selection import choose, validation_loss
from metatc2.models.encoding import check_encoder, own_copy, place_of
from metatc2.models.inputs import images_of, labels_of
from metatc2.ops.numbers import reals, whole
from metatc2.transfer.protocols._classifier import ClassifierProtocol, classified, images_and_labels, target_splits
from metatc2.transfer.protocols._fine_tuning import FineTuning
from metatc2.transfer.protocols.base import Measured, Subject, target_seed
from metatc2.transfer.protocols.registry import register_protocol

RATES = (1e-4, 1e-3, 1e-2, 1e-1)
WEIGHT_DECAYS = (0.0, 1e-6, 1e-5, 1e-4, 1e-3)

STEPS = 5000
VTAB_1K_STEPS = 1000

# A random window of a quarter of the area or more, mirrored half the time: for photographs, not for letters.
CROP_AND_FLIP = Views(crop_scale=(0.25, 1.0), crop_ratio=(3 / 4, 4 / 3), flip=0.5)

BATCH_NORMS = ("kept", "train", "frozen")


@dataclass(frozen=True, eq=False)
class FineTuned:
    """What fine-tuning found.

    Args:
        correct: float64 ``(Q,)``: 1 where a test image gets its class, else 0.
        predicted: int64 ``(Q,)``: the class it gets, for per-class figures.
        learning_rate: chosen on validation.
        weight_decay: chosen on validation.
        rates: that were tried.
        weight_decays: that were tried.
        validation: float64 ``(rates, weight decays)``: accuracy on validation; NaN where training diverged.
        validation_loss: float64 ``(rates, weight decays)``: cross-entropy on validation, in nats, likewise.
    """

    correct: Tensor
    predicted: Tensor
    learning_rate: float
    weight_decay: float
    rates: tuple[float, ...]
    weight_decays: tuple[float, ...]
    validation: Tensor
    validation_loss: Tensor

    @property
    def accuracy(self) -> float:
        """Mean of `correct`."""
        return float(self.correct.mean())


def fine_tune(
    encoder: nn.Module,
    train: Images,
    train_labels: Tensor,
    validation: Images,
    validation_labels: Tensor,
    test: Images,
    test_labels: Tensor,
    *,
    generator: torch.Generator,
    steps: int = STEPS,
    batch: int = 64,
    rates: Sequence[float] = RATES,
    weight_decays: Sequence[float] = WEIGHT_DECAYS,
    views: Views | None = None,
    batch_norm: str = "kept",
    refit: bool = True,
    device: torch.device | str | None = None,
) -> FineTuned:
    """Train encoder and head by SGD (Nesterov, momentum 0.9, cosine to 0), once for each rate and weight decay.

    After Kornblith et al. 2019 (arXiv 1805.08974, appendix A.5) with the smaller grid of this library's protocols. The
    head starts at 0. All runs see the same images in the same order, with the same augmentation. The pair with the best
    validation accuracy at the last step is taken (of equals the one with the lowest cross-entropy there, of those within
    1e-4 nats the middle one of the rates, then of the decays), trained once more on training and validation images
    together, and tested once.

    Modes are the caller's: what is in train mode in the encoder trains as such, and what is in eval mode stays so. An encoder
    that is wholly in eval mode is trained without dropout and with the running statistics of its BatchNorm; call ``train()``
    first, or see `batch_norm`.

    Args:
        encoder: maps ``(n, C, H, W)`` in [0, 1] to ``(n, D)``. It is copied, never changed; in the copy, which is in single
            precision, every parameter is trained, whether or not it was frozen.
        train: uint8 ``(N, C, H, W)``, in memory or on disk, where it is read a batch at a time; see `extract` for NumPy
            arrays.
        train_labels: int64 ``(N,)``.
        validation: uint8 ``(V, C, H, W)``; what hyper-parameters are chosen on.
        validation_labels: int64 ``(V,)``.
        test: uint8 ``(Q, C, H, W)``.
        test_labels: int64 ``(Q,)``; a class that training lacks counts as wrong.
        generator: on the CPU; decides the order of the images, augmentation and dropout.
        steps: of each run: 5 000, or 1 000 for VTAB-1k.
        batch: images a step; all of them where there are fewer.
        rates: learning rates to choose from.
        weight_decays: to choose from, of all parameters, as `torch.optim.SGD` has it.
        views: augmentation of the training images, e.g. `CROP_AND_FLIP`; None for none. Validation and test images are
            never augmented.
        batch_norm: ``"train"``: BatchNorm uses the batch while it trains and its running statistics afterwards;
            ``"frozen"``: it keeps the running statistics of pre-training throughout, and only its scale and shift are
            trained; ``"kept"``: each layer does the one or the other, as its own mode says.
        refit: whether the chosen pair trains once more, on training and validation images together.
        device: where to run; by default where the encoder's first parameter lies.

    Raises:
        InputError: if shapes or numbers do not fit, the encoder does not return ``(n, D)``, or all runs diverged.

    >>> images = torch.arange(40).remainder(2).mul(255).byte().view(40, 1, 1, 1).expand(40, 1, 4, 4)
    >>> labels = torch.arange(40) % 2
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8))
    >>> result = fine_tune(network, images, labels, images, labels, images, labels, steps=20, rates=(0.1,),
    ...                   weight_decays=(0.0,), generator=torch.Generator().manual_seed(0))
    >>> result.accuracy
    1.0
    """
    (train, train_labels), (validation, validation_labels), (test, test_labels) = _check(
        encoder, (train, train_labels), (validation, validation_labels), (test, test_labels)
    )
    steps, batch = whole(steps, "fine-tune: steps", 1), whole(batch, "fine-tune: batch", 1)
    tried = tuple(sorted(set(reals(rates, "fine-tune: rates", above=0))))
    decays = tuple(sorted(set(reals(weight_decays, "fine-tune: weight_decays", least=0))))
    for name, values, low in (("rates", rates, "above 0"), ("weight_decays", weight_decays, "at least 0")):
        if not values or not all(math.isfinite(v) and (v > 0 or (v == 0 and name != "rates")) for v in values):
            raise InputError(f"fine-tune: {name} must be numbers {low}, at least one, got {tuple(values)}")
    if batch_norm not in BATCH_NORMS:
        raise InputError(f"fine-tune: batch_norm must be one of {', '.join(BATCH_NORMS)}, got {batch_norm!r}")
    if batch_norm == "frozen":
        _check_statistics(encoder)
    where = place_of(encoder, device, train.device)
    seed = int(torch.randint(2**62, (), generator=generator))
    run = FineTuning(encoder, steps, batch, views, batch_norm, where, seed)

    table, losses = torch.full((2, len(tried), len(decays)), math.nan, dtype=torch.float64)
    answers: dict[tuple[int, ...], Tensor] = {}
    names = torch.unique(train_labels)
    for place in product(range(len(tried)), range(len(decays))):
        candidate = run.train(train, train_labels, tried[place[0]], decays[place[1]])
        if candidate is None:
            continue
        scores = run.scores(candidate, validation)
        table[place] = (names[scores.argmax(1)] == validation_labels).double().mean()
        losses[place] = validation_loss(scores, names, validation_labels)
        if not refit:
            answers[place] = names[run.scores(candidate, test).argmax(1)]
    best = choose(table, losses)
    if best is None:
        raise InputError(f"fine-tune: training diverged at every rate of {tried}; give smaller ones")
    rate, decay = tried[best[0]], decays[best[1]]
    if refit:
        labels = torch.cat([train_labels, validation_labels])
        model, names = run.train(join_images([train, validation]), labels, rate, decay), torch.unique(labels)
        if model is None:
            raise InputError(
                f"fine-tune: the chosen rate {rate} diverged on training and validation images together; "
                "leave it out of rates, or set refit=False"
            )
        predicted = names[run.scores(model, test).argmax(1)]
    else:
        predicted = answers[best]
    correct = (predicted == test_labels).double()
    return FineTuned(correct, predicted, rate, decay, tried, decays, table, losses)


def _check(encoder: nn.Module, *sides: tuple[Images, Tensor]) -> list[tuple[Images, Tensor]]:
    """Images, and labels on the CPU."""
    check_encoder(encoder, "fine-tune: the encoder")
    if not any(p.is_floating_point() for p in encoder.parameters()):
        raise InputError(
            f"fine-tune: the encoder must be an nn.Module with parameters to train, got {type(encoder).__name__}; "
            "measure it by a protocol on features"
        )
    checked: list[tuple[Images, Tensor]] = []
    for name, (given, labels) in zip(("train", "validation", "test"), sides, strict=True):
        images = images_of(given, f"fine-tune: {name} images")
        if checked and images.shape[1:] != checked[0][0].shape[1:]:
            raise InputError(
                f"fine-tune: images must be uint8 (N, C, H, W), all of one size, got {tuple(images.shape)} for {name} and "
                f"{tuple(checked[0][0].shape)} for train"
            )
        checked.append((images, labels_of(labels, f"fine-tune: {name}_labels", len(images)).cpu()))
    return checked


def _check_statistics(encoder: nn.Module) -> None:
    for name, part in encoder.named_modules():
        if isinstance(part, _BatchNorm) and part.running_mean is None:
            raise InputError(
                f"fine-tune: batch_norm='frozen', and {name or type(part).__name__} keeps no running statistics that could be "
                "frozen (track_running_stats=False); use batch_norm='kept'"
            )


@register_protocol("fine-tune")
@dataclass(frozen=True, kw_only=True)
class FineTune(ClassifierProtocol):
    """Fine-tuning of the whole encoder: one row for each that is a module; see `fine_tune`.

    Args:
        steps: steps of each fine-tuning (VTAB-1k: 1000).
        train_mode: whether an encoder that is wholly in eval mode, as loaded ones are, is put into train mode for it (a
            copy of it, as always). Else each part stays in the mode that it is in, so that BatchNorm in eval mode keeps
            its running statistics; the row then says so.

    Raises:
        InputError: if `steps` is below 1.
    """

    needs_images = True
    facts = (*ClassifierProtocol.facts, "setting")

    steps: Annotated[int, Field(ge=1)] = STEPS
    train_mode: bool = field(default=False, metadata=NO_OPTION)

    def run(self, subject: Subject) -> Iterator[Measured]:
        """See `Protocol.run`."""
        splits = target_splits(subject.target)
        for name, encoder in subject.table.encoders.items():
            if not isinstance(encoder, nn.Module):
                continue  # raw pixels have nothing to tune
            result = fine_tune(
                in_train_mode(encoder, name) if self.train_mode else encoder,
                *images_and_labels(subject, splits),
                generator=torch.Generator().manual_seed(target_seed(subject.target.name, self.name)),
                steps=self.steps,
                device=subject.device,
            )
            yield classified(
                subject,
                splits,
                name,
                result.correct,
                head="fine-tuned",
                chosen={"learning rate": result.learning_rate, "weight decay": result.weight_decay},
                note=kept_statistics(encoder, self.train_mode),
                **({} if self.steps == STEPS else {"setting": steps_words(self.steps)}),
            )


def in_train_mode(encoder: nn.Module, name: str) -> nn.Module:
    """A copy in train mode of an encoder that is wholly in eval mode; any other as it is."""
    return encoder if any(part.training for part in encoder.modules()) else own_copy(encoder, name).train()


def kept_statistics(encoder: nn.Module, train_mode: bool) -> str:
    """How many BatchNorm layers are fine-tuned in eval mode, in words; empty where none."""
    if train_mode and not any(part.training for part in encoder.modules()):
        return ""
    norms = [part for part in encoder.modules() if isinstance(part, _BatchNorm)]
    fixed = sum(not part.training for part in norms)
    return f"{fixed} of {len(norms)} BatchNorm layers in eval mode: they kept their statistics" if fixed else ""


def steps_words(steps: int) -> str:
    """Steps that are not the usual ones, as a row's setting has them."""
    return f"{steps} steps"
