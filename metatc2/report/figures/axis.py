"""What was measured, in the words of a table."""

from __future__ import annotations

from typing import Protocol

_COMMON = {"layer": "output", "metric": "accuracy", "setting": ""}


class RowLike(Protocol):
    """What rows and differences have in common; see `metatc2.transfer.Row`."""

    @property
    def protocol(self) -> str:
        """Name of the protocol."""

    @property
    def way(self) -> int | None:
        """Classes an episode."""

    @property
    def shot(self) -> int | None:
        """Labeled images a class."""

    @property
    def k(self) -> int | None:
        """Neighbors, if any."""

    @property
    def head(self) -> str:
        """Classifier."""


def measure_words(measured: RowLike) -> str:
    """Protocol and what belongs to it, e.g. ``"5-way 1-shot"``, ``"k-NN, k=20"``, ``"linear, mean per class"``.

    >>> from metatc2.transfer import Row
    >>> row = Row(protocol="retrieval", source="a", target="b", split="c", mean=0.5, ci95=0.1, seed=0, encoder_sha256="",
    ...           metric="recall@1", facts={"way": 5, "query": 9, "head": "cosine", "k": 1})
    >>> measure_words(row)
    'retrieval, k=1, recall@1'
    """
    if measured.protocol == "few-shot":
        words = [f"{measured.way}-way {measured.shot}-shot"]
    else:
        words = ["k-NN" if measured.protocol == "knn" else measured.protocol]
    if measured.k:
        words.append(f"k={measured.k}")
    # Not every kind of measurement tells these apart.
    words += [value for name, common in _COMMON.items() if (value := getattr(measured, name, common)) != common]
    return ", ".join(words)


def with_head(measured: RowLike) -> str:
    """As `measure_words`, with the classifier where it says more than the protocol."""
    words = measure_words(measured)
    return words if measured.head in ("", measured.protocol) else f"{words}, {measured.head}"


def signed(points: float) -> str:
    """A difference with its sign.

    >>> signed(1.25), signed(-3.0)
    ('+1.2', '−3.0')
    """
    return f"{points:+.1f}".replace("-", "−")
