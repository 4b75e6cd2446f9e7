"""Measure the transfer of any encoder and keep the rows in a folder: the one way from a command to a row.

    metatc2.cli.transfer.transfer        flags
    metatc2.experiment.transfer.transfer encoder, targets and protocols by name; the folder of the results
    metatc2.transfer.evaluate            encoders × targets × protocols, on the same images and episodes
    Protocol.run                         the figures of one protocol, `Measured`
    metatc2.transfer.Row                 one figure with all that it depends on
    metatc2.experiment.results_folder    ``transfer.json``

The demo, studies and tests begin at the second line.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from metatc2.data.crops import crops_of
from metatc2.data.pairs import Pairs
from metatc2.errors import InputError, nearest
from metatc2.experiment.config import Config, merge, override_together, read_config, settled
from metatc2.experiment.load import is_network, load_pretrained, split_weights
from metatc2.experiment.pretrained import CALIBRATED, ENCODER, Pretrained
from metatc2.experiment.protocols import SHAPES, protocols_of
from metatc2.experiment.results_folder import KEPT_ELSEWHERE, add_rows, check_folder
from metatc2.experiment.run import Run
from metatc2.experiment.run_config import sources_from
from metatc2.experiment.targets import Sources, check_images, find_targets, require_loadable
from metatc2.io.files import check_no_link, check_writable
from metatc2.io.options import show
from metatc2.io.run_files import CONFIG, FEATURES
from metatc2.io.suggest import SOURCE, command
from metatc2.models.feature_rows import FeatureRows
from metatc2.models.stages import OUTPUT
from metatc2.ops.ranks import ALONE, Ranks, is_first, others_alive
from metatc2.training.devices import placed
from metatc2.training.placement import Placement
from metatc2.training.run_folder import RunFolder
from metatc2.transfer import RANDOM_ENCODER, FeaturesNotKept, Protocol, Row, Target, evaluate


class UncheckedClasses(UserWarning):
    """The classes of the pre-training images are not known, so targets may hold them."""


def transfer(
    encoder: str | Path | Run | Pretrained,
    *,
    targets: Sequence[str | Target] = (),
    protocols: Sequence[str | Protocol] = (),
    allow_seen: bool = False,
    layer: str = OUTPUT,
    context: Path | str | Pairs | None = None,
    out: Path | str | None = None,
    sources: Sources | None = None,
    config: Path | str | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    assignments: Sequence[str] = (),
    placement: Placement | None = None,
    tell: Callable[[str], None] | None = None,
    **changes: Any,
) -> list[Row]:
    """Measure an encoder, its calibrated features, a random encoder and raw pixels, and add the rows to a folder.

    A learner on labeled tasks is measured besides as it is meant to be used, adapted to every episode, and so is one that was
    never trained.

    Args:
        encoder: a run, or what `metatc2.experiment.load.load_pretrained` takes or returns.
        targets: ``"SOURCE[:SPLIT]"``, or targets; by default those of the run's ``[transfer]``, else what it learned from.
        protocols: names of `metatc2.transfer.PROTOCOLS`, whose options then are those of the run's ``[transfer.NAME]``, or
            objects such as ``FewShot(shots=(1,))``; by default those of the run's ``[transfer]``.
        allow_seen: whether targets may hold classes of the pre-training images.
        layer: stage of the encoder that the features come from.
        context: pairs of images that count as the same, or where they lie (see `metatc2.data.pairs.read_pairs`): the features
            adapted to them are measured as calibrated ones.
        out: folder of the results; by default the run folder. Its ``transfer.json`` is made or added to; rows measured again
            are replaced, and rows of features that were adapted to other pairs stay. Features are kept in its ``features/``
            for the next call.
        sources: where targets come from, where it is not as in the run's ``[data]``.
        config: see `load_pretrained`.
        image_size, channels: see `load_pretrained`.
        assignments: ``transfer.KEY=VALUE``.
        placement: devices that share images and episodes; by default modules run where they lie, on one process.
        tell: gets what is to be known of the images before they are measured, a sentence each, and what is left of features
            that take long.
        changes: options that differ from the run's, such as ``ways``, ``shots`` or ``ks``: each of every protocol chosen by
            name that has it.

    Returns:
        The rows of this call.

    Raises:
        InputError: if anything is wrong; nothing is written then.
    """
    own = sources or Sources()
    _check_place(encoder, out)
    opened = _opened(encoder, config, image_size, channels, own.download)
    measured = opened.pretrained.with_layer(layer)
    folder = Path(out) if out else opened.folder
    if folder is None:
        raise InputError(_no_place(opened.pretrained.name))
    if is_first():
        check_writable(folder, KEPT_ELSEWHERE)
    settings = _settings(opened.config, assignments, protocols, allow_seen, changes)
    asked = protocols_of(settings, protocols, fit=False if changes.keys() & SHAPES else None)
    own = own.over(opened.config.data)
    if context is not None:
        measured = measured.with_context(context if isinstance(context, Pairs) else own.pairs(context, measured))
    with opened.reading():
        named = targets or settings.transfer.targets or opened.default_targets or own_target(measured)
        opened.require_loadable(named)
        to = _targets(named, measured, own, settings.transfer.allow_seen)
    if tell is not None and is_first():
        for sentence in crops_of([target.store for target in to]):
            tell(sentence)
    if placement is None:
        return _measure(measured, to, asked, folder, tell)
    fabric, ranks = placed(placement)
    with others_alive(ranks):
        return _measure(measured, to, asked, folder, tell, fabric.device, ranks)


def _check_place(encoder: str | Path | Run | Pretrained, out: Path | str | None) -> None:
    """Before an encoder is loaded or fetched: whether there is a folder for its results, as far as can be told."""
    if out:
        if is_first():
            check_writable(Path(out), KEPT_ELSEWHERE)
    elif isinstance(encoder, str) and (is_network(split_weights(encoder)[0]) or encoder.startswith("hub:")):
        raise InputError(_no_place(encoder))


def _no_place(name: str) -> str:
    return f"transfer: {name} is no run folder to keep the results in; name a folder with --out DIR"


@dataclass(frozen=True)
class _Opened:
    """An encoder, and the run folder that it comes from, if any."""

    pretrained: Pretrained
    folder: Path | None
    config: Config

    @property
    def default_targets(self) -> tuple[str, ...]:
        """What the run learned from."""
        return () if self.folder is None else (self.config.data.source,)

    def require_loadable(self, targets: Sequence[str | Target]) -> None:
        """See `metatc2.experiment.targets.require_loadable`."""
        if self.folder is not None:
            named = [target for target in targets if isinstance(target, str)]
            require_loadable(named, self.config, self.folder, command("transfer", self.folder, "--to", SOURCE))

    def reading(self) -> AbstractContextManager[None]:
        """While sources are read; see `sources_from`."""
        return nullcontext() if self.folder is None else sources_from(RunFolder(self.folder), self.config)


def _opened(
    encoder: str | Path | Run | Pretrained,
    config: Path | str | None,
    image_size: int | None,
    channels: int | None,
    download: bool,
) -> _Opened:
    if isinstance(encoder, Run):
        return _Opened(encoder.pretrained, encoder.path, encoder.config)
    if isinstance(encoder, Pretrained):
        return _Opened(encoder, None, Config())
    pretrained = load_pretrained(
        str(encoder),
        config=Path(config) if config else None,
        image_size=image_size,
        channels=channels,
        download=download,
    )
    file = Path(encoder) / CONFIG
    if not os.path.exists(file):
        return _Opened(pretrained, None, Config())
    return _Opened(pretrained, Path(encoder), read_config(file))


def _settings(
    config: Config,
    assignments: Sequence[str],
    protocols: Sequence[str | Protocol],
    allow_seen: bool,
    changes: Mapping[str, Any],
) -> Config:
    """The configuration with what was asked for in its place."""
    for word in assignments:
        if not word.startswith("transfer."):
            raise InputError(f"transfer: --set {word}: only keys of [transfer] can be changed here, transfer.KEY=VALUE")
    names = [name for name in protocols if isinstance(name, str)]
    given = {
        "--set": assignments,
        "--protocol": [f"transfer.protocols={show(names)}"] * bool(protocols),
        "--allow-seen": ["transfer.allow_seen=true"] * allow_seen,
    }
    chosen = override_together(settled(config), given)
    table: dict[str, dict[str, Any]] = {name: {} for name in chosen.protocols}
    for option, value in changes.items():
        having = [name for name, options in chosen.protocols.items() if option in type(options).model_fields]
        if not having:
            known = {name for options in chosen.protocols.values() for name in type(options).model_fields}
            listed = ", ".join(chosen.protocols) or "none by name"
            end = nearest(option, known) if known else "they have no options"
            raise InputError(f"transfer: no protocol of those chosen ({listed}) has {option!r}; {end}")
        for name in having:
            table[name][option] = value
    return merge(chosen, {"transfer": table}, "command line")


def _targets(asked: Sequence[str | Target], encoder: Pretrained, sources: Sources, allow_seen: bool) -> list[Target]:
    names = [target for target in asked if isinstance(target, str)]
    given = [target for target in asked if not isinstance(target, str)]
    named = find_targets(encoder, names, sources, allow_seen=allow_seen) if names or not given else []
    return [*given, *named]


def _measure(
    encoder: Pretrained,
    targets: Sequence[Target],
    protocols: Sequence[Protocol],
    folder: Path,
    tell: Callable[[str], None] | None,
    device: torch.device | None = None,
    ranks: Ranks = ALONE,
) -> list[Row]:
    encoders: dict[str, nn.Module] = {ENCODER: encoder.encoder}
    if encoder.calibrated is not None:
        encoders[CALIBRATED] = encoder.calibrated
    if encoder.untrained is not None:
        encoders[RANDOM_ENCODER] = encoder.untrained
    for target in targets:
        check_images(encoder, target.store)
    if encoder.source != "nothing" and (encoder.seen is None or not encoder.seen.is_known):
        which = "it was trained on" if encoder.seen is None else "the weights that it started from were trained on"
        checked = "no target was checked for them" if encoder.seen is None else "targets were checked for its own alone"
        warnings.warn(
            f"{encoder.name}: the classes {which} are not known, so {checked}",
            UncheckedClasses,
            stacklevel=3,
        )
    sha256 = encoder.sha256
    # Looked at first: what cannot be written or added to should not take an evaluation to find out.
    if ranks.first:
        check_folder(folder, encoder, sha256)
    if device is not None:
        for module in (
            *encoders.values(),
            *(each for each in encoder.learners.values() if isinstance(each, nn.Module)),
        ):
            module.to(device)
    rows, accuracies = evaluate(
        encoders,
        targets,
        protocols=protocols,
        seed=encoder.seed,
        source=encoder.source,
        encoder_sha256=sha256,
        layer=encoder.layer,
        contexts={} if encoder.context is None else {CALIBRATED: encoder.context},
        compute=encoder.compute,
        learners=encoder.learners,
        cache=features_folder(folder / FEATURES),
        device=device,
        ranks=ranks,
        pixels=not isinstance(encoder.encoder, FeatureRows),
        tell=tell,
    )
    if ranks.first:
        add_rows(folder, encoder, sha256, rows, accuracies)
    ranks.wait()
    return rows


def own_target(encoder: Pretrained) -> tuple[str, ...]:
    """What precomputed features are of; nothing of other encoders."""
    return (encoder.name,) if isinstance(encoder.encoder, FeatureRows) else ()


def features_folder(folder: Path) -> Path | None:
    """The folder of features, if it can be written to: what is kept there only saves time."""
    try:
        check_no_link(folder, "what is kept beside results")
        check_writable(folder)
    except InputError as error:
        warnings.warn(
            f"{error}; features are computed and not kept, so the next call computes them again",
            FeaturesNotKept,
            stacklevel=4,
        )
        return None
    return folder
