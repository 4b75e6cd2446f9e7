"""A module as a pure function of its parameters, under an explicit policy for batch normalization."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from metatc2.errors import InputError, nearest
from metatc2.ops import batch_norm, channels_last, in_transform
from metatc2.ops.batch_norm import BatchNormCall
from metatc2.ops.checkpointing import SENTENCE, RefuseCheckpointing
from metatc2.ops.compiled import refuse_compiled
from metatc2.ops.graph import computes_by_own_functions, leaves_of
from metatc2.ops.module_state import unchanged
from metatc2.ops.reads import Reads
from metatc2.ops.replacing import refuse_scripted, refuse_shared_memory, refuse_uninitialized, replaced
from metatc2.ops.twice import exact

#: A predicate on parameter names.
Predicate = Callable[[str], bool]
_WHAT = "a network that is called with other parameters"
NormPolicy = Literal["batch", "support", "frozen"]


class Functional:
    """Call a module with parameters that are passed in; nothing that happens inside reaches the module itself.

    Buffers are copied for every call, so what an adapted copy does to them (running statistics, the vectors of spectral
    normalization) cannot leak into the module.

    Args:
        module: any module; one that is reached by several paths and tensors that are tied are one variable.
        norm: what batch normalization normalizes by. ``"batch"``: all samples of the call, so that queries see each other
            (*transductive*, what MAML's and most released codes do). ``"support"``: the support samples alone.
            ``"frozen"``: the running statistics the module came with.
        part: name of the sub-module that is called; by default the module itself. Names of parameters are the module's.

    Raises:
        InputError: if the policy is unknown, the module has lazy layers without a shape or parameters that share memory, or
            it was compiled: torch.compile has no second derivative. In use, if the module checkpoints activations: its
            backward pass would compute them again with the module's own parameters.

    >>> module = nn.Linear(2, 1, bias=False)
    >>> Functional(module)({"weight": torch.ones(1, 2)}, torch.tensor([[1.0, 2.0]])).item()
    3.0
    """

    def __init__(self, module: nn.Module, norm: NormPolicy = "batch", *, part: str = "") -> None:
        if norm not in get_args(NormPolicy):
            raise InputError(f"unknown policy {norm!r} for batch normalization; {nearest(norm, get_args(NormPolicy))}")
        refuse_compiled(module)
        refuse_scripted(module, _WHAT)
        refuse_uninitialized(module, _WHAT)
        refuse_shared_memory(module, _WHAT)
        self.module, self.norm, self.part = module, norm, part
        called = module.get_submodule(part)
        self.normalizes = any(isinstance(each, _BatchNorm) for each in called.modules())
        self.recurrent = any(isinstance(each, nn.RNNBase) for each in called.modules())
        #: Of each layer of batch normalization, whether it is frozen; empty where none is.
        self.frozen: tuple[bool, ...] = ()

    def freeze(self) -> None:
        """From now on layers of batch normalization that are in eval mode at this moment are frozen.

        They normalize by their running statistics whatever the policy says, also after the whole module goes to eval mode.
        """
        self.frozen = tuple(not norm.training and norm.running_mean is not None for norm in self.norms)

    @property
    def norms(self) -> list[Any]:
        """The layers of batch normalization in the module."""
        return [part for part in self.module.modules() if isinstance(part, _BatchNorm)]

    @property
    def follows_policy(self) -> bool:
        """Whether there is batch normalization, and not all of it is frozen whatever the policy says."""
        return self.normalizes and not (self.frozen and all(self.frozen))

    def look(self, x: Tensor) -> None:
        """Try whether all that the module computes with can be replaced; one forward pass, which leaves it as it was.

        Args:
            x: input of the module.

        Raises:
            InputError: if the module cannot take `x` or does not return a tensor ``(N, ...)``; if it reaches a parameter or
                buffer of its own by a plain list, a closure or a default argument, so that it computes with what was to be
                replaced; if it makes parameters in its forward; or if it uses some out of the graph's sight, as autograd
                functions do that checkpoint activations.
        """
        own: list[tuple[str, Tensor]] = list(self.module.named_parameters(remove_duplicate=False))
        own += list(self.module.named_buffers(remove_duplicate=False))
        params = {
            name: p.detach().clone().requires_grad_(p.requires_grad) for name, p in self.module.named_parameters()
        }
        devices = [x.device] if x.device.type == "cuda" else []
        reads = Reads([*params.values(), *(t for _, t in own)])
        with torch.enable_grad(), torch.random.fork_rng(devices), unchanged(self.module), reads:
            out = self._tried(params, x)
            made = len(list(self.module.parameters())) - len(params)
        kind = type(self.module).__name__
        if made:
            raise InputError(f"{kind} makes parameters in its forward; call it once on a batch of its inputs first")
        leaves = {id(leaf) for leaf in leaves_of(out)}
        names = {id(t): name for name, t in own}
        if outside := (leaves | reads.identities) & names.keys():
            raise InputError(
                f"{kind} uses its parameter {names[min(outside)]!r} by a reference that is no registered attribute (a plain "
                "list, a closure), so it cannot be adapted; use the attribute in forward"
            )
        hidden = reads.identities & {id(p) for p in params.values() if p.requires_grad} - leaves
        if hidden and computes_by_own_functions(out):
            raise InputError(SENTENCE)

    def _tried(self, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
        kind = type(self.module).__name__
        try:
            out: Any = self(params, x)
        except (InputError, torch.OutOfMemoryError):
            raise
        except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise InputError(f"{kind} cannot take inputs {tuple(x.shape)}, {x.dtype}: {reason}") from error
        if not isinstance(out, Tensor) or out.ndim == 0 or len(out) != len(x):
            got = tuple(out.shape) if isinstance(out, Tensor) else f"a {type(out).__name__}"
            raise InputError(f"{kind} must return a tensor with a row for each of {len(x)} inputs, got {got}")
        return out

    def __call__(self, params: Mapping[str, Tensor], x: Tensor, support: Tensor | None = None) -> Tensor:
        """Output for `x`.

        Args:
            params: by name; parameters that are left out are the module's own.
            x: input of the module, samples first.
            support: samples that statistics are taken from under ``"support"``; by default `x` itself.
        """
        joined = support if self.norm == "support" and self.normalizes else None
        inputs = channels_last(x if joined is None else torch.cat([joined, x]))
        buffers = {name: b.clone() for name, b in self.module.named_buffers()}
        reference = len(inputs) if joined is None else len(joined)
        frozen = self._frozen_means(buffers)
        watched = _Statistics(self.norm, len(inputs), reference, frozen) if self.normalizes else RefuseCheckpointing()
        with watched, self._kernels(), replaced(self.module, {**buffers, **params}):
            called = self.module.get_submodule(self.part) if self.part else self.module
            out: Tensor = called(inputs)
        return out if joined is None else out[len(joined) :]

    def _frozen_means(self, buffers: Mapping[str, Tensor]) -> set[int]:
        """Identities of the copies of frozen layers' running means."""
        if not any(self.frozen):
            return set()
        own = {id(b): name for name, b in self.module.named_buffers()}
        return {
            id(buffers[own[id(norm.running_mean)]])
            for norm, still in zip(self.norms, self.frozen, strict=True)
            if still
        }

    def _kernels(self) -> AbstractContextManager[Any]:
        # cuDNN's recurrent kernels have no second derivative; convolutions elsewhere keep cuDNN.
        return torch.backends.cudnn.flags(enabled=False) if self.recurrent else nullcontext()


def call(module: nn.Module, tensors: Mapping[str, Tensor], *args: Any) -> Any:
    """What a module returns with other tensors in place of its own; buffers that are left out are copied.

    Args:
        module: any module; where batch normalization has a say, see `Functional`.
        tensors: parameters and buffers by name.
        args: of the module.

    Raises:
        InputError: if the module has no tensor of a name, or checkpoints activations.

    >>> call(nn.Linear(2, 1, bias=False), {"weight": torch.ones(1, 2)}, torch.tensor([1.0, 2.0])).item()
    3.0
    """
    buffers = {name: b.clone() for name, b in module.named_buffers()}
    with RefuseCheckpointing(), replaced(module, {**buffers, **tensors}):
        return module(*args)


class _Statistics(RefuseCheckpointing):
    """Replace the statistics of every ``batch_norm`` that runs inside; running statistics are never written.

    Args:
        norm: policy.
        total, reference: samples of the call, and how many of them, from the first, statistics are taken from.
        frozen: identities of the running means of layers that are frozen whatever the policy says.
    """

    def __init__(self, norm: NormPolicy, total: int, reference: int, frozen: Collection[int]) -> None:
        super().__init__()
        self.norm, self.total, self.reference, self.frozen = norm, total, reference, frozen

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.check()
        kwargs = kwargs or {}
        if function is not nn.functional.batch_norm:
            return exact(function)(*args, **kwargs)
        return self._batch_norm(BatchNormCall(*args, **kwargs))

    def _batch_norm(self, call: BatchNormCall) -> Tensor:
        x, running_mean, _, weight, bias, _, _, eps = call
        if running_mean is not None and (self.norm == "frozen" or id(running_mean) in self.frozen):
            return nn.functional.batch_norm(*call._replace(training=False))
        # Under vmap the second derivative of torch's batch_norm is wrong where its weight differs between tasks.
        if (self.norm != "support" or self.reference == self.total) and not in_transform():
            return batch_norm(x, weight, bias, eps)
        if self.norm == "support" and self.reference < self.total and len(x) != self.total:
            raise InputError(
                f"BatchNorm policy 'support' got {len(x)} rows inside the module for {self.total} samples, so it cannot tell "
                "which are support; use norm='batch' or 'frozen' for modules that fold other axes into the batch"
            )
        axes = (0, *range(2, x.ndim))
        variance, mean = torch.var_mean(
            x[: self.reference] if self.norm == "support" else x, axes, correction=0, keepdim=True
        )
        shape = (1, -1, *(1 for _ in axes[1:]))
        normal = (x - mean) * (variance + eps).rsqrt()
        if weight is not None:
            normal = normal * weight.view(shape)
        return normal if bias is None else normal + bias.view(shape)


def select(module: nn.Module, which: str | Iterable[str] | Predicate, what: str = "adapt") -> tuple[str, ...]:
    """Names of the parameters of `module` that require a gradient and match.

    Args:
        module: whose parameters.
        which: a shell pattern (``"head.*"``), several, or a predicate on names.
        what: name of the argument, for the error.

    Raises:
        InputError: if nothing matches.

    >>> select(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), "1.*")
    ('1.weight', '1.bias')
    """
    from fnmatch import fnmatchcase

    patterns = [which] if isinstance(which, str) else None if callable(which) else list(which)
    names = [name for name, p in module.named_parameters() if p.requires_grad]
    if patterns is None:
        assert callable(which)
        selected = tuple(name for name in names if which(name))
        shown = getattr(which, "__name__", "the predicate")
    else:
        selected = tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))
        shown = ", ".join(patterns)
    if not selected:
        listed = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        raise InputError(
            f"{what}: no trainable parameter matches {shown}; there are: {listed or 'none, all are frozen'}"
        )
    return selected


def inside(prefix: str, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, without it.

    >>> list(inside("encoder.", {"encoder.weight": torch.zeros(1), "head.weight": torch.zeros(1)}))
    ['weight']
    """
    return {name.removeprefix(prefix): p for name, p in params.items() if name.startswith(prefix)}
