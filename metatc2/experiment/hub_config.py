"""What a ``config.json`` of timm or transformers says of images, and what it may not: another model, or where to read it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metatc2.errors import InputError
from metatc2.experiment.filled import IMAGENET

#: Arguments of timm that read files, or fetch weights.
TIMM_READS = frozenset(
    ("checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "scriptable")
)
# Keys of transformers by which a model is made of another one, by its name on the Hub, from a path or through timm; or which
# import and run more than transformers and torch.
_ELSEWHERE = TIMM_READS | {
    *("backbone", "use_timm_backbone", "use_pretrained_backbone", "backbone_kwargs", "model_args"),
    *("quantization_config", "base_model_name_or_path"),
}
# transformers writes none of these; a name with a slash would be that of compiled code on the Hub.
_KERNELS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "experts_implementation")
_ADAPTER = "adapter_config.json"
_BUILT_IN = ("eager", "sdpa", "flash_attention_2", "flex_attention")
_USUAL = (3, 224, 224)


def require_whole(content: Mapping[str, Any], file: Path) -> None:
    """Whether a folder of transformers is all that its model is made of.

    AutoModel would otherwise follow names in it: to networks of timm, which read any path and fetch without being asked, to
    adapters of other models, and to compiled code on the Hub.

    Args:
        content: of the ``config.json``.
        file: where that lies.

    Raises:
        InputError: if it names something else.

    >>> require_whole({"model_type": "vit", "backbone": None}, Path("config.json"))
    >>> require_whole({"model_type": "detr", "backbone": "resnet50"}, Path("config.json"))
    Traceback (most recent call last):
    metatc2.errors.InputError: config.json makes its model of another one (backbone = 'resnet50'), and a folder alone leads to
    no other files or code; load it by transformers in a function of yours, and name that: PACKAGE.MODULE:FACTORY
    """
    said = next(_elsewhere(content), "")
    if not said and (file.parent / _ADAPTER).exists():
        said = _ADAPTER
    if said:
        raise InputError(
            f"{file} makes its model of another one ({said}), and a folder alone leads to no other files or code; load it by "
            "transformers in a function of yours, and name that: PACKAGE.MODULE:FACTORY"
        )


def _elsewhere(content: Any) -> Iterator[str]:
    """What names something else, at any depth."""
    if isinstance(content, list):
        for each in content:
            yield from _elsewhere(each)
    if not isinstance(content, dict):
        return
    for key, value in content.items():
        of_timm = key == "model_type" and str(value).startswith("timm_")
        kernel = key in _KERNELS and value is not None and value not in _BUILT_IN
        if of_timm or kernel or (key in _ELSEWHERE and value):
            yield f"{key} = {value!r}"[:100]
        yield from _elsewhere(value)


def scale_of(mean: Any, std: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel; those of ImageNet where they are not said, or cannot be.

    >>> scale_of([0.5], [0.25]), scale_of([0.5], [0]) == scale_of(None, [1, 2]) == IMAGENET
    (((0.5,), (0.25,)), True)
    """
    means, stds = _numbers(mean), _numbers(std)
    whole = means and len(means) == len(stds) and min(stds) > 0
    return (means, stds) if whole else IMAGENET


def size_of(value: Any) -> tuple[int, int]:
    """Channels and side of ``input_size``, ``[channels, height, width]``; as timm's networks have them where it is not said.

    >>> size_of([1, 28, 28]), size_of([3]), size_of("3, 32, 32")
    ((1, 28), (3, 224), (3, 224))
    """
    whole = isinstance(value, list) and len(value) == 3 and all(type(each) is int and each > 0 for each in value)
    channels, _, side = value if whole else _USUAL
    return channels, side


def side_of(of_model: Any, about: Mapping[str, Any]) -> int:
    """Side of the images, as the model or its preprocessor says it in one of the forms of transformers.

    >>> side_of(None, {"size": {"height": 32, "width": 32}}), side_of([16, 16], {}), side_of("16", {})
    (32, 16, 224)
    """
    for value in (of_model, about.get("crop_size"), about.get("size")):
        value = next(iter(value.values()), None) if isinstance(value, Mapping) else value
        value = value[0] if isinstance(value, list | tuple) and value else value
        if type(value) is int and value > 0:
            return value
    return _USUAL[-1]


def _numbers(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list | tuple) or not all(type(each) in (int, float) for each in value):
        return ()
    try:
        made = tuple(float(each) for each in value)
    except OverflowError:
        return ()
    return made if all(map(math.isfinite, made)) else ()
