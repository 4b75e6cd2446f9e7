"""`load_pretrained`: any encoder by what a person types for it."""

from __future__ import annotations

import os
from pathlib import Path

from metatc2.errors import InputError
from metatc2.experiment.config import read_config
from metatc2.experiment.pretrained import Pretrained
from metatc2.experiment.run import load_run
from metatc2.experiment.weights import encoder_from
from metatc2.experiment.zoo import ZOOS, from_zoo
from metatc2.models.foreign_weights import TORCH_FILES


def load_pretrained(
    name: str,
    *,
    config: Path | None = None,
    image_size: int | None = None,
    download: bool = False,
) -> Pretrained:
    """An encoder to measure.

    Args:
        name: one of

            * a run folder of ``metatc2 pretrain``,
            * a folder written by ``metatc2 export``, or ``hub:OWNER/NAME`` on the Hugging Face Hub,
            * ``FILE.safetensors`` of weights, with `config` beside it, or a file of ``torch.save`` (``FILE.pth``, ``.pt``,
              ``.ckpt``, ``.bin``, ``.tar``), of which no code is run. Its tensors may lie in tables and under prefixes, as
              MoCo, DINO, lightly and solo-learn write them; heads are left out. There ``[encoder] name`` may also be
              ``torchvision:MODEL``,
            * ``torchvision:MODEL`` or ``timm:MODEL``, and ``...:random`` for the untrained network.
        config: TOML file with ``[encoder]`` and, where the weights do not say it, ``data.channels`` and
            ``data.image_size``; by default the ``config.toml`` beside the weights.
        image_size: for torchvision and timm, if not that of the training.
        download: allow fetching weights that are not on this machine.

    Raises:
        InputError: if there is no such encoder, or its files do not belong together.
        MissingPackage: if timm or huggingface_hub is needed and not installed.

    >>> load_pretrained("torchvision:resnet18:random", image_size=32).channels
    3
    """
    path = Path(name)
    kind, colon, rest = name.partition(":")
    if image_size is not None and kind not in ZOOS:
        raise InputError(f"{name} takes images of the size it was trained on; image_size is for torchvision and timm")
    weights = name.endswith((".safetensors", *TORCH_FILES)) and not path.is_dir()
    if config is not None and path.is_dir() and not (path / "config.toml").exists():
        raise InputError(f"{name} is a folder, and a configuration goes with a file of weights; name the file in it")
    if config is not None and not weights:
        raise InputError(
            f"{name} brings its own configuration; a further one goes with FILE.safetensors alone (or FILE.pth)"
        )
    if kind in ZOOS and colon:
        return from_zoo(name, image_size=image_size, download=download)
    if kind == "hub" and colon:
        from metatc2.experiment.hub import from_pretrained

        return from_pretrained(rest, download=download)
    if weights:
        where = config or path.parent / "config.toml"
        if not where.exists():
            raise InputError(
                f"{name}: no configuration {where}; name one with --config FILE.toml that has [encoder] name, "
                "data.channels and data.image_size"
            )
        return encoder_from(read_config(where), path, where=where, name=name)
    if path.is_file():
        endings = ", ".join((".safetensors", *TORCH_FILES))
        raise InputError(f"{name} is a file, and weights end in {endings}; rename it, or name a run folder")
    if os.path.exists(path / "config.json") and not os.path.exists(path / "config.toml"):
        from metatc2.experiment.hub import from_pretrained

        return from_pretrained(path)
    return load_run(path).pretrained
