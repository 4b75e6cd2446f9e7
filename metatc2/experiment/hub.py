"""Encoders as folders of the Hugging Face Hub: `save_pretrained`, `from_pretrained`, local first.

A folder holds ``config.json``, ``model.safetensors``, where there is one ``calibrator.safetensors``, and a model card. Of TC²
with weights of each task's own the latter has all that `Pretrained.with_context` needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metatc2.errors import InputError, MissingPackage
from metatc2.experiment.config import Config, flatten, merge, method_name
from metatc2.experiment.config.layers import tree_of
from metatc2.experiment.pretrained import Pretrained
from metatc2.experiment.run import load_run
from metatc2.experiment.weights import encoder_from, read_tensors
from metatc2.io.files import fill_folder, read_file, writing
from metatc2.io.reading import read_json
from metatc2.io.suggest import command
from metatc2.io.writing import json_text

FORMAT = "metatc2"
_FILES = ("config.json", "model.safetensors", "calibrator.safetensors")


def save_pretrained(run: Path | str, folder: Path | str) -> Path:
    """Write a finished run as a folder that can be uploaded as it is (``hf upload NAME FOLDER``).

    Args:
        run: run folder.
        folder: must be new or empty.

    Returns:
        `folder`.

    Raises:
        InputError: if the run is not finished, or the folder is in use or cannot be written; it is then as it was.
    """
    run, folder = Path(run), Path(folder)
    loaded = load_run(run)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists already; name a new folder to save the encoder to")
    facts: dict[str, Any] = read_tensors(run / "encoder.safetensors")[1]
    # Up to 44 KB that are not read here.
    trained = {key: value for key, value in facts.items() if not key.startswith("seen_images")}
    content = {"model_type": FORMAT, "config": tree_of(flatten(loaded.config)), "trained": trained}
    card = _card(loaded.config, facts)
    weights = {"model.safetensors": run / "encoder.safetensors"}
    if loaded.calibrator is not None or loaded.pretrained.adapts is not None:
        weights["calibrator.safetensors"] = run / "calibrator.safetensors"
    files = {name: read_file(file) for name, file in weights.items()}
    # config.json comes last: a folder that was cut while it was written is not taken for a whole one.
    files |= {"README.md": card.encode(), "config.json": json_text(content).encode()}
    with writing(folder):
        fill_folder(folder, files)
    return folder


def from_pretrained(name: Path | str, *, download: bool = False) -> Pretrained:
    """An encoder from a folder, or from the Hub by ``"OWNER/NAME"``.

    Args:
        name: a local folder is taken first.
        download: fetch from the Hub what this machine does not have.

    Raises:
        InputError: if there is no such folder, it is not one of ours, or its files do not belong together.
        MissingPackage: if the Hub is needed and ``huggingface_hub`` is not installed.
    """
    if not str(name).strip():
        raise InputError("hub: names no encoder; write hub:OWNER/NAME")
    folder = Path(name) if Path(name).is_dir() else _from_hub(str(name), download)
    file = folder / "config.json"
    if not file.exists():
        raise InputError(f"{folder} has no config.json; save an encoder there with: {command('export', 'RUN', folder)}")
    try:
        content = read_json(file)
    except InputError as error:
        raise InputError(f"{error}; save or download the folder again") from error
    if not isinstance(content, dict) or content.get("model_type") != FORMAT:
        raise InputError(f"{file} was not written by metatc2; name a folder that save_pretrained wrote")
    tree = content.get("config")
    config = merge(Config(), tree if isinstance(tree, dict) else {}, str(file))
    return encoder_from(
        config,
        folder / "model.safetensors",
        calibrator=folder / "calibrator.safetensors",
        where=file,
        name=str(name),
    )


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


def _card(config: Config, facts: dict[str, Any]) -> str:
    encoder, data = config.encoder, config.data
    return f"""---
library_name: metatc2
tags: [self-supervised, meta-learning, few-shot]
---

{method_name(config)}, encoder `{encoder.name}`, pre-trained on `{data.source}` ({data.split}) for {facts["steps"]} steps,
seed {config.trainer.seed}. It takes images {facts["channels"]} × {facts["image_size"]} × {facts["image_size"]} in [0, 1].

```python
from metatc2.experiment.hub import from_pretrained

encoder = from_pretrained("FOLDER or OWNER/NAME").encoder
```

The whole configuration is in `config.json`.
"""
