"""A linear map of every kind of task, on shared factors."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from metatc2.calibration import orthogonality
from metatc2.calibration.factor_network import orthonormal
from metatc2.conditioning.base import ToldProjector
from metatc2.conditioning.registry import ToldSettings, register_projector
from metatc2.episodes import TaskIdentity


class LinearMaps(ToldProjector):
    """``z̃ = (c ⊙ 2σ(m_kind) + c B_kind) V``, c = z Vᵀ, then a projector for all: what TC²'s linear weights would be if told.

    The control of `metatc2.learners.TaskTC2` with ``weights="linear"``: the same map, learned for each kind in place of being
    adapted on each task's support. m and B start at 0.

    Args:
        projector: ``(tasks, samples, views, d)`` → the embedding; shared.
        dim: d.
        kinds: how many maps.
        factors: K of V, its rows normalized and orthonormal at the start.
        orthogonality: λ_o, weight of `metatc2.calibration.orthogonality` of V in `penalty`.
        speed: m is ``speed`` times its parameter, as in `LearnedMasks`.
        generator: V is drawn from it.

    Raises:
        InputError: in use, see `ToldProjector.kinds_of`.

    >>> from metatc2.models.heads import Projector
    >>> identity = TaskIdentity(torch.tensor([1, 0, 1]), ("place", "color"), torch.zeros(3, 0))
    >>> maps = LinearMaps(Projector(64, 256, 128), 64, kinds=2, factors=48)
    >>> maps(torch.randn(3, 16, 2, 64), identity).shape
    torch.Size([3, 16, 2, 128])
    """

    def __init__(
        self,
        projector: nn.Module,
        dim: int,
        *,
        kinds: int,
        factors: int,
        orthogonality: float = 1.0,
        speed: float = 10.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(kinds)
        self.projector, self.orthogonality, self.speed = projector, orthogonality, speed
        self.basis = nn.Parameter(orthonormal(dim, factors, generator))
        self.logits = nn.Parameter(torch.zeros(kinds, factors))
        self.mixing = nn.Parameter(torch.zeros(kinds, factors, factors))

    def no_weight_decay(self) -> set[str]:
        """Rows of V are normalized, and maps have no decay where TC² has them."""
        return {"logits", "basis", "mixing"}

    def forward(self, z: Tensor, identity: TaskIdentity) -> Tensor:
        """``(tasks, samples, views, d)`` to the projector's ``(tasks, samples, views, D)``."""
        kinds = self.kinds_of(z, identity)
        v = normalize(self.basis, dim=-1)
        codes = z @ v.mT
        gates = 2 * (self.speed * self.logits[kinds]).sigmoid()
        weighed = codes * gates[:, None, None] + (codes.flatten(1, 2) @ self.mixing[kinds]).view_as(codes)
        result: Tensor = self.projector(weighed @ v)
        return result

    def penalty(self) -> Tensor:
        """``λ_o ‖V Vᵀ − I‖²_F / K``."""
        return self.orthogonality * orthogonality(normalize(self.basis, dim=-1))


@register_projector("linear-map")
def build(settings: ToldSettings) -> LinearMaps:
    """See `build_told`."""
    s = settings
    return LinearMaps(
        s.projector,
        s.dim,
        kinds=s.kinds,
        factors=s.factors or max(1, 3 * s.dim // 4),
        orthogonality=s.orthogonality,
        speed=s.speed,
        generator=s.generator,
    )
