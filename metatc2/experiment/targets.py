"""Targets by their names, with images as an encoder takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metatc2.data import ImageStore, load
from metatc2.data.pairs import Pairs, read_pairs
from metatc2.data.seen import UNKNOWN_SOURCE
from metatc2.errors import InputError
from metatc2.experiment.config import Config, DataConfig, read_config
from metatc2.experiment.config.learner import PythonConfig
from metatc2.experiment.pretrained import Pretrained
from metatc2.io.registries import SOURCES
from metatc2.io.run_files import CONFIG
from metatc2.io.source_names import real_path, split_name
from metatc2.io.suggest import SOURCE
from metatc2.models.feature_rows import FeatureRows
from metatc2.transfer import Target, expand_targets, parse_target


@dataclass(frozen=True)
class Sources:
    """Where targets come from.

    Args:
        root: where downloaded data sets lie.
        download: let torchvision download what is missing.
        stream: read images from disk as they are needed.
        workers: that decode streamed images.
        value_range: of images of more than 8 bits a pixel, see `metatc2.data.load`.
    """

    root: str | None = None
    download: bool = False
    stream: bool = False
    workers: int = 0
    value_range: tuple[float, float] | None = None

    def over(self, data: DataConfig) -> Sources:
        """What is not said here as a run's ``[data]`` says it."""
        return Sources(
            self.root or data.root,
            self.download or data.download,
            self.stream or data.stream,
            self.workers or data.workers,
            self.value_range or data.value_range,
        )

    @classmethod
    def of(cls, data: DataConfig) -> Sources:
        """Those of a run's ``[data]``."""
        return cls(data.root, data.download, data.stream, data.workers, data.value_range)

    def store(self, source: str, encoder: Pretrained) -> ImageStore:
        """A source with images as the encoder takes them.

        Raises:
            InputError: if it cannot be had, or precomputed features are asked for other rows than their own.
        """
        store = load(
            source,
            image_size=encoder.image_size,
            channels=encoder.channels,
            root=self.root,
            download=self.download,
            stream=self.stream,
            workers=self.workers,
            value_range=self.value_range,
        )
        if isinstance(encoder.encoder, FeatureRows):
            encoder.encoder.check(store.images, store.labels, store.name)
        return store

    def pairs(self, path: str | Path, encoder: Pretrained) -> Pairs:
        """Pairs of images as the encoder takes them, see `read_pairs`.

        Raises:
            InputError: if they cannot be read.
        """
        return read_pairs(
            path,
            image_size=encoder.image_size,
            channels=encoder.channels,
            value_range=self.value_range,
            workers=self.workers,
        )


def asked_or_own(names: Sequence[str], first: str | Path) -> tuple[Config, tuple[str, ...]]:
    """What several encoders are measured on: what is asked for, else what the task of the first names or it learned from.

    Args:
        names: ``SOURCE[:SPLIT]``, as asked for.
        first: of the encoders; only a run says more.

    Returns:
        The configuration of the first, the usual one where it is no run, and the targets.

    Raises:
        InputError: see `require_loadable`.
    """
    place = Path(first) / CONFIG
    own = place.exists()
    config = read_config(place) if own else Config()
    wanted = tuple(names) or config.transfer.targets or ((config.data.source,) if own else ())
    require_loadable(wanted, config, Path(first), f"--to {SOURCE}")
    return config, wanted


def require_loadable(
    names: Sequence[str], config: Config, run: Path, how: str, own: str = "--to npz:FILE.npz:all --allow-seen"
) -> None:
    """Nothing, unless a target is what a run of a program learned from, and that is no source.

    Args:
        names: ``SOURCE[:SPLIT]``, as asked for or as the run has it.
        config: of the run.
        run: its folder.
        how: what names other targets, for the error.
        own: what names the images of the run themselves once they are in a file.

    Raises:
        InputError: that says so, and how such images are named.
    """
    learned = config.data.source
    if not isinstance(config.learner, PythonConfig) or learned not in {parse_target(name)[0] for name in names}:
        return
    if learned == UNKNOWN_SOURCE:
        raise InputError(
            f"{run} does not say what images it was trained on, which its sampler did not tell; name data to measure it on: "
            f"{how}"
        )
    try:
        SOURCES.resolve(learned)
    except InputError as error:
        raise InputError(
            f"{run} learned from a store that a program made and named {learned!r}, which no command can load; name data to "
            f"measure it on: {how}, or its own images: numpy.savez('FILE.npz', images=store.images, labels=store.labels) in "
            f"the program, then {own}"
        ) from error


def find_targets(
    encoder: Pretrained, names: Sequence[str], sources: Sources, *, allow_seen: bool = False
) -> list[Target]:
    """Targets by their names on the command line, ``SOURCE[:SPLIT]``.

    Raises:
        InputError: if one cannot be had, or holds classes seen in pre-training and `allow_seen` is False.
    """
    if not names:
        raise InputError(f"transfer: no target for {encoder.name}; name one with --to SOURCE[:SPLIT], e.g. --to digits")
    targets: dict[tuple[str, str], Target] = {}
    stores: dict[tuple[str, str], ImageStore] = {}
    for name in names:
        source, split = parse_target(name)
        kind, path = split_name(source)
        place = kind, real_path(source) if path else ""  # one source, however often and in what spelling it is named
        if place not in stores:
            stores[place] = sources.store(source, encoder)
        for target in expand_targets(stores[place], split, seen=encoder.seen, allow_seen=allow_seen):
            targets.setdefault((target.store.name, target.split), target)
    return list(targets.values())


def check_images(encoder: Pretrained, store: ImageStore) -> None:
    """Refuse images that an encoder does not take.

    Raises:
        InputError: if their size or number of channels is another.
    """
    if isinstance(encoder.encoder, FeatureRows):
        encoder.encoder.check(store.images, store.labels, store.name)
    given, wanted = (store.channels, store.image_size), (encoder.channels, encoder.image_size)
    if given != wanted:
        raise InputError(
            f"{store.name}: images are {given[0]} × {given[1]} × {given[1]} and {encoder.name} takes "
            f"{wanted[0]} × {wanted[1]} × {wanted[1]}; load the target with image_size={wanted[1]}, channels={wanted[0]}"
        )
