"""What `metatc2 transfer` does: settings from the run, from ``--set`` and from flags; any encoder; a folder for the rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metatc2.errors import InputError
from metatc2.experiment.config import Config, TransferConfig, merge, override, read_config
from metatc2.experiment.load import load_pretrained
from metatc2.experiment.measure import Sources, find_targets, measure
from metatc2.experiment.run_config import sources_from
from metatc2.experiment.transfer_offer import is_default
from metatc2.training.run_folder import RunFolder
from metatc2.transfer import Row


def run(
    name: str,
    changes: Mapping[str, Any],
    *,
    assignments: Sequence[str] = (),
    layer: str = "output",
    context: str | None = None,
    config: str | None = None,
    image_size: int | None = None,
    root: str | None = None,
    download: bool = False,
    stream: bool = False,
    workers: int = 0,
    value_range: tuple[float, float] | None = None,
    out: str | None = None,
) -> list[Row]:
    """Measure an encoder; see ``metatc2 transfer --help``.

    Args:
        name: see `load_pretrained`.
        changes: keys of ``[transfer]`` from the command line.
        assignments: ``transfer.KEY=VALUE``.
        layer, context, config, image_size, root, download, stream, workers, value_range, out: see the command.

    Raises:
        InputError: if anything is wrong; nothing is written then.
    """
    encoder = load_pretrained(
        name, config=Path(config) if config else None, image_size=image_size, download=download
    ).with_layer(layer)
    own = Path(name) / "config.toml"
    folder = Path(out) if out else Path(name) if os.path.exists(own) else None
    if folder is None:
        raise InputError(f"transfer: {name} is no run folder to keep the results in; name a folder with --out DIR")
    trained = read_config(own) if os.path.exists(own) else Config()
    settings, data = _settings(trained, assignments, changes), trained.data
    targets = settings.targets or ((data.source,) if os.path.exists(own) else ())
    sources = Sources(
        root or data.root,
        download or data.download,
        stream or data.stream,
        workers or data.workers,
        value_range or data.value_range,
    )
    if context is not None:
        encoder = encoder.with_context(sources.pairs(context, encoder))
    with sources_from(RunFolder(Path(name)), trained):
        found = find_targets(encoder, targets, sources, allow_seen=settings.allow_seen)
    return measure(encoder, found, folder, settings, fit=is_default(settings) and not {"way", "shot"} & changes.keys())


def _settings(config: Config, assignments: Sequence[str], changes: Mapping[str, Any]) -> TransferConfig:
    for word in assignments:
        if not word.startswith("transfer."):
            raise InputError(f"transfer: --set {word}: only keys of [transfer] can be changed here, transfer.KEY=VALUE")
    changed = override(config, assignments)
    return merge(changed, {"transfer": {k: _plain(v) for k, v in changes.items()}}, "command line").transfer


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
