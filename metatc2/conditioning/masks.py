"""A learned mask for every kind of task, on the representation before the projector."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from metatc2.calibration import orthogonality
from metatc2.calibration.factor_network import orthonormal
from metatc2.conditioning.base import ToldProjector
from metatc2.conditioning.registry import ToldSettings, register_projector
from metatc2.episodes import TaskIdentity
from metatc2.errors import InputError, nearest

Form = Literal["sigmoid", "softmax", "sparse"]


class LearnedMasks(ToldProjector):
    """``z̃ = z ⊙ m_kind``, or ``((z Vᵀ) ⊙ m_kind) V`` on factors V that all kinds share, then a projector for all.

    * ``"sigmoid"``: ``m = 2 σ(a)``, of masks over dimensions for each augmentation (MAST, arXiv 2303.03679).
    * ``"softmax"``: ``m = K softmax(a)``: what one dimension gains, others lose.
    * ``"sparse"``: ``m = relu(a)`` with ℓ1, the masks of conditional similarity networks (Veit et al. 2017, arXiv 1603.07810).

    Scaled so that all masks are 1 at the start; the scales and this start are our reading.

    Args:
        projector: ``(tasks, samples, views, d)`` → the embedding; shared.
        dim: d.
        kinds: how many masks.
        how: see above.
        factors: K of V, its rows normalized and orthonormal at the start, at most d; None masks the dimensions themselves.
        orthogonality: λ_o, weight of `metatc2.calibration.orthogonality` of V in `penalty`.
        l1: weight of the masks' mean size in `penalty`.
        speed: the masks are ``speed`` times their parameters. Adam moves every parameter by about its learning rate
            whatever the gradient, so this is how much faster masks learn than weights.
        generator: V is drawn from it.

    Raises:
        InputError: if a name is unknown, a number out of range, or ℓ1 is asked of masks whose sum is fixed. In use: see
            `ToldProjector.kinds_of`.

    >>> from metatc2.models.heads import Projector
    >>> identity = TaskIdentity(torch.tensor([1, 0, 1]), ("place", "color"), torch.zeros(3, 0))
    >>> masked = LearnedMasks(Projector(64, 256, 128), 64, kinds=2, factors=16)
    >>> masked(torch.randn(3, 16, 2, 64), identity).shape, masked.masks().shape
    (torch.Size([3, 16, 2, 128]), torch.Size([2, 16]))
    """

    def __init__(
        self,
        projector: nn.Module,
        dim: int,
        *,
        kinds: int,
        how: Form = "sigmoid",
        factors: int | None = None,
        orthogonality: float = 1.0,
        l1: float = 0.0,
        speed: float = 10.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(kinds)
        if how not in get_args(Form):
            raise InputError(f"LearnedMasks: unknown how {how!r}; {nearest(how, get_args(Form))}")
        if factors is not None and not 1 <= factors <= dim:
            raise InputError(f"LearnedMasks: factors must be 1 to {dim}, the width of z, found {factors}")
        for name, value in (("orthogonality", orthogonality), ("l1", l1)):
            if not value >= 0:
                raise InputError(f"LearnedMasks: {name} must be at least 0, found {value}")
        if not speed > 0:
            raise InputError(f"LearnedMasks: speed must be above 0, found {speed}")
        if how == "softmax" and l1:
            raise InputError("LearnedMasks: masks of a softmax have a fixed sum, which l1 cannot change; use l1=0")
        self.projector, self.how, self.speed = projector, how, speed
        self.orthogonality, self.l1 = orthogonality, l1
        start = 1 / speed if how == "sparse" else 0.0
        self.logits = nn.Parameter(torch.full((kinds, dim if factors is None else factors), start))
        self.basis = None if factors is None else nn.Parameter(orthonormal(dim, factors, generator))

    def no_weight_decay(self) -> set[str]:
        """Masks have a penalty of their own, and rows of V are normalized."""
        return {"logits", "basis"}

    def forward(self, z: Tensor, identity: TaskIdentity) -> Tensor:
        """``(tasks, samples, views, d)`` to the projector's ``(tasks, samples, views, D)``."""
        mask = self.masks()[self.kinds_of(z, identity)][:, None, None]
        v = self.factors()
        masked = z * mask if v is None else ((z @ v.mT) * mask) @ v
        result: Tensor = self.projector(masked)
        return result

    def masks(self) -> Tensor:
        """m, ``(kinds, K)``."""
        a = self.speed * self.logits
        if self.how == "sigmoid":
            return 2 * a.sigmoid()
        return a.relu() if self.how == "sparse" else a.softmax(-1) * a.shape[-1]

    def factors(self) -> Tensor | None:
        """V with rows of length 1, ``(K, d)``; None where the dimensions themselves are masked."""
        return None if self.basis is None else normalize(self.basis, dim=-1)

    def penalty(self) -> Tensor:
        """``λ_o ‖V Vᵀ − I‖²_F / K + l1 · mean |m|``."""
        loss = self.l1 * self.masks().abs().mean()
        v = self.factors()
        return loss if v is None else loss + self.orthogonality * orthogonality(v)


@register_projector("mask-sigmoid")
def mask_sigmoid(settings: ToldSettings) -> LearnedMasks:
    """See `build_told`."""
    return _built(settings, "sigmoid")


@register_projector("mask-softmax")
def mask_softmax(settings: ToldSettings) -> LearnedMasks:
    """See `build_told`."""
    return _built(settings, "softmax")


@register_projector("mask-sparse")
def mask_sparse(settings: ToldSettings) -> LearnedMasks:
    """See `build_told`."""
    return _built(settings, "sparse")


def _built(s: ToldSettings, how: Form) -> LearnedMasks:
    return LearnedMasks(
        s.projector,
        s.dim,
        kinds=s.kinds,
        how=how,
        factors=s.factors,
        orthogonality=s.orthogonality,
        l1=s.l1,
        speed=s.speed,
        generator=s.generator,
    )
