"""Nulls of few draws, for what is asserted of a diagnosis besides: each draw measures all tasks anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from metatc2.metrics.null import AgainstNull, against_null

FEW = 4


def repeated(value: float, null: Sequence[float]) -> AgainstNull:
    return against_null(value, (10 * list(null))[:39])


@pytest.fixture(scope="module")
def few_resplits() -> Iterator[int]:
    """A number of resplits that is taken in this module; each counts ten times, one of them nine."""
    yield from few()


@pytest.fixture
def few_draws() -> Iterator[int]:
    """The same for a single test."""
    yield from few()


def few() -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metatc2.diagnostics.resplits.FEWEST", FEW)
        for measure in ("agreement", "conflict"):
            patch.setattr(f"metatc2.diagnostics.{measure}.against_null", repeated)
        yield FEW
