"""A projector that is given a description of the task beside the representation."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from metatc2.conditioning.base import ToldProjector
from metatc2.conditioning.registry import Statistics, ToldSettings, register_projector
from metatc2.episodes import TaskIdentity
from metatc2.errors import InputError, nearest
from metatc2.models.heads import Projector, zero_linear

How = Literal["concatenate", "film", "none"]
On = Literal["kind", "conditions"]


class ConditionedProjector(ToldProjector):
    """One projector for all tasks, conditioned on the task.

    * ``"concatenate"``: the description is appended to z (CASSLE, arXiv 2306.06082, which appends that of each view).
    * ``"film"``: scale and shift of the first norm's output, linear in the description and zero at the start
      (FiLM, Perez et al. 2018, arXiv 1709.07871, equations 1 and 2).
    * ``"none"``: not conditioned, the control of the others at the same `statistics`.

    What is appended to z is the same for all samples of a task, and so is what the first layer makes of it: a norm within
    the task would subtract it without a trace. Therefore the norms here take their statistics over the whole episode, as the
    paper's batch normalization does; FiLM, which comes after the norm, also works within tasks.

    Args:
        dim, hidden, out, options: of the `Projector`.
        kinds: how many kinds of task there are.
        conditions: P, width of the description.
        on: conditioned on the ``"kind"``, one-hot, or on the identity's ``"conditions"``.
        how: see above.
        statistics: of the norms, over the ``"episode"`` or within each ``"task"``.

    Raises:
        InputError: if a name is unknown, statistics within a task would undo the conditioning, there is no description, or
            no norm for FiLM. In use: if the description has another width; see also `ToldProjector.kinds_of`.

    >>> identity = TaskIdentity(torch.tensor([1, 0]), ("place", "color"), torch.rand(2, 5))
    >>> projector = ConditionedProjector(64, 256, 128, kinds=2, conditions=5, on="conditions", how="film")
    >>> projector(torch.randn(2, 16, 2, 64), identity).shape
    torch.Size([2, 16, 2, 128])
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        out: int,
        *,
        kinds: int,
        conditions: int = 0,
        on: On = "kind",
        how: How = "concatenate",
        statistics: Statistics = "episode",
        **options: Any,
    ) -> None:
        super().__init__(kinds)
        for word, names, what in ((on, On, "on"), (how, How, "how"), (statistics, Statistics, "statistics")):
            if word not in get_args(names):
                raise InputError(f"ConditionedProjector: unknown {what} {word!r}; {nearest(word, get_args(names))}")
        width = kinds if on == "kind" else conditions
        if width < 1:
            raise InputError(
                "ConditionedProjector: there are no conditions to be conditioned on; give their number, or on='kind'"
            )
        if how == "concatenate" and statistics == "task":
            raise InputError(
                "ConditionedProjector: norms within a task subtract what is appended to all its samples; use "
                "statistics='episode' or how='film'"
            )
        self.width, self.on, self.how, self.statistics = width, on, how, statistics
        self.projector = Projector(dim + width * (how == "concatenate"), hidden, out, **options)
        if how == "film":
            if len(self.projector) < 2:
                raise InputError("ConditionedProjector: FiLM follows a norm, and a projector of one layer has none")
            self.film = zero_linear(width, 2 * hidden)

    def forward(self, z: Tensor, identity: TaskIdentity) -> Tensor:
        """``(tasks, samples, views, dim)`` to ``(tasks, samples, views, out)``."""
        c = self.condition(z, identity)
        if self.how == "film":
            c = self.film(c)
        x, c = self._grouped(z), self._grouped(c[:, None, None].expand(*z.shape[:3], -1))
        if self.how == "concatenate":
            x = torch.cat([x, c], dim=-1)
        for i, part in enumerate(self.projector):
            x = part(x)
            if i == 1 and self.how == "film":
                scale, shift = c.chunk(2, dim=-1)
                x = x + scale * x + shift
        return x.view(*z.shape[:3], -1)

    def condition(self, z: Tensor, identity: TaskIdentity) -> Tensor:
        """What the tasks are described by, ``(tasks, P)``."""
        kinds = self.kinds_of(z, identity)
        if self.on == "kind":
            return one_hot(kinds, self.kinds).to(z.dtype)
        if identity.conditions.shape != (len(z), self.width):
            raise InputError(
                f"ConditionedProjector: conditions must be ({len(z)} tasks, {self.width}), found "
                f"{tuple(identity.conditions.shape)}; build it with conditions={identity.conditions.shape[-1]}"
            )
        return identity.conditions.to(z.dtype)

    def _grouped(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1).unsqueeze(0) if self.statistics == "episode" else x


@register_projector("concatenate")
def concatenate(settings: ToldSettings) -> ConditionedProjector:
    """See `build_told`."""
    return _built(settings, "concatenate", "kind")


@register_projector("concatenate-conditions")
def concatenate_conditions(settings: ToldSettings) -> ConditionedProjector:
    """See `build_told`."""
    return _built(settings, "concatenate", "conditions")


@register_projector("film")
def film(settings: ToldSettings) -> ConditionedProjector:
    """See `build_told`."""
    return _built(settings, "film", "kind")


@register_projector("film-conditions")
def film_conditions(settings: ToldSettings) -> ConditionedProjector:
    """See `build_told`."""
    return _built(settings, "film", "conditions")


@register_projector("unconditioned")
def unconditioned(settings: ToldSettings) -> ConditionedProjector:
    """See `build_told`."""
    return _built(settings, "none", "kind")


def _built(s: ToldSettings, how: How, on: On) -> ConditionedProjector:
    sizes = {"kinds": s.kinds, "conditions": s.conditions}
    return ConditionedProjector(s.dim, s.hidden, s.out, on=on, how=how, statistics=s.statistics, **sizes, **s.options)
