"""Linear classifiers on all training images: L-BFGS over the L2 grid, or the SGD probe."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from metatc2.transfer.linear import linear
from metatc2.transfer.linear_sgd import linear_sgd
from metatc2.transfer.protocols.base import Measured, Subject, target_seed
from metatc2.transfer.protocols.parts import classified, parts, sides

# Enough wherever classes are few (all fits of `benchmarks/transfer_speed.py` need fewer). With hundreds of classes in a few
# dimensions the weakest values would take minutes each; the row says how many fits were cut.
_STEPS = 200


def logistic(subject: Subject) -> Iterator[Measured]:
    """One row for each encoder: see `metatc2.transfer.linear`."""
    splits = parts(subject.target)
    for name in subject.names:
        six = sides(subject, splits, partial(subject.table.at, name))
        per_class = subject.target.store.metric == "mean per class"
        found = linear(*six, per_class=per_class, steps=_STEPS)
        cut = len(found.validation) + 1 - found.converged
        yield classified(
            subject,
            splits,
            found.correct,
            protocol="linear",
            features=name,
            chosen={"l2": float(found.l2)},
            criterion=subject.target.store.metric,
            note=f"{cut} of {len(found.validation) + 1} fits ended at the limit of steps" if cut else "",
        )


def sgd(subject: Subject) -> Iterator[Measured]:
    """One row for each encoder: see `metatc2.transfer.linear_sgd`."""
    splits = parts(subject.target)
    for name in subject.names:
        six = sides(subject, splits, partial(subject.table.at, name))
        # The same order of images for every encoder.
        generator = torch.Generator().manual_seed(target_seed(subject.target.name, "linear-sgd"))
        found = linear_sgd(*six, generator=generator)
        chosen = {"learning rate": found.learning_rate}
        yield classified(subject, splits, found.correct, protocol="linear-sgd", features=name, chosen=chosen)
