"""`load_pretrained`: any encoder by what a person types for it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from metatc2.data import load
from metatc2.data.sources.features import KIND as FEATURES
from metatc2.data.sources.features import SIDE, read_features
from metatc2.errors import InputError
from metatc2.experiment.config import read_config
from metatc2.experiment.filled import OURS, check_takes, fill
from metatc2.experiment.own_network import TORCH_HUB, from_factory, from_torch_hub
from metatc2.experiment.pretrained import Pretrained
from metatc2.experiment.run import load_run
from metatc2.experiment.weights import encoder_from
from metatc2.experiment.zoo import ZOOS, from_zoo, torchvision_networks
from metatc2.io.run_files import CONFIG
from metatc2.io.source_names import split_name
from metatc2.models.feature_rows import FeatureRows
from metatc2.models.finite_weights import check_weights
from metatc2.models.foreign_weights import TORCH_FILES, fitting, read_weights
from metatc2.models.python import is_factory
from metatc2.models.registry import ENCODERS, build_encoder
from metatc2.models.stages import OUTPUT
from metatc2.ops.numbers import whole
from metatc2.ops.random_state import seeded

WEIGHTS = (".safetensors", *TORCH_FILES)
_AT = "@"


def load_pretrained(
    name: str,
    *,
    config: Path | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    download: bool = False,
) -> Pretrained:
    """An encoder to measure.

    Args:
        name: one of

            * a run folder of ``metatc2 pretrain``,
            * a folder of the Hugging Face Hub's form, as ``metatc2 export`` writes it, or ``hub:OWNER/NAME`` on the Hub; also
              those of timm and of transformers,
            * ``torchvision:MODEL`` or ``timm:MODEL``, and ``...:random`` for the untrained network,
            * ``torchhub:PLACE:ENTRY`` of a clone with a ``hubconf.py``, and ``package.module:factory`` of one's own: their code
              is run,
            * ``NETWORK@FILE``: one of the last three, or an encoder of this library (``resnet18``), with weights from a file
              (``.safetensors``, ``.pth``, ``.pt``, ``.ckpt``, ``.bin``, ``.tar``), of which no code is run. Its tensors may lie
              in tables and under prefixes, as MoCo, DINO, lightly and solo-learn write them; heads are left out. Both is said,
            * ``features:FILE.npz``: features that another program computed, measured on their own labels,
            * ``FILE`` alone, with `config` beside it. There ``[encoder] name`` may also be ``torchvision:MODEL``.
        config: TOML file with ``[encoder]`` and, where the weights do not say it, ``data.channels`` and
            ``data.image_size``; by default the ``config.toml`` beside the weights.
        image_size: of networks by name, if not that of the training.
        channels: likewise, of those that take other than 3.
        download: allow fetching weights that are not on this machine.

    Raises:
        InputError: if there is no such encoder, its files do not belong together, or its weights are not finite.
        MissingPackage: if timm, transformers or huggingface_hub is needed and not installed.

    >>> load_pretrained("torchvision:resnet18:random", image_size=32).channels
    3
    """
    if name.startswith(f"{FEATURES}:"):
        return _features(name)
    pretrained = _loaded(name, config, image_size, channels, download)
    check_weights(pretrained.encoder, name)
    return pretrained


def _loaded(name: str, config: Path | None, image_size: int | None, channels: int | None, download: bool) -> Pretrained:
    for key, number in (("image_size", image_size), ("channels", channels)):
        if number is not None:
            whole(number, f"{name}: {key}", 1)
    network, weights = split_weights(name)
    kind = network.partition(":")[0]
    if is_network(network) and (weights is not None or kind not in ENCODERS):
        if config is not None:
            raise InputError(
                f"{name} needs no configuration; a further one goes with FILE.safetensors alone (or FILE.pth)"
            )
        if kind in ZOOS:
            return from_zoo(network, image_size=image_size, channels=channels, download=download, weights=weights)
        if kind == TORCH_HUB:
            return from_torch_hub(network, weights=weights, image_size=image_size, channels=channels)
        if weights is not None and kind in ENCODERS:
            return _registered(network, weights, image_size, channels)
        return from_factory(network, weights=weights, image_size=image_size, channels=channels)
    if image_size is not None or channels is not None:
        raise InputError(
            f"{name}: image_size and channels are for networks by name (torchvision, timm, torchhub, MODULE:FACTORY); a run "
            f"takes images as it was trained on, and a file of weights is named with its network: {_with_network(name)}"
        )
    return _from_place(name, config, download)


def _with_network(name: str) -> str:
    """A file of weights with the network that it fits, where that is known."""
    known = None
    if name.endswith(WEIGHTS):
        with suppress(InputError):
            known = fitting(read_weights(Path(os.path.expanduser(name))))
    return known.at(Path(name)) if known else "NETWORK@FILE"


def split_weights(name: str) -> tuple[str, Path | None]:
    """Network and file of ``NETWORK@FILE``; None where no file is named, and for paths that hold an ``@``.

    >>> split_weights("timm:resnet18.a1_in1k@w.pth"), split_weights("runs/a@b"), split_weights("digits.net:small")
    (('timm:resnet18.a1_in1k', PosixPath('w.pth')), ('runs/a@b', None), ('digits.net:small', None))
    """
    network, at, file = name.partition(_AT)
    return (network, Path(os.path.expanduser(file))) if at and file and is_network(network) else (name, None)


def split_layer(name: str) -> tuple[str, str]:
    """Encoder and stage of ``NAME@STAGE``; the output where none is named.

    >>> split_layer("torchvision:resnet18@w.pth"), split_layer("torchvision:resnet18@w.pth@body.layer3")
    (('torchvision:resnet18@w.pth', 'output'), ('torchvision:resnet18@w.pth', 'body.layer3'))
    """
    encoder, at, layer = name.rpartition(_AT)
    return (encoder, layer) if at and not layer.endswith(WEIGHTS) else (name, OUTPUT)


def is_network(name: str) -> bool:
    """Whether a text names a network without its weights, and is no folder.

    >>> is_network("timm:vit"), is_network("resnet18"), is_network("my.module:net"), is_network("hub:a/b")
    (True, True, True, False)
    """
    kind, colon, _ = name.partition(":")
    if colon and kind in (*ZOOS, TORCH_HUB):
        return True
    return (kind in ENCODERS and not colon) or (
        colon != "" and kind != "hub" and is_factory(name) and not Path(name).exists()
    )


def _features(name: str) -> Pretrained:
    """Features and labels of an archive, as the encoder of its row numbers."""
    store = load(name)
    path = split_name(store.name)[1]
    return Pretrained(store.name, FeatureRows(read_features(path), store.labels).eval(), 1, SIDE)


def _registered(name: str, weights: Path, image_size: int | None, channels: int | None) -> Pretrained:
    """An encoder of this library, or of a package that registers it, with weights from a file."""
    if image_size is None:
        raise InputError(f"{name}@{weights} does not say what images it takes; add --image-size (image_size)")
    count = 3 if channels is None else channels
    with seeded(0):
        encoder, untrained = (build_encoder(name, channels=count, image_size=image_size) for _ in range(2))
    fill(encoder, weights, name, OURS)
    check_takes(encoder, name, count, image_size)
    return Pretrained(f"{name}@{weights}", encoder.eval(), count, image_size, untrained.eval(), network=name)


def _from_place(name: str, config: Path | None, download: bool) -> Pretrained:
    """An encoder from a folder, a file or the Hub, which says itself what it is."""
    path = Path(name)
    kind, colon, rest = name.partition(":")
    weights = name.endswith(WEIGHTS) and not path.is_dir()
    if config is not None and path.is_dir() and not (path / CONFIG).exists():
        raise InputError(f"{name} is a folder, and a configuration goes with a file of weights; name the file in it")
    if config is not None and not weights:
        raise InputError(
            f"{name} brings its own configuration; a further one goes with FILE.safetensors alone (or FILE.pth)"
        )
    if kind == "hub" and colon:
        from metatc2.experiment.hub import from_pretrained

        return from_pretrained(rest, download=download)
    if weights:
        where = config or path.parent / CONFIG
        if not where.exists():
            raise InputError(_unnamed(path, where))
        return encoder_from(read_config(where), path, where=where, name=name)
    if path.is_file():
        raise InputError(f"{name} is a file, and weights end in {', '.join(WEIGHTS)}; rename it, or name a run folder")
    if os.path.exists(path / "config.json") and not os.path.exists(path / CONFIG):
        from metatc2.experiment.hub import from_pretrained

        return from_pretrained(path)
    if not os.path.exists(path) and name in torchvision_networks():
        raise InputError(
            f"{name} is not a run folder (it does not exist), and torchvision has a network of that name: write "
            f"torchvision:{name}@FILE.pth for it with weights of yours, torchvision:{name} with torchvision's weights, or "
            f"torchvision:{name}:random untrained"
        )
    return load_run(path).pretrained


def _unnamed(file: Path, where: Path) -> str:
    """What to write for a file of weights that nothing says the network of: where it fits one, that."""
    known = fitting(read_weights(file)) if file.is_file() else None
    if known is not None:
        return f"{file} says no network (there is no {where}), and it fits one: name it as {known.at(file)}"
    return (
        f"{file}: no configuration {where}; name the network with the file, as torchvision:MODEL@{file}, timm:MODEL@{file} or "
        f"PACKAGE.MODULE:FACTORY@{file}; or name one with --config FILE.toml that has [encoder] name, data.channels and "
        "data.image_size"
    )
