"""The model card of an exported encoder: what it is, how to load it, how well it transfers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from metatc2.experiment.config import Config, method_name
from metatc2.experiment.pretrained import Pretrained
from metatc2.transfer import Row
from metatc2.transfer.row_words import head_name, protocol_name, remarks

if TYPE_CHECKING:
    from metatc2.experiment.export_formats import Exported

_IMPORTS = {
    "encoder.pt2": "import torch",
    "encoder.onnx": "import onnxruntime",
    "torchvision.pth": "import torch\nimport torchvision",
    "timm.safetensors": "import timm\nimport torch",
}


def model_card(
    encoder: Pretrained, config: Config | None, rows: Sequence[Row], exported: Sequence[Exported], license: str | None
) -> str:
    """A model card in the form of the Hugging Face Hub.

    Args:
        encoder: that it is of.
        config: of its run; None of encoders that others trained.
        rows: of the transfer table; none, and the card says that nothing was measured.
        exported: files that it can be loaded from besides.
        license: identifier on the Hub; None, and the card says that none was stated.
    """
    front = ["library_name: metatc2", "pipeline_tag: image-feature-extraction"]
    front += [f"license: {license}"] * (license is not None)
    front += ["tags: [self-supervised, meta-learning, few-shot]" if config else "tags: [image-encoder, few-shot]"]
    size, channels = encoder.image_size, encoder.channels
    parts = [
        "---\n" + "\n".join(front) + "\n---",
        _about(encoder, config),
        f"It takes images {channels} × {size} × {size} in [0, 1]" + _end(encoder),
        "## Load it",
        _block(
            "from metatc2.experiment.hub import from_pretrained\n\n"
            'encoder = from_pretrained("FOLDER or OWNER/NAME").encoder'
        ),
    ]
    for each in exported:
        parts.append(f"`{each.name}` (checked: its features differ by at most {each.difference:.1e} of the largest):")
        parts.append(_block(f"{_IMPORTS[each.name]}\n\n{each.how}"))
    parts += ["## Transfer", _table(rows)]
    stated = f"{license}." if license else "None was stated; ask whoever trained it, and whose data it learned from."
    parts += ["## License", stated]
    parts += ["The whole configuration is in `config.json`."] * (config is not None)
    return "\n\n".join(parts) + "\n"


def _about(encoder: Pretrained, config: Config | None) -> str:
    network = encoder.network or type(encoder.encoder).__name__
    if config is None:
        return f"Encoder `{network}`, trained on `{encoder.source}`."
    data = config.data
    return (
        f"{method_name(config)}, encoder `{network}`, pre-trained on `{data.source}` ({data.split}) for "
        f"{encoder.compute.get('steps', config.trainer.steps):g} steps, seed {config.trainer.seed}."
    )


def _end(encoder: Pretrained) -> str:
    code = encoder.network.partition(":")
    if code[1] and code[0] not in ("torchvision", "timm"):
        return f"; `{encoder.network}` is code that must be installed to load it by its name."
    return "."


def _block(code: str) -> str:
    return f"```python\n{code}\n```"


def _table(rows: Sequence[Row]) -> str:
    """One line a target, protocol and head, one column for each kind of features."""
    if not rows:
        return "Not measured."
    kinds = list(dict.fromkeys(row.features_words for row in rows))
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in rows:
        cell = f"{100 * row.mean:.1f} ± {100 * row.ci95:.1f}"
        lines.setdefault((row.target, protocol_name(row), head_name(row)), {})[row.features_words] = cell
    heading = ["target", "protocol", "head", *kinds]
    table = [heading, ["---"] * 3 + ["---:"] * len(kinds)]
    table += [[*map(_cell, about), *(cells.get(kind, "") for kind in kinds)] for about, cells in lines.items()]
    said = ["Accuracy, or what the protocol names, in %, ± 95 % interval over episodes, else over images."]
    said += ["\n".join("| " + " | ".join(line) + " |" for line in table)]
    return "\n\n".join([*said, *remarks(rows)])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
