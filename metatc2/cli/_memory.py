"""Whether an exception says that memory ran out: Python, NumPy and torch each say it in their own way."""

from __future__ import annotations

import sys

# torch raises a bare RuntimeError on the CPU, and for what cuBLAS and cuDNN lack, NumPy a bare ValueError where a size
# overflows: only the text tells.
_WORDS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "STATUS_ALLOC_FAILED",
    "Storage size calculation overflowed",
    "Stride calculation overflowed",
    "integer multiplication overflow",
    "Maximum allowed dimension exceeded",
    "array is too big",
    "array size defined by dims is larger than the maximum",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` stands for more memory than there is, or than can be counted.

    >>> import torch
    >>> try:
    ...     torch.empty(2**62)
    ... except RuntimeError as error:
    ...     is_out_of_memory(error)
    True
    >>> is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    False
    """
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | ValueError) and any(words in str(error) for words in _WORDS)
