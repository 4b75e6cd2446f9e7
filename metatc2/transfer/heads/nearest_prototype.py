"""The nearest class mean by cosine, on a bank of labeled features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.models.inputs import feature_sides, labels_of
from metatc2.ops.rows import unit_rows


def nearest_prototype(bank: Tensor, bank_labels: Tensor, queries: Tensor, query_labels: Tensor) -> Tensor:
    """Whether each query gets its class: that of the mean bank feature with the largest cosine.

    Args:
        bank: float ``(B, D)``.
        bank_labels: int64 ``(B,)``.
        queries: float ``(Q, D)``.
        query_labels: int64 ``(Q,)``.

    Returns:
        float64 ``(Q,)`` of 0 and 1.

    >>> nearest_prototype(torch.eye(2), torch.tensor([3, 7]), torch.tensor([[2.0, 0.1]]), torch.tensor([3])).tolist()
    [1.0]
    """
    predicted = prototype_classifier(bank, bank_labels)(queries)
    return (predicted == labels_of(query_labels, "prototypes: query_labels", len(predicted))).double().cpu()


def prototype_classifier(bank: Tensor, bank_labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Features ``(Q, D)`` to the class ``(Q,)`` whose mean bank feature has the largest cosine.

    Args:
        bank: float ``(B, D)``.
        bank_labels: int64 ``(B,)``.

    Raises:
        InputError: here and from what is returned, if shapes do not fit or features are not finite.
    """
    (bank,) = feature_sides({"prototypes: bank": bank})
    bank_labels = labels_of(bank_labels, "prototypes: bank_labels", len(bank))
    names, classes = torch.unique(bank_labels, return_inverse=True)
    # The length of a prototype does not matter to the cosine, so its sum will do.
    sums = bank.new_zeros(len(names), bank.shape[1]).index_add(0, classes, bank)
    directions = unit_rows(sums)

    def classify(queries: Tensor) -> Tensor:
        (query_rows,) = feature_sides({"prototypes: queries": queries})
        if query_rows.shape[1] != directions.shape[1]:
            raise InputError(
                f"prototypes: bank and queries must be as wide, got {directions.shape[1]} and {query_rows.shape[1]} dimensions"
            )
        predicted: Tensor = names[(unit_rows(query_rows).to(directions) @ directions.T).argmax(1)]
        return predicted

    return classify
