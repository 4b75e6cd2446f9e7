"""torch.compile and second derivatives do not go together."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from metatc2.errors import InputError

SENTENCE = (
    "torch.compile cannot be used inside an inner loop: what it makes has no second derivative; pass the module or function "
    "uncompiled (encoders of self-supervised learners may be compiled, since there the inner loop works on features)"
)


def refuse_compiled(what: object) -> None:
    """Refuse what torch.compile made.

    Raises:
        InputError: if `what`, or a part of it where it is a module, is compiled.
    """
    parts: Iterable[object] = what.modules() if isinstance(what, nn.Module) else [what]
    compiled: type = torch._dynamo.OptimizedModule
    if any(isinstance(part, compiled) or hasattr(part, "_torchdynamo_orig_callable") for part in parts):
        raise InputError(SENTENCE)
