"""MoCo (He et al., CVPR 2020, arXiv 1911.05722): negatives from a queue of earlier keys of a momentum encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.objectives.base import Embeddings, Objective, given, pair, positive
from metatc2.objectives.registry import register_objective
from metatc2.ops.numbers import Positive, PositiveCount
from metatc2.ops.precision import unit, upcast


def info_nce(
    query: Tensor, key: Tensor, negatives: Tensor, valid: Tensor | None = None, temperature: float = 0.2
) -> Tensor:
    """Cross-entropy of finding the key among the negatives, equation 1 of the paper, averaged over a task's queries.

    Args:
        query: ``(..., n, D)``.
        key: ``(..., n, D)``, the positive of each query; no gradient flows into it.
        negatives: ``(K, D)``, shared by all queries; no gradient flows into them.
        valid: bool ``(K,)``, which negatives count; all by default.
        temperature: τ.

    Returns:
        ``(...)``, one loss a task: 0 where no negative counts.

    >>> q = torch.eye(3)
    >>> info_nce(q, q, -q, temperature=0.1) < info_nce(q, q, q, temperature=0.1)
    tensor(True)
    """
    with upcast(query, key, negatives) as (query, key, negatives):
        query, key, negatives = (unit(t.to(query.dtype)) for t in (query, key.detach(), negatives.detach()))
        positive = (query * key).sum(-1, keepdim=True) / temperature
        missed = query @ negatives.mT / temperature
        if valid is not None:
            missed = missed.masked_fill(~valid, -torch.inf)
        return (torch.cat([positive, missed], -1).logsumexp(-1) - positive.squeeze(-1)).mean(-1)


@register_objective("moco")
class MoCo(Objective):
    """`info_nce` from each view to the momentum branch's other view, against a queue, averaged over both directions.

    The queue holds keys of earlier steps, of both views and all tasks, oldest overwritten first. It starts empty and
    only its filled part counts, so the first step has no negatives, a loss of 0 and no gradient. Of a step with more
    keys than the queue holds, the last ones stay.

    On the same negatives it equals lightly's ``NTXentLoss(temperature, memory_bank_size=(queue, D))``, averaged over both
    directions. lightly's queue differs: it starts full of random vectors, takes in the keys of the first direction before
    it looks at the second, and drops those of a step that reach beyond its end.

    Args:
        queue: K, keys remembered; the paper's 65 536 is for ImageNet, 4 096 is usual for small images.
        temperature: τ; 0.2 as in MoCo v2 (arXiv 2003.04297).

    Raises:
        InputError: if an option is not above 0.

    >>> moco = MoCo(queue=6)
    >>> e = Embeddings(torch.ones(1, 2, 2, 3), targets=torch.ones(1, 2, 2, 3))
    >>> moco(e).item()
    0.0
    >>> moco.update(e)
    >>> int(moco.filled), round(moco(e).item(), 4)  # four keys like the query: log 5
    (4, 1.6094)
    """

    momentum = True
    keys: Tensor
    pointer: Tensor
    filled: Tensor

    def __init__(self, queue: PositiveCount = 4096, temperature: Positive = 0.2) -> None:
        super().__init__()
        self.queue = int(positive(queue, "queue", self.name))
        self.temperature = positive(temperature, "temperature", self.name)
        # (K, D) from the first update on, when D is known.
        self.register_buffer("keys", torch.zeros(0, 0))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def per_task(self, e: Embeddings) -> Tensor:
        """Loss of every task, ``(tasks,)``."""
        q1, q2 = pair(e.projections)
        k1, k2 = pair(given(e.targets, "targets", self))
        negatives = self.keys if len(self.keys) else q1.new_zeros(0, q1.shape[-1])
        self._check_width(q1)
        valid = torch.arange(len(negatives), device=q1.device) < self.filled.to(q1.device)
        one = info_nce(q1, k2, negatives, valid, self.temperature)
        two = info_nce(q2, k1, negatives, valid, self.temperature)
        return (one + two) / 2

    @torch.no_grad()
    def update(self, e: Embeddings) -> None:
        """Queue the keys of this step."""
        targets = given(e.targets, "targets", self)
        self._check_width(targets)
        with upcast(targets) as (keys,):
            keys = unit(keys.flatten(0, -2)[-self.queue :])
        if not len(self.keys):
            self.keys = keys.new_zeros(self.queue, keys.shape[-1])
        rows = (self.pointer.to(keys.device) + torch.arange(len(keys), device=keys.device)) % self.queue
        # In place is safe: `info_nce` keeps its own normalized copy for the backward pass.
        self.keys.index_copy_(0, rows, keys.to(self.keys.dtype))
        self.pointer = (self.pointer + len(keys)) % self.queue
        self.filled = (self.filled + len(keys)).clamp_max(self.queue)

    def _check_width(self, z: Tensor) -> None:
        if len(self.keys) and self.keys.shape[1] != z.shape[-1]:
            raise InputError(
                f"moco: its queue holds keys of width {self.keys.shape[1]}, found embeddings of width {z.shape[-1]}; "
                "use a new MoCo for another projector"
            )

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        # The queue's width is only known from what is loaded. Another length K stays an error of torch's own.
        saved = state_dict.get(f"{prefix}keys")
        if isinstance(saved, Tensor) and saved.ndim == 2 and len(saved) in (0, self.queue):
            self.keys = self.keys.new_zeros(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)
