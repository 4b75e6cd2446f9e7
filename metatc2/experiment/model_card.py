"""The model card of an exported encoder: what it is, how to load it, how well it transfers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from metatc2.errors import InputError
from metatc2.experiment.config import Config, PythonConfig, method_name
from metatc2.experiment.own_network import TORCH_HUB
from metatc2.experiment.pretrained import Pretrained
from metatc2.experiment.zoo import code_of
from metatc2.io.plain_text import brief, visible
from metatc2.models.python import TRUST
from metatc2.transfer import Row
from metatc2.transfer.row_words import head_name, protocol_name, remarks

if TYPE_CHECKING:
    from metatc2.experiment.export_formats import Exported

_LICENSE = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*\+*")
# What Markdown reads as more than a character, inside a line.
_ACTS = re.compile(r"[\\`*_<>\[\]|!&]")
_IMPORTS = {
    "encoder.pt2": "import torch",
    "encoder.onnx": "import onnxruntime",
    "torchvision.pth": "import torch\nimport torchvision",
    "timm.safetensors": "import timm\nimport torch",
}


def check_license(license: str | None) -> None:
    """Asked before the work.

    Raises:
        InputError: if it is no identifier of the Hub.

    >>> check_license("MIT")
    Traceback (most recent call last):
    metatc2.errors.InputError: export: license 'MIT' is no identifier of the Hub, which has small letters, digits, points and
    hyphens alone; write it as mit, apache-2.0 or other
    """
    if license is not None and _LICENSE.fullmatch(license) is None:
        raise InputError(
            f"export: license {brief(license)!r} is no identifier of the Hub, which has small letters, digits, points and "
            "hyphens alone; write it as mit, apache-2.0 or other"
        )


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
        f"It takes images {channels} × {size} × {size} in [0, 1].",
        "## Load it",
        *_loading(encoder, named=config is not None or bool(encoder.network)),
    ]
    for each in exported:
        parts.append(f"`{each.name}` (checked: its features differ by at most {each.difference:.1e} of the largest):")
        parts.append(_block(f"{_IMPORTS[each.name]}\n\n{each.how}"))
    parts += ["## Transfer", *_table(rows)]
    stated = f"{license}." if license else "None was stated; ask whoever trained it, and whose data it learned from."
    parts += ["## License", stated]
    if config is not None:
        own = isinstance(config.learner, PythonConfig)
        what = "What is known of a training by a program of its author's" if own else "The whole configuration"
        parts.append(f"{what} is in `config.json`.")
    return "\n\n".join(parts) + "\n"


def _loading(encoder: Pretrained, *, named: bool) -> list[str]:
    if not named:
        return [
            "Its network has no name that commands or `from_pretrained` make it by; whoever has its code loads the weights:",
            _block(
                "from safetensors.torch import load_file\n\n"
                'network.load_state_dict(load_file("FOLDER/model.safetensors"))'
            ),
        ]
    if encoder.network.startswith(f"{TORCH_HUB}:"):
        name = f"{encoder.network}@FOLDER/model.safetensors"
        return [
            "Its network is code of a clone, which whoever loads it names:",
            _block(
                f"from metatc2.experiment.load import load_pretrained\n\nencoder = load_pretrained({name!r}).encoder"
            ),
        ]
    block = _block(
        "from metatc2.experiment.hub import from_pretrained\n\n"
        'encoder = from_pretrained("FOLDER or OWNER/NAME").encoder'
    )
    module = code_of(encoder.network)
    if not module:
        return [block]
    return [
        block,
        f"Its network, {_code(encoder.network)}, is code that must be installed; it is imported only where the environment "
        f"says `{TRUST}={module}`.",
    ]


def _about(encoder: Pretrained, config: Config | None) -> str:
    network = encoder.network or type(encoder.encoder).__name__
    if config is None:
        return f"Encoder {_code(network)}, trained on {_code(encoder.source)}."
    data = config.data
    return (
        f"{_text(method_name(config))}, encoder {_code(network)}, pre-trained on {_code(data.source)} "
        f"({_text(data.split)}) for {encoder.compute.get('steps', config.trainer.steps):g} steps, seed {config.trainer.seed}."
    )


def _block(code: str) -> str:
    return f"```python\n{code}\n```"


def _table(rows: Sequence[Row]) -> list[str]:
    """One line a target, protocol and head, one column for each kind of features."""
    if not rows:
        return ["Not measured."]
    kinds = list(dict.fromkeys(row.features_words for row in rows))
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in rows:
        cell = f"{100 * row.mean:.1f} ± {100 * row.ci95:.1f}"
        lines.setdefault((row.target, protocol_name(row), head_name(row)), {})[row.features_words] = cell
    heading = ["target", "protocol", "head", *map(_text, kinds)]
    table = [heading, ["---"] * 3 + ["---:"] * len(kinds)]
    table += [[*map(_text, about), *(cells.get(kind, "") for kind in kinds)] for about, cells in lines.items()]
    said = ["Accuracy, or what the protocol names, in %, ± 95 % interval over episodes, else over images."]
    said += ["\n".join("| " + " | ".join(line) + " |" for line in table)]
    return [*said, *map(_text, remarks(rows))]


def _text(text: str) -> str:
    r"""Text from outside, as Markdown shows it: no link, image, tag or column of it.

    >>> print(_text("folder:a|b <img src=x> [c](d)"))
    folder:a\|b \<img src=x\> \[c\](d)
    """
    return _ACTS.sub(lambda match: f"\\{match[0]}", visible(text))


def _code(text: str) -> str:
    """Likewise as code, between more backticks than it has in a row.

    >>> print(_code("folder:a"), _code("a`b"))
    `folder:a` `` a`b ``
    """
    shown = visible(text)
    longest = max(map(len, re.findall("`+", shown)), default=0)
    space = " " * bool(longest)
    return f"{'`' * (longest + 1)}{space}{shown}{space}{'`' * (longest + 1)}"
