"""Encoders from folders of the Hugging Face Hub's form: this library's, timm's and transformers', local first."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from metatc2.data.seen import UNKNOWN_SOURCE
from metatc2.errors import InputError, MissingPackage
from metatc2.experiment.config import Config, merge
from metatc2.experiment.export import CONFIG, FORMAT, NETWORK, TENSORS, save_pretrained
from metatc2.experiment.filled import check_takes, fill
from metatc2.experiment.hub_config import TIMM_READS, require_whole, scale_of, side_of, size_of
from metatc2.experiment.own_network import TORCH_HUB
from metatc2.experiment.pretrained import Pretrained
from metatc2.experiment.weights import encoder_from
from metatc2.experiment.zoo import code_of
from metatc2.io.reading import read_json
from metatc2.io.suggest import command
from metatc2.models.foreign_encoder import ForeignEncoder
from metatc2.models.foreign_weights import ForeignWeights
from metatc2.models.python import raised, require_trust

__all__ = ["from_pretrained", "save_pretrained"]

_PREPROCESSOR = "preprocessor_config.json"
_FILES = (CONFIG, TENSORS, "calibrator.safetensors", _PREPROCESSOR, "pytorch_model.bin", "model.safetensors.index.json")


def from_pretrained(name: Path | str, *, download: bool = False) -> Pretrained:
    """An encoder from a folder, or from the Hub by ``"OWNER/NAME"``.

    Args:
        name: a local folder is taken first. It may be one that this library wrote, one of timm (its ``config.json`` has an
            ``architecture``) or one of transformers that its ``AutoModel`` loads; of a model with a vision tower that is taken.
            No code that lies in it is run.
        download: fetch from the Hub what this machine does not have.

    Raises:
        InputError: if there is no such folder, it is of none of these, or its files do not belong together.
        MissingPackage: if ``huggingface_hub``, timm or transformers is needed and not installed.
    """
    if not str(name).strip():
        raise InputError("hub: names no encoder; write hub:OWNER/NAME")
    folder = Path(name) if Path(name).is_dir() else _from_hub(str(name), download)
    file = folder / CONFIG
    if not file.exists():
        raise InputError(f"{folder} has no config.json; save an encoder there with: {command('export', 'RUN', folder)}")
    try:
        content = read_json(file)
    except InputError as error:
        raise InputError(f"{error}; save or download the folder again") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} was not written by metatc2; name a folder that save_pretrained wrote")
    if content.get("model_type") == FORMAT:
        return _own(folder, content, str(name))
    if isinstance(content.get("architecture"), str):
        return _timm(folder, content, str(name))
    if isinstance(content.get("model_type"), str):
        return _transformers(folder, content, str(name))
    raise InputError(
        f"{file} was not written by metatc2, timm or transformers; name a folder of theirs, or the weights as NETWORK@FILE"
    )


def _own(folder: Path, content: Mapping[str, Any], name: str) -> Pretrained:
    if NETWORK in content:
        return _named(folder, content, name)
    tree = content.get("config")
    config = merge(Config(), tree if isinstance(tree, dict) else {}, str(folder / CONFIG))
    return encoder_from(
        config,
        folder / TENSORS,
        calibrator=folder / "calibrator.safetensors",
        where=folder / CONFIG,
        name=name,
    )


def _named(folder: Path, content: Mapping[str, Any], name: str) -> Pretrained:
    """An encoder that is no run's: a network by its name, with the weights beside it."""
    from dataclasses import replace

    from metatc2.experiment.load import is_network, load_pretrained

    network, size, channels = (content.get(key) for key in (NETWORK, "image_size", "channels"))
    if not isinstance(network, str) or type(size) is not int or type(channels) is not int:
        raise InputError(
            f"{folder / CONFIG} is damaged: network, image_size or channels is none; export the encoder again"
        )
    if not network:
        raise InputError(
            f"{folder} names no network that its weights belong to; load encoder.pt2 in it by torch.export.load, or name the "
            f"network: PACKAGE.MODULE:FACTORY@{folder / TENSORS}"
        )
    _require_no_code(network, folder)
    if not is_network(network):
        raise InputError(f"{folder / CONFIG} is damaged: its network {network!r} is none; export the encoder again")
    made = load_pretrained(f"{network}@{folder / TENSORS}", image_size=size, channels=channels)
    source = content.get("source")
    return replace(made, name=name, source=source if isinstance(source, str) else UNKNOWN_SOURCE)


