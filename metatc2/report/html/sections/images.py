"""What the encoders make of single images: the map, the neighbors, the errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.experiment.run import load_run
from metatc2.report.embeddings import SampledImages, Vote, draw_sample, load_target, target_of, vote_of
from metatc2.report.figures import Misclassified, Neighborhood, Picture, View, embedding_map, failures, neighbors
from metatc2.report.html.embedding_map import map_data
from metatc2.report.html.page import PageSection
from metatc2.report.methods import Method
from metatc2.report.projections import projections

_METHODS = 4
_CLASSES_ON_MAP = 10
_QUERIES = 6
_FAILURES = 8


@dataclass(frozen=True, eq=False)
class _Seen:
    """A method's view of the sample, from its first seed: the images in the size that its encoder takes."""

    name: str
    images: Tensor
    vote: Vote


def images(methods: Sequence[Method]) -> list[PageSection]:
    """The three sections that need features, all of the same images of the first run's target."""
    titles = (
        ("embedding", "Where images lie"),
        ("neighbors", "What looks alike"),
        ("failures", "What goes wrong"),
    )
    seen: list[_Seen] = []
    missing: list[str] = []
    sample: SampledImages | None = None
    target = target_of(methods[0].folders[0])
    for method in methods[:_METHODS]:
        folder = method.folders[0]
        if folder.elsewhere:
            missing.append(f"{method.name}: {folder.path} holds its results and not the encoder.")
            continue
        try:
            run = load_run(folder.path)
            store, split = load_target(target, run)
            sample = sample or draw_sample(store, split)
            own = store.images[sample.rows]
            seen.append(_Seen(f"{method.name}, seed {folder.seed}", own, vote_of(run, own, sample.labels)))
        except InputError as error:
            missing.append(f"{method.name}: {error}.")
    if len(methods) > _METHODS:
        missing.append(f"Drawn for the first {_METHODS} of {len(methods)} methods.")
    if sample is None or not seen:
        return [PageSection(name, title, missing=missing) for name, title in titles]
    bodies = (_map(seen, sample), _neighbors(seen, sample), _failures(seen, sample))
    return [
        PageSection(name, title, body.paragraphs, body.figures, missing=missing, interactive=body.interactive)
        for (name, title), body in zip(titles, bodies, strict=True)
    ]


def _map(seen: Sequence[_Seen], sample: SampledImages) -> PageSection:
    on_map = sample.labels < _CLASSES_ON_MAP
    labels = sample.labels[on_map].tolist()
    classes = sample.classes[:_CLASSES_ON_MAP]
    views = [
        View(one.name, projection, xy)
        for one in seen
        for projection, xy in projections(one.vote.features[on_map].numpy()).items()
    ]
    domains = [sample.domains[i] for i in on_map.nonzero().flatten().tolist()] if sample.domains else []
    pictures = seen[0].images[on_map]
    return PageSection(
        "",
        "",
        figures=[embedding_map(views, labels, classes, sample.target)],
        interactive=map_data(views, labels, classes, domains, pictures),
    )


def _neighbors(seen: Sequence[_Seen], sample: SampledImages) -> PageSection:
    # The first image of each class: the sample is in random order, so they were not chosen.
    first = torch.searchsorted(sample.labels, torch.arange(min(_QUERIES, len(sample.classes)))).tolist()
    figures = []
    for number, one in enumerate(seen, 1):
        rows = [
            Neighborhood(
                _picture(one, sample, query),
                [_picture(one, sample, i) for i in one.vote.nearest[query].tolist()],
                one.vote.similarity[query].tolist(),
            )
            for query in first
        ]
        about = f"Queries and neighbors are of the {len(sample.rows)} images drawn at random from {sample.target}."
        figures.append(neighbors(f"neighbors-{number}", one.name, rows, about))
    return PageSection("", "", figures=figures)


def _failures(seen: Sequence[_Seen], sample: SampledImages) -> PageSection:
    figures, paragraphs = [], []
    for number, one in enumerate(seen, 1):
        vote = one.vote
        wrong = (vote.chosen != sample.labels).nonzero().flatten()
        right = 100 * (1 - len(wrong) / len(sample.labels))
        about = (
            f"The class is voted for by the {vote.nearest.shape[1]} nearest of the other {len(sample.rows) - 1} images "
            f"drawn from {sample.target} ({len(sample.classes)} classes), each with weight exp(cosine / 0.1); {right:.1f} % "
            "of the images get their own class."
        )
        if not len(wrong):
            paragraphs.append(f"{one.name} makes no error here. {about}")
            continue
        # Of equally sure votes, the one by the more similar images comes first.
        sure = vote.share[wrong] + 1e-3 * vote.similarity[wrong].mean(1)
        worst = wrong[sure.argsort(descending=True, stable=True)[:_FAILURES]].tolist()
        cases = [
            Misclassified(
                _picture(one, sample, i), _picture(one, sample, _voter(vote, sample, i)), float(vote.share[i])
            )
            for i in worst
        ]
        figures.append(failures(f"failures-{number}", one.name, cases, about))
    return PageSection("", "", paragraphs, figures)


def _voter(vote: Vote, sample: SampledImages, query: int) -> int:
    """The nearest image of the class that was chosen."""
    near = vote.nearest[query]
    return int(near[sample.labels[near] == vote.chosen[query]][0])


def _picture(one: _Seen, sample: SampledImages, i: int) -> Picture:
    return Picture(one.images[i], sample.classes[int(sample.labels[i])])
