"""One inner optimization as a value: what an adjoint is given to run, one differentiable step at a time."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torchopt
from torch import Tensor

from metatc2.errors import InputError
from metatc2.ops import checkpointing, compiled, in_rehearsal, in_transform
from metatc2.ops.twice import ExactOperations, math_attention

Params = dict[str, Tensor]
Given = Tensor | Params
InnerLoss = Callable[..., Tensor]
Rates = Callable[[int], Params]


class InnerLoopDiverged(ArithmeticError):
    """The inner loss is no longer finite. The message names the step, and inside a learner the task."""


@dataclass(frozen=True)
class Descent:
    """What to minimise, by which optimizer, for how many steps.

    Args:
        loss: ``loss(params, *given)``, a scalar.
        optimizer: torchopt transformation.
        steps: number of updates.
        guard: the optimizer's derivative is NaN at a gradient of exactly zero; see `InnerLoop`.
        rates: factors for the updates of a step, by parameter name, each of a shape that broadcasts to the parameter's.
    """

    loss: InnerLoss
    optimizer: torchopt.base.GradientTransformation
    steps: int
    guard: bool = False
    rates: Rates | None = None

    def begin(self, params: Params) -> Any:
        """State of the optimizer before the first step; under vmap it is left to that step."""
        return (
            None
            if in_transform()
            else _counted(self.optimizer.init({n: p.detach() for n, p in params.items()}), params)
        )

    def step(
        self, k: int, params: Params, state: Any, given: Sequence[Given], *, graph: bool
    ) -> tuple[Params, Any, Tensor]:
        """Parameters and state after step `k` (from 0), and the loss before it.

        Args:
            k: which step.
            params: tensors that require a gradient.
            state: of the optimizer.
            given: what the loss depends on besides.
            graph: whether the gradient keeps its own graph, so that it can be differentiated again.
        """
        partial, value = _gradients(lambda p: self.loss(p, *given), params, graph=graph)
        unused = {name for name, g in partial.items() if g is None}
        gradients = {name: torch.zeros_like(params[name]) if g is None else g for name, g in partial.items()}
        if state is None:
            # Under vmap moments have to be batched from the start, as gradients are and parameters are not yet.
            batched = {n: torch.zeros_like(g) + params[n].detach() for n, g in gradients.items()}
            state = _counted(self.optimizer.init(batched), params)
        if self.guard and graph:
            gradients = {name: torch.where(g == 0, g.detach(), g) for name, g in gradients.items()}
        with _without_word_of_fallback() if in_transform() else nullcontext():
            updates, moved = self.optimizer.update(gradients, state, params=params, inplace=False)
        if in_rehearsal():
            _refuse_moving(updates, unused)
        if self.rates is not None:
            factors = self.rates(k)
            updates = {name: update * factors[name] for name, update in updates.items()}
        after = {name: p if name in unused else p + updates[name] for name, p in params.items()}
        return after, _state_kept(state, moved, list(params), unused) if unused else moved, value


def descend(
    descent: Descent, params: Params, given: Sequence[Given], *, graph: Callable[[int], bool]
) -> tuple[Params, ...]:
    """All iterates, the start left out; the gradients of the steps for which `graph` says so keep their graph.

    Raises:
        InnerLoopDiverged: if a loss is not finite.
    """
    # The inner loop needs gradients also where the caller evaluates without them (transfer, validation).
    outer_graph = torch.is_grad_enabled()
    path, values = [], []
    with torch.enable_grad(), math_attention():
        current, state = trainable(params, connected=outer_graph), descent.begin(params)
        for k in range(descent.steps):
            current, state, value = descent.step(k, current, state, given, graph=outer_graph and graph(k))
            if not outer_graph:
                current = trainable(current, connected=False)
            path.append(current)
            values.append(value.detach())
    check_finite(values)
    return tuple(path if outer_graph else ({name: p.detach() for name, p in now.items()} for now in path))


def _refuse_moving(updates: Params, unused: Collection[str]) -> None:
    for name in (name for name in unused if bool((updates[name] != 0).any())):
        raise InputError(
            f"the inner loss does not reach {name!r}, and this inner optimizer would move it all the same (weight decay), "
            "which under vmap nothing can prevent; leave it out of what adapts, or take tasks one by one (vmap_chunk=1)"
        )


def _state_kept(before: Any, after: Any, names: list[str], unused: Collection[str]) -> Any:
    """State of the optimizer after a step, as it was before for parameters that the loss does not reach.

    As in torch.optim, which leaves out parameters without a gradient: no decay, no momentum, no count.
    """
    # torchopt keeps a list over the parameters, in the order in which a dictionary of them is flattened.
    named: Any = {name: name for name in names}
    order: Any = torchopt.pytree.tree_leaves(named)

    def merged(old: Any, new: Any) -> Any:
        if isinstance(new, dict) and new.keys() == set(names):
            return {name: old[name] if name in unused else new[name] for name in new}
        if isinstance(new, list) and len(new) == len(order):
            return [o if name in unused else n for name, o, n in zip(order, old, new, strict=True)]
        if isinstance(new, tuple):
            parts = [merged(o, n) for o, n in zip(old, new, strict=True)]
            return type(new)(*parts) if hasattr(new, "_fields") else tuple(parts)
        return new

    return merged(before, after)


def _counted(state: Any, params: Params) -> Any:
    """Counts of steps as float64 where the parameters are: torchopt raises decays to their power, in torch's default dtype
    while they are whole numbers, which leaves Adam's correction for bias with seven digits."""
    if not any(p.dtype == torch.float64 for p in params.values()):
        return state

    def exact(t: Any) -> Any:
        return t.double() if isinstance(t, Tensor) and t.dtype == torch.int64 else t

    return torchopt.pytree.tree_map(exact, state)


