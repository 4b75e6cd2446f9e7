"""A step that was not finite, made again: which tensor is the first that is not."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from metatc2.ops.transforms import in_transform
from metatc2.training.failure import Failure
from metatc2.training.outer_step import TrainingDiverged
from metatc2.training.trainer import Trainer


@dataclass(frozen=True)
class Replayed:
    """What came of a step that was made again.

    Args:
        error: what was said of it this time; None where it is finite now.
        loss: its value; None where there was none.
        not_finite: what was not finite, in the order in which it became so: a sentence each.
        trace: with anomaly detection, the lines of the forward pass that made what has a gradient that is not finite.
    """

    error: str | None
    loss: float | None
    not_finite: list[str] = field(default_factory=list)
    trace: str = ""


def replay(trainer: Trainer, failure: Failure, *, anomaly: bool = False) -> Replayed:
    """Make a step again, as it was made, and watch every module.

    The trainer's learner is used up: its state is replaced, and moved by the step if that is finite now. Optimizers begin anew.

    Args:
        trainer: of the same learner and options; its sampler is not asked.
        failure: see `metatc2.training.failure.load_failure`.
        anomaly: also have autograd look at every gradient (slower), which names the operation.

    Raises:
        RuntimeError: if the state does not fit the learner.
    """
    learner = trainer.learner
    learner.load_state_dict(dict(failure.learner))
    not_finite = _NotFinite()
    for kind, tensors in (("parameter", learner.named_parameters()), ("buffer", learner.named_buffers())):
        for name, tensor in tensors:
            not_finite.look(tensor.detach(), f"{kind} {name}, before the step")
    torch.set_rng_state(failure.random["cpu"])
    if "cuda" in failure.random and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(failure.random["cuda"])
    trainer.step = failure.step
    episode = failure.episode.to(trainer.fabric.device)
    with _watched(learner, not_finite), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            with torch.autograd.set_detect_anomaly(anomaly, check_nan=anomaly):
                outcome = trainer.train_step(failure.step, episode)
        except TrainingDiverged as error:
            not_finite.gradients(learner)
            return Replayed(str(error), None, not_finite.sentences)
        except RuntimeError as error:
            if not anomaly or "returned nan" not in str(error):
                raise
            # The trace of the forward pass comes as a warning.
            trace = "\n".join(str(w.message) for w in said if "Traceback of forward call" in str(w.message))
            return Replayed(str(error), None, not_finite.sentences, trace)
    for name, tensor in learner.named_parameters():
        not_finite.look(tensor.detach(), f"parameter {name}, after the step")
    return Replayed(None, float(outcome.loss.detach()), not_finite.sentences)


class _NotFinite:
    """Sentences about what is not finite, in order."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def look(self, tensor: Any, what: str, so_far: str = "") -> bool:
        """Whether a tensor is finite; a sentence is kept of one that is not."""
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or in_transform():
            return True  # under vmap nothing can be looked at
        bad = int((~tensor.detach().isfinite()).sum())
        if not bad:
            return True
        nan = int(tensor.detach().isnan().sum())
        kinds = " and ".join(words for words, n in ((f"{nan} NaN", nan), (f"{bad - nan} infinite", bad - nan)) if n)
        self.sentences.append(f"{what} {tuple(tensor.shape)}: {kinds} of {tensor.numel()} values{so_far}")
        return False

    def gradients(self, learner: nn.Module) -> None:
        """Of parameters, after a backward pass."""
        for name, parameter in learner.named_parameters():
            if parameter.grad is not None:
                self.look(parameter.grad, f"gradient of the parameter {name}")


@contextmanager
def _watched(learner: nn.Module, not_finite: _NotFinite) -> Iterator[None]:
    """Look at what goes into every module, what comes out, and the gradient of what came out."""
    handles = [
        module.register_forward_hook(_hook(name or "the learner", not_finite))
        for name, module in learner.named_modules()
        if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(name: str, not_finite: _NotFinite) -> Callable[..., None]:
    def look(module: nn.Module, given: tuple[Any, ...], made: Any) -> None:
        kind = type(module).__name__
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor):
                bad_in = any(isinstance(x, Tensor) and x.is_floating_point() and _is_bad(x) for x in given)
                so_far = "; what went in was not finite either" if bad_in else "; what went in was finite"
                not_finite.look(tensor, f"output of {name} ({kind})", so_far)
                if tensor.requires_grad:
                    tensor.register_hook(
                        partial(_look_at_gradient, not_finite, f"gradient of the output of {name} ({kind})")
                    )

    return look


def _look_at_gradient(not_finite: _NotFinite, what: str, gradient: Tensor) -> None:
    not_finite.look(gradient, what)


def _is_bad(tensor: Tensor) -> bool:
    return not in_transform() and not bool(tensor.detach().isfinite().all())