def _require_no_code(network: str, folder: Path) -> None:
    """A folder may be a stranger's: it names networks of libraries, and code only of modules that the user trusts."""
    if network.startswith(f"{TORCH_HUB}:"):
        raise InputError(
            f"{folder} says that its network is made by code ({network}), and a folder alone makes no code run; if you trust "
            f"it, name the code yourself: {network}@{folder / TENSORS}"
        )
    if module := code_of(network):
        require_trust(module, f"{folder}: its network {network}")


def _timm(folder: Path, content: Mapping[str, Any], name: str) -> Pretrained:
    try:
        import timm
    except ImportError as error:
        raise MissingPackage(f"{folder} holds a network of timm; pip install 'metatc2[timm]'") from error
    architecture, arguments = content["architecture"], content.get("model_args") or {}
    if architecture not in timm.list_models() or not isinstance(arguments, dict) or TIMM_READS & arguments.keys():
        raise InputError(
            f"{folder / CONFIG}: timm makes no {architecture!r} with such arguments from a folder; update timm, or name the "
            f"network: timm:MODEL@{folder / 'model.safetensors'}"
        )
    about = content.get("pretrained_cfg")
    about = about if isinstance(about, dict) and about else content
    channels, size = size_of(about.get("input_size"))
    try:
        body = timm.create_model(architecture, pretrained=False, num_classes=0, in_chans=channels, **arguments)
    except Exception as error:  # timm's networks raise a dozen kinds on arguments that they cannot be made with
        raise InputError(f"{folder}: timm cannot make {architecture!r} ({raised(error)}); update timm") from error
    encoder = ForeignEncoder(body, *scale_of(about.get("mean"), about.get("std")))
    fill(encoder, _weights(folder), architecture, "as its config.json says")
    return _opened(encoder, name, channels, size)


def _transformers(folder: Path, content: Mapping[str, Any], name: str) -> Pretrained:
    require_whole(content, folder / CONFIG)
    try:
        from transformers import AutoModel
    except ImportError as error:
        raise MissingPackage(
            f"{folder} holds a network of transformers ({content['model_type']}); pip install 'metatc2[transformers]'"
        ) from error
    try:
        model, about_loading = AutoModel.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    except Exception as error:  # transformers raises a dozen kinds on what it does not know or cannot read
        raise InputError(f"{folder}: transformers cannot load it ({raised(error)}); see that AutoModel does") from error
    model = _whole(getattr(model, "vision_model", model), list(about_loading["missing_keys"]), folder)
    file = folder / _PREPROCESSOR
    about = read_json(file) if file.exists() else {}
    about = about if isinstance(about, dict) else {}
    scale = (
        scale_of(about.get("image_mean"), about.get("image_std"))
        if about.get("do_normalize", True)
        else ((0.0,), (1.0,))
    )
    config = getattr(model, "config", None)
    channels = getattr(config, "num_channels", 3)
    channels = channels if type(channels) is int and channels > 0 else 3
    return _opened(ForeignEncoder(model, *scale), name, channels, side_of(getattr(config, "image_size", None), about))


def _whole(model: nn.Module, missing: list[str], folder: Path) -> nn.Module:
    """A model without a pooler that has no weights: transformers would make some up.

    Raises:
        InputError: if other weights are missing.
    """
    if others := [key for key in missing if "pooler" not in key]:
        raise InputError(
            f"{folder}: {len(others)} of its tensors are missing (such as {others[0]}); download the folder again"
        )
    if missing:
        setattr(model, "pooler", None)  # noqa: B010  # a module's attribute as a rule, to a type checker
        warnings.warn(
            f"{folder}: its pooler has no weights, so the features are the first token of the last layer",
            ForeignWeights,
            stacklevel=5,
        )
    return model


def _opened(encoder: ForeignEncoder, name: str, channels: int, size: int) -> Pretrained:
    check_takes(encoder.eval(), name, channels, size)
    return Pretrained(name, encoder, channels, size)


def _weights(folder: Path) -> Path:
    for name in (TENSORS, "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder} has no {TENSORS}; download the folder again")


def _from_hub(name: str, download: bool) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
    except ImportError as error:
        raise MissingPackage(
            f"{name} is no folder here, and the Hub needs huggingface_hub; pip install 'metatc2[hub]'"
        ) from error
    try:
        return Path(snapshot_download(name, local_files_only=not download, allow_patterns=list(_FILES)))
    except HFValidationError as error:
        raise InputError(f"{name} is neither a folder nor a name on the Hub (OWNER/NAME)") from error
    except LocalEntryNotFoundError as error:
        hint = "the Hub cannot be reached" if download else "allow the download with --download"
        raise InputError(f"{name} is no folder here and is not in the Hub's cache; {hint}, or name a folder") from error
    except RepositoryNotFoundError as error:
        raise InputError(f"{name}: the Hub has no such repository (or it is private); check OWNER/NAME") from error