@contextmanager
def _without_word_of_fallback() -> Iterator[None]:
    # Adam's update falls back to a loop over tasks under vmap, and torch says so; beside the network it costs nothing.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        yield


def trainable(params: Params, *, connected: bool = True) -> Params:
    """The same tensors where they require a gradient, else detached ones that do.

    Args:
        params: by name.
        connected: whether a graph is wanted; where none is, all are detached. (A slice made under ``no_grad`` claims to require
            a gradient, but what is computed from it is recorded for the tensor it was cut from.)
    """
    if in_transform():
        return params if connected else {name: p.detach() for name, p in params.items()}
    if not connected:
        return {name: p.detach().requires_grad_() for name, p in params.items()}
    ready = {name: p if p.requires_grad else p.detach().requires_grad_() for name, p in params.items()}
    # Tensors computed from one another (a calibrator adapted on an encoder's features, and that encoder) are independent
    # variables to the loop: a view gives each a place of its own in the graph.
    related = any(not p.is_leaf for p in ready.values())
    return {name: p.view_as(p) for name, p in ready.items()} if related else ready


def check_finite(values: Sequence[Tensor]) -> None:
    """Look at the losses of all steps at once, so that a GPU is waited for only once.

    Raises:
        InnerLoopDiverged: naming the first step whose loss is not finite.
    """
    # Under vmap a value is many values at once and Python cannot branch on it; the learner looks at its loss instead.
    if not values or in_transform():
        return
    bad = ~torch.stack(list(values)).isfinite()
    if bool(bad.any()):
        step = int(bad.nonzero()[0]) + 1
        raise InnerLoopDiverged(
            f"the inner loss is NaN or infinite at step {step} of {len(values)}; use a smaller inner learning rate or "
            "clip the gradient (metatc2.inner.clip_norm)"
            + (", or look at the data: not even the start is finite" * (step == 1))
        )


def gradients_of(loss: Callable[[Params], Tensor], params: Params, *, graph: bool) -> tuple[Params, Tensor]:
    """Gradients of a scalar loss for its parameters, and its value.

    Args:
        loss: of a dictionary of parameters.
        params: that require a gradient.
        graph: whether the gradients keep their own graph.

    Raises:
        InputError: if the loss is not a scalar or does not depend on the parameters.
    """
    partial, value = _gradients(loss, params, graph=graph)
    return {name: torch.zeros_like(params[name]) if g is None else g for name, g in partial.items()}, value


def _gradients(
    loss: Callable[[Params], Tensor], params: Params, *, graph: bool
) -> tuple[dict[str, Tensor | None], Tensor]:
    """As `gradients_of`; None for parameters that the loss does not reach (under vmap, where that cannot be told, zero)."""
    if in_transform():
        # torch.autograd.grad does not see tensors under vmap; torch.func.grad does, and always keeps its graph.
        with ExactOperations():
            functional, value = torch.func.grad_and_value(loss)(params)
        return (functional if graph else {name: g.detach() for name, g in functional.items()}), value
    with ExactOperations():
        value = loss(params)
    if not isinstance(value, Tensor) or value.ndim != 0:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"inner loss must be a scalar tensor, got {got}; take the mean over samples")
    if not value.requires_grad:
        raise InputError(
            "inner loss does not depend on the adapted parameters; compute it from the dictionary that it is given "
            "(metatc2.ops.functional.call) and not from the module's own parameters"
        )
    gradients = gradient(value, list(params.values()), create_graph=graph)
    if all(g is None for g in gradients):
        raise InputError(
            "inner loss does not depend on any adapted parameter "
            f"({', '.join(list(params)[:4])}{', ...' if len(params) > 4 else ''}); "
            "compute it from the dictionary that it is given"
        )
    return dict(zip(params, gradients, strict=True)), value


def gradient(value: Tensor, inputs: Sequence[Tensor], *, create_graph: bool = False) -> tuple[Tensor | None, ...]:
    """Gradient of a scalar for some tensors, None where it does not depend on them.

    Raises:
        InputError: if it was computed by what has no (second) derivative here: compiled code, checkpointed activations.
    """
    try:
        return torch.autograd.grad(value, inputs, create_graph=create_graph, allow_unused=True)
    except RuntimeError as error:
        for word, sentence in (("double backward", compiled.SENTENCE), ("checkpoint", checkpointing.SENTENCE)):
            if word in str(error):
                raise InputError(sentence) from error
        if missing := re.search(r"derivative for '?([\w:]+)'? is not implemented", str(error)):
            raise InputError(
                f"torch has no second derivative of an operation in this loss ({missing[1]}); put another layer in its "
                "place, or use the adjoint FirstOrder"
            ) from error
        raise
