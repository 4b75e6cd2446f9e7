"""`InnerLoop`: adapt parameters by a differentiable optimizer."""

from __future__ import annotations

import copy
import importlib
import warnings
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import torchopt

from metatc2.errors import InputError
from metatc2.inner._probe import probe
from metatc2.inner.adjoints.base import Adjoint
from metatc2.inner.adjoints.unroll import Unroll
from metatc2.inner.solver import Descent, Given, InnerLoss, Params, Rates
from metatc2.ops.compiled import refuse_compiled
from metatc2.ops.picklable import as_copyable, check_picklable


@dataclass(frozen=True)
class InnerLoop:
    """Adapt a dictionary of parameters by some steps of a torchopt optimizer, differentiably.

    Args:
        optimizer: any torchopt transformation: ``torchopt.sgd(0.1)``, ``torchopt.adam(0.01)``,
            ``clip_norm(1.0).chain(torchopt.sgd(0.1))``.
        steps: number of updates, ≥ 0.
        adjoint: how to differentiate: `Unroll` (exact), `Recompute` (exact, flat memory), `Truncated`, `FirstOrder`,
            `Implicit` or `EvolutionStrategies`.

    The optimizer is tried once on three numbers when the loop is made, because torchopt 0.7.3 has traps that otherwise show
    as NaN or as silently wrong meta-gradients:

    * Where a gradient is exactly zero (a dead ReLU), Adam, AdamW, RMSProp and AdaGrad with ``eps_root = 0`` divide by zero
      *in the backward pass*. The loop then treats such an entry as a constant for the derivative, so it contributes zero
      in place of NaN.
    * The fused operator (``use_accelerated_op=True``) leaves ``eps_root`` out of its derivative: refused under an adjoint
      that needs the derivative. Where its compiled part does not load with the installed torch, torchopt falls back to
      Python without a word: a `RuntimeWarning` says so.
    * ``clip_grad_norm`` of torchopt ignores the derivative of the norm: refused likewise; `clip_norm` is exact.
    * Momentum with dampening keeps a hidden flag, so that a second inner loop differs from the first: refused.

    A loop can be deep-copied, whatever its optimizer. It can be pickled, and a module that holds it saved whole, if its
    optimizer can: those of `inner_optimizer`, `clip_norm` and `picklable` can, those that torchopt makes directly cannot.

    Raises:
        InputError: if `steps` is negative or the optimizer is one of those; in pickling, if the optimizer cannot be pickled.

    >>> import torch
    >>> loop = InnerLoop(torchopt.sgd(lr=0.25), steps=1)
    >>> start = torch.tensor(2.0, requires_grad=True)
    >>> adapted = loop(lambda p: p["w"] ** 2, {"w": start})["w"]      # w - 0.25 * 2w = w / 2
    >>> adapted.item(), torch.autograd.grad(adapted, start)[0].item()
    (1.0, 0.5)
    """

    optimizer: torchopt.base.GradientTransformation
    steps: int
    adjoint: Adjoint = field(default_factory=Unroll)
    _guard: bool = field(init=False, repr=False, compare=False, default=False)

    def __post_init__(self) -> None:
        if not isinstance(self.steps, int) or isinstance(self.steps, bool) or self.steps < 0:
            raise InputError(f"InnerLoop: steps must be a whole number ≥ 0, got {self.steps!r}")
        if not isinstance(self.optimizer, torchopt.base.GradientTransformation):
            raise InputError(
                f"InnerLoop: optimizer must be a torchopt transformation such as torchopt.sgd(0.1), got "
                f"{_shown(self.optimizer)}; optimizers "
                "that hold parameters (torch.optim.SGD, torchopt.MetaSGD) cannot be differentiated here"
            )
        if not isinstance(self.adjoint, Adjoint):
            raise InputError(
                f"InnerLoop: adjoint must be one such as Unroll() or FirstOrder(), got {_shown(self.adjoint)}"
            )
        _refuse_inference_mode()
        properties = probe(self.optimizer)
        if properties.hidden_state:
            raise InputError(
                "InnerLoop: this optimizer keeps state between inner loops (torchopt's momentum with dampening does), "
                "so the second loop would differ from the first; set dampening=0"
            )
        if self.adjoint.differentiates_update and not properties.derivative_is_right:
            raise InputError(
                "InnerLoop: the derivative of this optimizer's update is missing or wrong (torchopt's clip_grad_norm "
                "and use_accelerated_op=True with eps_root are so); use metatc2.inner.clip_norm and "
                "use_accelerated_op=False, or the FirstOrder adjoint"
            )
        if properties.fused and not compiled_operator_loads():
            warnings.warn(
                "torchopt's compiled operator does not load with the installed torch, so use_accelerated_op=True runs "
                "its slower Python version; leave use_accelerated_op out",
                RuntimeWarning,
                stacklevel=3,
            )
        object.__setattr__(self, "_guard", properties.singular_at_zero)
        object.__setattr__(self, "optimizer", as_copyable(self.optimizer))

    def __copy__(self) -> InnerLoop:
        return self  # frozen; without this, what cannot be pickled could not be copied either

    def __deepcopy__(self, memo: dict[int, Any]) -> InnerLoop:
        made = object.__new__(type(self))
        memo[id(self)] = made
        made.__dict__.update({name: copy.deepcopy(value, memo) for name, value in self.__dict__.items()})
        return made

    def __getstate__(self) -> dict[str, Any]:
        check_picklable(self.optimizer)
        return self.__dict__

    def __call__(self, loss: InnerLoss, params: Params, *given: Given, rates: Rates | None = None) -> Params:
        """Parameters after `steps` updates, connected to `params` and to all that `loss` depends on, as the adjoint says.

        Args:
            loss: ``loss(params, *given)``, a scalar; called once a step.
            params: where to start; never changed.
            given: tensors, or dictionaries of them, that the loss depends on besides. Most adjoints also see what the loss
                takes from its surroundings; `Implicit` and `EvolutionStrategies` differentiate only what is given here.
            rates: ``rates(k)`` gives factors for the updates of step k by parameter name (Meta-SGD, MAML++).

        Raises:
            InputError: if the loss does not depend on the parameters.
            InnerLoopDiverged: if the loss is not finite.
        """
        path = self.path(loss, params, *given, rates=rates)
        return path[-1] if path else params

    def path(self, loss: InnerLoss, params: Params, *given: Given, rates: Rates | None = None) -> tuple[Params, ...]:
        """The parameters after each step, for losses that look at all of them (MAML++); arguments as in `__call__`."""
        if not isinstance(params, dict):
            raise InputError(
                f"InnerLoop: params must be a dictionary of tensors, got {type(params).__name__}; use "
                "dict(module.named_parameters())"
            )
        _refuse_inference_mode()
        if self.adjoint.differentiates_update:
            refuse_compiled(loss)
        return self.adjoint.path(Descent(loss, self.optimizer, self.steps, self._guard, rates), params, given)


def _refuse_inference_mode() -> None:
    if torch.is_inference_mode_enabled():
        raise InputError("InnerLoop: torch.inference_mode() forbids the inner gradient; use torch.no_grad()")


def _shown(value: object) -> str:
    return str(getattr(value, "__name__", repr(value)))


@cache
def compiled_operator_loads() -> bool:
    """True if torchopt's compiled extension can be imported beside the installed torch."""
    try:
        importlib.import_module("torchopt._C")
    except ImportError:
        return False
    return True
