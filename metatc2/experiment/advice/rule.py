"""From accuracies to one sentence a number of labels: which arm, and how much it gains over the strongest control.

For each number of labels a class,

1. the pre-trained arm and the control with the best mean accuracy on validation images, from the labels of validation draws,
   are chosen (of equals the first of the table);
2. their difference is taken on test images, from the labels of test draws: paired, with its 95 % interval;
3. an interval above zero says so much gained, one below that the control is better, and one that contains zero that the control
   is as good, unless it reaches five points and more to either side: then nothing is told apart.

No figure of a test image takes part in a choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from metatc2.experiment.advice.arms import PIXELS, Arm, Kind
from metatc2.experiment.advice.measure import AdviceCell
from metatc2.metrics.intervals import mean_interval
from metatc2.transfer import per_class_values

#: Half width, in points, beyond which "as good" would say too much.
_WIDE = 5.0
#: Of fewer seeds the quantile of Student's distribution alone makes an interval useless (12.7 for two, 4.3 for three).
_FEW, _ENOUGH = 3, 5


@dataclass(frozen=True)
class AdviceRow:
    """One arm at one number of labels.

    Args:
        arm: its label.
        kind: control, pre-trained here, or given.
        labels_per_class: how many labels of each class.
        validation: accuracy in [0, 1] on validation images, mean over seeds; what is chosen by.
        accuracy: on test images, mean over seeds and draws.
        ci95: half width of its interval, see `spread`.
        by_seed: accuracy on test images of each seed.
        over_pixels: paired difference of accuracy to raw pixels on test images; 0 for these.
        over_pixels_ci95: half width of its interval.
        steps: of its pre-training; None where there was none here.
        seconds: that the pre-training of a seed took, likewise.
        note: what to know of it; an arm with a note cannot be chosen.
    """

    arm: str
    kind: str
    labels_per_class: int
    validation: float
    accuracy: float
    ci95: float
    by_seed: tuple[float, ...]
    over_pixels: float
    over_pixels_ci95: float
    steps: int | None = None
    seconds: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """What is advised at one number of labels.

    Args:
        labels_per_class: how many labels of each class.
        arm: the pre-trained arm that is best on validation images.
        control: the control that is.
        difference: of the first less the second, on test images.
        ci95: half width of its interval.
        sentence: in words.
    """

    labels_per_class: int
    arm: str
    control: str
    difference: float
    ci95: float
    sentence: str


@dataclass(frozen=True, eq=False)
class MeasuredArm:
    """All cells of an arm.

    Args:
        arm: see `Arm`.
        cells: by number of labels, one a seed.
        steps, seconds: see `AdviceRow`.
        note: see `AdviceRow`.
    """

    arm: Arm
    cells: Mapping[int, Sequence[AdviceCell]]
    steps: int | None = None
    seconds: float | None = None
    note: str = ""


def spread(values: Tensor) -> tuple[float, float]:
    """Mean and half width of a 95 % interval that covers other seeds and other test images.

    The root of the squares of two Student intervals: over seeds (weights, order and draws of labels all change), of means over
    images; and over test images, of means over seeds. Little is counted twice by it, so it is rather too wide than too narrow.

    Args:
        values: ``(seeds, images)``, whose mean is the figure.

    >>> spread(torch.tensor([[1.0, 0.0], [1.0, 0.0]]))[0]
    0.5
    """
    over_seeds, over_images = mean_interval(values.mean(1))[1], mean_interval(values.mean(0))[1]
    return float(values.mean()), math.hypot(over_seeds, over_images)


def rows_and_verdicts(
    measured: Sequence[MeasuredArm], labels: Tensor, *, per_class: bool = False
) -> tuple[list[AdviceRow], list[Verdict]]:
    """Rows of a table and what follows from them.

    Args:
        measured: arms in the order of the table; raw pixels among them.
        labels: int64, classes of the test images.
        per_class: whether accuracy is the mean over classes of that within.
    """
    rows, verdicts = [], []
    pixels = next(each for each in measured if each.arm == PIXELS)
    for count in pixels.cells:
        values = {each.arm.key: _values(each.cells[count], labels, per_class) for each in measured}
        own = []
        for each in measured:
            mean, half = spread(values[each.arm.key])
            over, over_half = spread(values[each.arm.key] - values[PIXELS.key])
            validation = sum(cell.validation for cell in each.cells[count]) / len(each.cells[count])
            by_seed = tuple(values[each.arm.key].mean(1).tolist())
            own.append(
                AdviceRow(
                    each.arm.label,
                    each.arm.kind.value,
                    count,
                    validation,
                    mean,
                    half,
                    by_seed,
                    over,
                    over_half,
                    each.steps,
                    each.seconds,
                    each.note,
                )
            )
        rows += own
        verdicts += _verdict(count, measured, own, values)
    return rows, verdicts


def _verdict(
    count: int, measured: Sequence[MeasuredArm], rows: Sequence[AdviceRow], values: Mapping[str, Tensor]
) -> list[Verdict]:
    def best(*kinds: Kind) -> int | None:
        able = [i for i, each in enumerate(measured) if each.arm.kind in kinds and not each.note]
        return max(able, key=lambda i: rows[i].validation, default=None)

    trained, control, here = best(Kind.PRE_TRAINED, Kind.GIVEN), best(Kind.CONTROL), best(Kind.PRE_TRAINED)
    if trained is None or control is None:
        return []
    a, b = measured[trained].arm, measured[control].arm
    difference, half = spread(values[a.key] - values[b.key])
    sentence = _sentence(count, a, b, difference, half, rows[trained])
    if a.kind is Kind.GIVEN and here is not None:  # whether pre-training here pays is asked as well
        own = measured[here].arm
        sentence += (
            f" (of those pre-trained here {own.label}: {_points(*spread(values[own.key] - values[b.key]))} points)"
        )
    return [Verdict(count, a.label, b.label, difference, half, sentence)]


def _sentence(count: int, arm: Arm, control: Arm, difference: float, half: float, row: AdviceRow) -> str:
    begin = f"with {count} label{'s' * (count > 1)} a class: "
    gained, strongest = _points(difference, half), f"{control.label}, the strongest control"
    do = f"pre-train with {arm.label}" if arm.kind is Kind.PRE_TRAINED else f"take {arm.label}"
    if difference > half:
        pixels = "" if control == PIXELS else f" ({_points(row.over_pixels, row.over_pixels_ci95)} over raw pixels)"
        return f"{begin}{do}, {gained} points over {strongest}{pixels}"
    against, verb = f"({arm.label}: {gained} points)", "are" if control == PIXELS else "is"
    if -difference > half:
        return f"{begin}{strongest}, {verb} better {against}"
    if 100 * half > _WIDE:
        seeds = len(row.by_seed)
        more = f"; {seeds} seeds are too few, use more seeds (--seeds {_ENOUGH}, in another --folder)"
        return f"{begin}nothing is told apart from {strongest} {against}{more * (seeds < _FEW)}"
    return f"{begin}{strongest}, {verb} as good {against}"


def _points(difference: float, half: float) -> str:
    """In points of accuracy.

    >>> _points(-0.0123, 0.02)
    '−1.2 ± 2.0'
    """
    return f"{100 * difference:+.1f} ± {100 * half:.1f}".replace("-", "−")


def _values(cells: Sequence[AdviceCell], labels: Tensor, per_class: bool) -> Tensor:
    right = torch.tensor([cell.right for cell in cells], dtype=torch.float64)
    share = right / torch.tensor([[cell.draws] for cell in cells], dtype=torch.float64)
    return torch.stack([per_class_values(one, labels) for one in share]) if per_class else share


def to_json(made: AdviceRow | Verdict) -> dict[str, Any]:
    """As a mapping that JSON holds."""
    return asdict(made)
