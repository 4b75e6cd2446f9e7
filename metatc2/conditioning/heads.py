"""One projector head for every kind of task."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from metatc2.conditioning.base import ToldProjector
from metatc2.conditioning.by_kind import ByKind, KindLinear, KindNorm
from metatc2.conditioning.registry import ToldSettings, register_projector
from metatc2.episodes import TaskIdentity
from metatc2.errors import InputError
from metatc2.models.heads import Projector, TaskNorm

Layer = Literal["hidden", "output"]


class TaskHeads(ToldProjector):
    """LooC's embedding spaces (Xiao et al. 2021, arXiv 2008.05659, section 3): the trunk is shared, each kind has its head.

    The paper's heads are trained on one batch with pairs that differ in one augmentation; here a task is of one kind, and only
    its own head sees it. Parameters have a leading axis of kinds and start as those of so many `Projector`, drawn one after the
    other.

    Args:
        dim, hidden, out, options: of each `Projector`.
        kinds: how many heads.

    Raises:
        InputError: if there is no kind, or the activation has parameters. In use: see `ToldProjector.kinds_of`.

    >>> identity = TaskIdentity(torch.tensor([1, 0, 1]), ("place", "color"), torch.zeros(3, 0))
    >>> TaskHeads(64, 256, 128, kinds=2)(torch.randn(3, 16, 2, 64), identity).shape
    torch.Size([3, 16, 2, 128])
    """

    def __init__(self, dim: int, hidden: int, out: int, *, kinds: int, **options: Any) -> None:
        super().__init__(kinds)
        self.parts = nn.ModuleList()
        for alike in zip(*(Projector(dim, hidden, out, **options) for _ in range(kinds)), strict=True):
            linears = [part for part in alike if isinstance(part, nn.Linear)]
            norms = [part for part in alike if isinstance(part, TaskNorm)]
            if linears:
                self.parts.append(KindLinear(linears))
            elif norms:
                self.parts.append(KindNorm(norms))
            elif any(True for _ in alike[0].parameters()):
                raise InputError(
                    f"TaskHeads: {type(alike[0]).__name__} has parameters, which all kinds would share; use an activation "
                    "without"
                )
            else:
                self.parts.append(alike[0])

    def forward(self, z: Tensor, identity: TaskIdentity) -> Tensor:
        """``(tasks, samples, views, dim)`` to ``(tasks, samples, views, out)``."""
        kinds = self.kinds_of(z, identity)
        x = z.flatten(1, 2)
        for part in self.parts:
            x = part(x, kinds) if isinstance(part, ByKind) else part(x)
        return x.view(*z.shape[:-1], -1)

    def read(self, features: Tensor, layer: Layer = "hidden") -> Tensor:
        """What all heads make of features, each row by itself: norms use their running averages.

        Args:
            features: ``(N, dim)``.
            layer: ``"hidden"``: the last activations; ``"output"``: the embeddings.

        Returns:
            ``(N, kinds · width)``, kinds outermost.

        Raises:
            InputError: if heads of one layer are asked for their hidden one.
        """
        last = max(i for i, part in enumerate(self.parts) if isinstance(part, KindLinear))
        if layer == "hidden" and not last:
            raise InputError("TaskHeads: heads of one layer have no hidden one; read layer='output', or layers=2")
        kinds = torch.arange(self.kinds, device=features.device)
        x = features.expand(self.kinds, *features.shape)
        for part in self.parts[: last if layer == "hidden" else None]:
            x = part.read(x, kinds) if isinstance(part, ByKind) else part(x)
        return x.transpose(0, 1).flatten(1)


@register_projector("heads")
def build(settings: ToldSettings) -> TaskHeads:
    """See `build_told`."""
    s = settings
    return TaskHeads(s.dim, s.hidden, s.out, kinds=s.kinds, **s.options)
