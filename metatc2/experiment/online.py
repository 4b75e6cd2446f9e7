"""`Online`: an encoder measured on any source while it is trained, by probes and by its features' rank."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metatc2.augment import Views
from metatc2.data import ImageStore, load
from metatc2.data.store import how_to_label
from metatc2.errors import InputError
from metatc2.experiment.measures import MEASURES, Seen
from metatc2.experiment.measures.registry import Measure
from metatc2.learners import Outcome
from metatc2.models.encoding import encode
from metatc2.ops.module_state import evaluation_mode
from metatc2.ops.random_state import seeded
from metatc2.training import Callback, Trainer
from metatc2.transfer.protocols.knn import knn_split

#: Views of an image for LiDAR, as in the paper's cheaper variant.
VIEWS = 10
_NAMED = 5  # classes, in a sentence
_BATCH = 256


class MeasuresLeftOut(UserWarning):
    """Some of the measures that `Online` is asked for cannot be made of these images."""


class Online(Callback):
    """Measures ``trainer.encoder`` every some steps; the records get ``online_knn`` and the like.

    Random numbers are its own and the encoder is afterwards what it was: a run that is measured ends in the same bits as one
    that is not. No label and no image of the source is trained on.

    Args:
        source: images to measure on: a store, or the name of a source, which is loaded at the encoder's size.
        measures: names of `metatc2.experiment.measures.MEASURES`, or functions of `Seen`.
        split: of the source; by default one for validation where there is one, else all.
        views: recipe of the views for LiDAR; by default that of the trainer's sampler.
        every: steps between measurements; by default an epoch, or a twentieth of the training where that is not known.
        images: measured, at most; half of them are the bank of the probes, half their queries.
        neighbors: k of the k-NN probe.
        prefix: of the names in records.

    Raises:
        InputError: if a measure is unknown, there are too few images, or no measure can be made of them. If some cannot, a
            `MeasuresLeftOut` warning says before training which, and of which split they could.

    >>> Online("digits", measures=["knn"]).measures
    ('knn',)
    """

    def __init__(
        self,
        source: ImageStore | str,
        *,
        measures: Sequence[str | Any] = ("knn", "linear", "rankme"),
        split: str | None = None,
        views: Views | None = None,
        every: int | None = None,
        images: int = 512,
        neighbors: int = 5,
        prefix: str = "online",
    ) -> None:
        for name, value, least in (("every", every, 1), ("images", images, 8), ("neighbors", neighbors, 1)):
            if value is not None and value < least:
                raise InputError(f"Online: {name} must be at least {least}, got {value}")
        names = [each if isinstance(each, str) else getattr(each, "__name__", "measure") for each in measures]
        self.measures = tuple(names)
        self._functions = [MEASURES[each] if isinstance(each, str) else each for each in measures]
        self.source, self.split, self.views, self.every = source, split, views, every
        self.images, self.neighbors, self.prefix = images, neighbors, prefix
        self.store: ImageStore | None = None
        self._bank: Tensor | None = None
        self._instead = ""  # that another split is measured than would be otherwise
        #: Steps with what was measured.
        self.history: list[dict[str, float]] = []
        if isinstance(source, ImageStore):  # before a run folder is made
            self._left_out(source)

    def on_start(self, trainer: Trainer) -> None:
        """Choose images and views; the same for every measurement, and in a run that is resumed."""
        if not trainer.ranks.first:
            return
        own = getattr(trainer.sampler, "store", None)
        size, channels = (own.image_size, own.channels) if isinstance(own, ImageStore) else (None, None)
        if isinstance(self.source, ImageStore):
            self.store = self.source
        else:
            self.store = load(self.source, image_size=size, channels=channels)
        if said := self._left_out(self.store) or self._instead:
            warnings.warn(said, MeasuresLeftOut, stacklevel=2)
        split = self.split or _validation_split(self.store)
        g = torch.Generator().manual_seed(0)
        rows = self.store.rows(split)
        self._rows = rows[torch.randperm(len(rows), generator=g)[: self.images]]
        if len(rows) < 8:
            raise InputError(f"Online: {self.store.name}:{split} has {len(rows)} images; name a larger split")
        self._bank, self._queries = probe_rows(self.store, split, self.images // 2, g)
        views = self.views or getattr(trainer.sampler, "views", None)
        self._views, self._drawn = None, None
        if "lidar" in self.measures:
            if not isinstance(views, Views):
                raise InputError(
                    "Online: LiDAR needs views, and the trainer's sampler has no recipe; pass views=Views(...)"
                )
            self._views, self._drawn = views, [views.sample(len(self._rows), g) for _ in range(VIEWS)]

    def _left_out(self, store: ImageStore) -> str:
        """Which measures that are asked for cannot be made of a store, as a sentence; empty where all can.

        Raises:
            InputError: if none can.
        """
        split = self.split or _validation_split(store)
        store.rows(split)  # its own sentence where there is no such split
        if _can_be_probed(store, split):
            return ""
        lost = [
            name
            for name, f in zip(self.measures, self._functions, strict=True)
            if name in MEASURES and _needs_labels(f)
        ]
        if not lost:
            return ""
        classes = store.labels[store.rows(split)].unique().tolist()
        first = ", ".join(store.class_names[label] for label in classes[:_NAMED])
        named = f"{first} and {len(classes) - _NAMED} more" if len(classes) > _NAMED else first
        fitting = sorted((name for name in (*store.groups, *store.splits) if _can_be_probed(store, name)), key=_order)
        if (
            self.split is None and fitting and _order(fitting[0])[:2] == (False, False)
        ):  # test images are not looked at unasked
            self.split = fitting[0]
            self._instead = (
                f"Online: measured on {store.name}:{self.split}, since {', '.join(lost)} need two classes of two images and "
                f"{store.name}:{split} has {named or 'none'}; split= names another (monitor.split)"
            )
            return ""
        cure = (
            f'take split="{fitting[0]}" (on the command line: --set monitor.split={fitting[0]})'
            if fitting
            else f"no split of it has them{how_to_label(store)}; take another source, or measures that need no labels (rankme)"
        )
        said = (
            f"Online: {', '.join(lost)} of {store.name}:{split} cannot be measured, which takes two classes of two images and "
            f"more, and its classes are {named or 'none'}; {cure}"
        )
        if len(lost) == len(self.measures):
            raise InputError(said)
        return said

    def on_step(self, trainer: Trainer, outcome: Outcome) -> None:
        """Measure if it is time, at the last step too."""
        every = self.every or trainer.epoch_steps or max(1, trainer.options.steps // 20)
        if self.store is None or not (trainer.step % every == 0 or trainer.step == trainer.options.steps):
            return
        if trainer.encoder is None:
            raise InputError("Online: the learner's exports() name no encoder to measure; leave the callback out")
        made = self.measure(trainer.encoder)
        self.history.append({"step": trainer.step, **made})
        trainer.log({f"{self.prefix}_{name}": value for name, value in made.items()})

    def measure(self, encoder: nn.Module) -> dict[str, float]:
        """What is asked for, by name; measures that these images do not allow are left out."""
        assert self.store is not None
        with evaluation_mode(encoder), torch.no_grad(), seeded(0):
            labels, images = self.store.labels, self.store.images
            rows = self._rows.split(_BATCH)
            features = self._features(encoder, (images[some].float() / 255 for some in rows))
            bank, bank_labels, queries, query_labels = self._probed(encoder, labels)
            views = self._of_views(encoder)
        seen = Seen(features, bank, bank_labels, queries, query_labels, views, self.neighbors)
        values = {name: f(seen) for name, f in zip(self.measures, self._functions, strict=True)}
        return {name: float(value) for name, value in values.items() if value is not None}

    def _probed(
        self, encoder: nn.Module, labels: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        if self._bank is None or self.store is None:
            return None, None, None, None
        images = self.store.images
        bank, queries = (
            self._features(encoder, (images[some].float() / 255 for some in rows.split(_BATCH)))
            for rows in (self._bank, self._queries)
        )
        return bank, labels[self._bank], queries, labels[self._queries]

    def _of_views(self, encoder: nn.Module) -> Tensor | None:
        if self._views is None or self._drawn is None or self.store is None:
            return None
        parts = [self._features(encoder, self._view(self._views, self.store, how)) for how in self._drawn]
        return torch.stack(parts, 1)

    def _view(self, views: Views, store: ImageStore, drawn: Tensor) -> Iterator[Tensor]:
        for rows, how in zip(self._rows.split(_BATCH), drawn.split(_BATCH), strict=True):
            yield views.apply(store.images[rows], how)

    def _features(self, encoder: nn.Module, images: Iterator[Tensor]) -> Tensor:
        place = next((p.device for p in encoder.parameters()), torch.device("cpu"))
        return torch.cat([encode(encoder, some.to(place), "the encoder").cpu() for some in images])


def _needs_labels(measure: Measure) -> bool:
    """Whether a registered measure says nothing of features and views alone."""
    some = torch.randn(8, 4, 4, generator=torch.Generator().manual_seed(0))
    return measure(Seen(some[:, 0], views=some)) is None


def _can_be_probed(store: ImageStore, split: str) -> bool:
    return probe_rows(store, split, 1, torch.Generator().manual_seed(0))[0] is not None


def _order(split: str) -> tuple[bool, bool, str]:
    """Splits for tests last, before them the one that has their images too."""
    return "test" in split, split == "all", split


def probe_rows(
    store: ImageStore, split: str, most: int, generator: torch.Generator
) -> tuple[Tensor, Tensor] | tuple[None, Tensor]:
    """Rows of the bank and the queries of a probe; None where no class has two images.

    Args:
        store: with labels.
        split: of it.
        most: rows of each.
        generator: chooses them.
    """
    try:
        bank, queries, _ = knn_split(store, split)
    except InputError:
        return None, torch.zeros(0, dtype=torch.int64)
    if len(store.labels[bank].unique()) < 2:
        return None, queries
    some, others = (rows[torch.randperm(len(rows), generator=generator)[:most]] for rows in (bank, queries))
    return some, others


def _validation_split(store: ImageStore) -> str:
    names = ("validation", "val", "meta-validation")
    return next((name for name in names if name in store.splits or name in store.groups), "all")
