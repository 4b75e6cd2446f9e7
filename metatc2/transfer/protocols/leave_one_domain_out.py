"""Leave one domain out: what is learned from all styles but one is asked about the style left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.transfer.heads.nearest_prototype import nearest_prototype
from metatc2.transfer.left_out_domains import DomainsLeftOut, bank_and_queries, checked_domains
from metatc2.transfer.protocols._classifier import per_class_values
from metatc2.transfer.protocols.base import Measured, Protocol, Subject
from metatc2.transfer.protocols.registry import register_protocol

Classifier = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def leave_one_domain_out(
    features: Tensor,
    labels: Tensor,
    domains: Tensor,
    *,
    classify: Classifier = nearest_prototype,
    held_out: Sequence[int] | None = None,
) -> DomainsLeftOut:
    """For each domain: the images of all other domains are the bank, those of the domain are asked.

    Images of a class that no other domain has are not asked, and `DomainsLeftOut.excluded` counts such classes. Classes
    that the domain lacks stay in the bank, where they can mislead.

    Args:
        features: float ``(N, D)`` of a frozen encoder.
        labels: int64 ``(N,)``.
        domains: int64 ``(N,)``, e.g. ``store.domains``.
        classify: from bank, bank labels, queries and query labels to 1 or 0 a query: `nearest_prototype`, `knn`, or a linear
            probe.
        held_out: domains to leave out in turn; all by default. The others are always part of the bank.

    Raises:
        InputError: if shapes do not fit, features are not finite, there is one domain, or a domain to be left out is
            unknown or shares fewer than two classes with the others.

    >>> f = torch.eye(2).repeat_interleave(2, 0)
    >>> result = leave_one_domain_out(f, torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]))
    >>> result.accuracies, result.worst
    ({0: 1.0, 1: 1.0}, 1.0)
    """
    features, labels, domains, names = checked_domains(features, labels, domains, held_out)
    correct, rows, excluded = [], [], []
    for name in names:
        bank, queries, missing = bank_and_queries(labels, domains, name, least=1)
        hits = classify(features[bank], labels[bank], features[queries], labels[queries])
        if not isinstance(hits, Tensor) or hits.shape != queries.shape:
            got = tuple(hits.shape) if isinstance(hits, Tensor) else type(hits).__name__
            raise InputError(
                f"leave one domain out: classify must return one value a query ({len(queries)},), got {got}"
            )
        correct.append(hits.double().cpu())
        rows.append(queries)
        excluded.append(missing)
    return DomainsLeftOut(names, tuple(correct), tuple(rows), tuple(excluded))


@register_protocol("leave-one-domain-out")
@dataclass(frozen=True, kw_only=True)
class LeaveOneDomainOut(Protocol):
    """For each encoder: each domain classified by the nearest prototype of all others, and the mean over domains.

    See `leave_one_domain_out`.
    """

    facts = ("way", "query", "head", "classes_excluded", "setting")

    def run(self, subject: Subject) -> Iterator[Measured]:
        """See `Protocol.run`."""
        store = subject.target.store
        rows = store.rows(subject.target.split)
        labels, own = subject.labels(rows), store.domains[rows]
        for name in subject.names:
            result = leave_one_domain_out(subject.table.at(name, rows), labels, own)
            facts = {"way": len(torch.unique(labels)), "head": "cosine"}
            left = torch.cat([torch.full_like(c, i) for i, c in enumerate(result.correct)]).long()
            mean = per_class_values(torch.cat(result.correct), left)
            over = {"query": len(mean), "setting": f"mean over {len(result.domains)} domains"}
            yield Measured(name, mean, rows, {**facts, **over, "classes_excluded": max(result.excluded)}, strata=left)
            for domain, correct, excluded in zip(result.domains, result.correct, result.excluded, strict=True):
                of_domain = {"query": len(correct), "classes_excluded": excluded, "setting": store.domain_names[domain]}
                if len(correct) > 1:
                    yield Measured(name, correct, rows, {**facts, **of_domain})
