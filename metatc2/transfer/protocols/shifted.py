"""Shifts of the images: corruptions, and a domain that was left out."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from metatc2.transfer.corruption import corruption_robustness
from metatc2.transfer.domains import leave_one_domain_out, prototype_classifier
from metatc2.transfer.protocols.base import Measured, Subject
from metatc2.transfer.protocols.parts import by_class, classified, parts

CLEAN = "clean"


def corrupted(subject: Subject) -> Iterator[Measured]:
    """For each encoder: accuracy on clean test images, under each corruption, and over all of them.

    The classifier is the nearest prototype by cosine of the clean training and validation images: nothing is chosen, and
    what it loses is the features' loss. Every encoder meets the same corrupted images.
    """
    splits = parts(subject.target)
    known = torch.cat([splits.train, splits.validation])
    for name in subject.names:
        classify = prototype_classifier(subject.table.at(name, known), subject.labels(known))
        found = corruption_robustness(
            partial(subject.table.run, name),
            classify,
            subject.target.store.images[splits.test],
            subject.labels(splits.test),
        )
        of_all = found.corrupted.flatten(0, 1).mean(0)
        each = {corruption: found.corrupted[i].mean(0) for i, corruption in enumerate(found.names)}
        over = f"mean over {len(found.names)} corruptions × {len(found.severities)} severities"
        for setting, values in {CLEAN: found.clean, over: of_all, **each}.items():
            row = classified(
                subject, splits, values, protocol="corruption", features=name, chosen={}, head="cosine", setting=setting
            )
            yield Measured({**row.facts, "selection": "none"}, row.values, row.used, row.strata)


def domains(subject: Subject) -> Iterator[Measured]:
    """For each encoder: each domain classified by the nearest prototype of all others, and the mean over domains."""
    store, split = subject.target.store, subject.target.split
    rows = store.rows(split)
    labels, own = subject.labels(rows), store.domains[rows]
    for name in subject.names:
        found = leave_one_domain_out(subject.table.at(name, rows), labels, own)
        facts = {
            "protocol": "leave-one-domain-out",
            "way": len(torch.unique(labels)),
            "shot": 0,
            "episodes": 0,
            "head": "cosine",
            "features": name,
        }
        left = torch.cat([torch.full_like(c, i) for i, c in enumerate(found.correct)]).long()
        mean = by_class(torch.cat(found.correct), left)
        over = {"query": len(mean), "setting": f"mean over {len(found.domains)} domains"}
        yield Measured({**facts, **over, "classes_excluded": max(found.excluded)}, mean, rows, left)
        for domain, correct, excluded in zip(found.domains, found.correct, found.excluded, strict=True):
            told = {"query": len(correct), "classes_excluded": excluded, "setting": store.domain_names[domain]}
            if len(correct) > 1:
                yield Measured({**facts, **told}, correct, rows)
