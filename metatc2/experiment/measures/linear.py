"""Accuracy of a linear probe."""

from __future__ import annotations

from metatc2.experiment.measures.registry import Seen, register_measure


@register_measure("linear")
def linear_probe(seen: Seen) -> float | None:
    """Share of the queries that a linear classifier, fitted to the bank, classifies.

    Least squares to one-hot labels with an l2 penalty of 1 on standardized features: in closed form, so that it is the same at
    every step and takes milliseconds. The protocol ``linear`` of ``metatc2 transfer`` chooses its penalty on validation images.
    """
    from sklearn.linear_model import RidgeClassifier

    if seen.bank is None or seen.bank_labels is None or seen.queries is None or seen.query_labels is None:
        return None
    std, mean = seen.bank.std(0, correction=0), seen.bank.mean(0)
    bank, queries = ((rows - mean) / std.where(std > 0, std.new_ones(())) for rows in (seen.bank, seen.queries))
    fitted = RidgeClassifier(alpha=1.0).fit(bank.numpy(), seen.bank_labels.numpy())
    return float((fitted.predict(queries.numpy()) == seen.query_labels.numpy()).mean())
