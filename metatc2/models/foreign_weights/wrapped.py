"""What torch.compile, FSDP and activation checkpointing put into names of parameters, taken out of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from metatc2.models.foreign_weights.places import DEEPEST

WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")


def unwrapped(content: Mapping[str, Any], depth: int = 0) -> tuple[Mapping[str, Any], list[str]]:
    """The same tables without what wrappers of torch put into the names of tensors, and what that was."""
    seen: dict[str, None] = {}
    clean: dict[str, Any] = {}
    for key, value in content.items():
        name = str(key)
        if isinstance(value, Tensor):
            seen |= dict.fromkeys(word for word in WRAPPERS if word in name)
            for word in WRAPPERS:
                name = name.replace(word, "")
        elif isinstance(value, Mapping) and depth < DEEPEST:
            value, inside = unwrapped(value, depth + 1)
            seen |= dict.fromkeys(inside)
        clean[name] = value
    return clean, list(seen)
