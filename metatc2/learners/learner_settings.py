"""The options with which a learner can be made again: found out, and believed once what they make predicts the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchopt.base import GradientTransformation

from metatc2.errors import InputError
from metatc2.inner import InnerLoop
from metatc2.inner.optimizers import INNER_OPTIMIZERS, clip_norm, inner_optimizer
from metatc2.io.options import show
from metatc2.learners._heads import head_loop
from metatc2.learners.meta_learner import LabeledLearner
from metatc2.learners.options import LearnerOptions, Tasks
from metatc2.learners.registry import LEARNERS, build_labeled, entry_of
from metatc2.models.heads import Classifier
from metatc2.ops.module_state import copied
from metatc2.ops.picklable import Picklable
from metatc2.ops.random_state import seeded

_WAY = 5  # of a learner that tasks of any number of classes suit


def learner_settings(learner: LabeledLearner, images: Tensor, *, classes: int) -> tuple[str, ...]:
    """The learner as assignments of a configuration, ``learner.KEY=VALUE``, and ``episode.way=N`` where its head has a size.

    What acts in training alone (adjoint, learning rates of the outer loop) is left out.

    Args:
        learner: as it is; nothing of it changes.
        images: some of those that it takes, ``(N, C, H, W)``.
        classes: of the data, for learners that train on all classes at once.

    Raises:
        InputError: if no options make a learner that predicts the same with the same weights; the message says why in a
            clause.

    >>> from torch import nn
    >>> from metatc2.learners import ProtoNet
    >>> learner_settings(ProtoNet(nn.Flatten(), temperature=2.0), torch.rand(2, 1, 4, 4), classes=0)
    ('learner.name="protonet"', 'learner.temperature=2.0')
    """
    name = next((name for name, kind in LEARNERS.items() if kind is type(learner)), None)
    if name is None or not type(learner).__module__.startswith("metatc2."):
        raise InputError(f"{type(learner).__name__} is no learner of metatc2")
    if learner.calibrates:
        raise InputError("its encoder is calibrated")
    network = learner.network
    encoder = network.encoder if isinstance(network, Classifier) else network
    sized = isinstance(network, Classifier) and not network.shared
    way = int(network.head.out_features) if isinstance(network, Classifier) and sized else _WAY
    kind = entry_of(name).options
    told = {key: value for key in kind.model_fields if (value := _value(learner, key)) is not None}
    usual = kind(name=name)
    values = {key: value for key, value in told.items() if getattr(usual, key) != value and key != "name"}
    _require_same(learner, kind(name=name, **values), encoder, images, way, classes)
    settings = {"learner.name": name, **{f"learner.{key}": value for key, value in values.items()}}
    if sized:
        settings["episode.way"] = way
    return tuple(f"{key}={show(value)}" for key, value in settings.items())


def _value(learner: LabeledLearner, key: str) -> Any:
    """Of an option; None where the learner does not tell."""
    inner = getattr(learner, "train_inner", getattr(learner, "inner", None))
    network = learner.network
    if key.startswith("inner_") and isinstance(inner, InnerLoop):
        if key == "inner_steps":
            return inner.steps
        if (l2 := getattr(learner, "l2", None)) is not None and inner.optimizer == head_loop(l2).optimizer:
            return None
        named = dict(zip(("inner_optimizer", "inner_lr", "inner_clip"), _named(inner.optimizer), strict=True))
        return named[key]
    if key == "test_steps":
        steps = getattr(getattr(learner, "test_inner", None), "steps", None)
        return steps if isinstance(inner, InnerLoop) and steps != inner.steps else None
    if key == "shared_head":
        return isinstance(network, Classifier) and network.shared
    if key == "adapt":
        own = tuple(name.removeprefix("network.") for name in getattr(learner, "adapted", ()))
        return None if len(own) == sum(1 for _ in network.parameters()) else own
    if key == "strength" and isinstance(inner, InnerLoop):
        return getattr(inner.adjoint, "proximal", None)
    value = getattr(learner, key, None)
    return value if isinstance(value, bool | int | float | str) else None


def _named(optimizer: GradientTransformation) -> tuple[str, float, float]:
    """Name, learning rate and clipping by which `inner_optimizer` makes a transformation: of the first that moves the same.

    Raises:
        InputError: if none does.
    """
    clip, rule = 0.0, optimizer
    parts = optimizer.arguments if isinstance(optimizer, Picklable) else ()
    if len(parts) == 2 and isinstance(parts[0], Picklable) and parts[0].make is clip_norm(1.0).make:  # type: ignore[attr-defined]
        clip, rule = float(parts[0].arguments[0]), parts[1]
    own = _moves(rule)
    for name in INNER_OPTIMIZERS:
        unit = _moves(inner_optimizer(name, 1.0))
        lr = float(f"{float(own[0] / unit[0]):.9g}") if float(unit[0]) else 0.0
        if lr > 0 and torch.allclose(_moves(inner_optimizer(name, lr)), own, rtol=1e-7, atol=0.0):
            return name, lr, clip
    raise InputError("its inner optimizer has no name; make it by metatc2.inner.inner_optimizer")


def _moves(rule: GradientTransformation) -> Tensor:
    """What it does with a few gradients, at weights of zero, so that the first move is in proportion to the learning rate."""
    weights = {"w": torch.zeros(1, dtype=torch.float64)}
    with torch.no_grad():
        state, moves = rule.init(weights), []
        for gradient in (0.5, -0.25, 0.125):
            updates, state = rule.update(
                {"w": torch.full((1,), gradient, dtype=torch.float64)}, state, params=weights, inplace=False
            )
            weights = {"w": weights["w"] + updates["w"]}
            moves.append(updates["w"])
    return torch.cat(moves)


def _require_same(
    learner: LabeledLearner, options: LearnerOptions, encoder: Any, images: Tensor, way: int, classes: int
) -> None:
    # Copies: training has to end in the same bits whether or not this was looked at.
    try:
        own, fresh, asked = copied(learner), copied(encoder), copied(encoder).eval()
    except (RuntimeError, TypeError, NotImplementedError) as error:  # a part that holds a lock, or a compiled one
        raise InputError(f"it cannot be copied ({' '.join(str(error).split())[:100]})") from error
    with seeded(0):
        shape = (2 * way, *images.shape[1:])
        x, query = (torch.rand(shape).to(images) for _ in range(2))
        y = torch.arange(way, device=images.device).repeat(2)
        with torch.no_grad():
            dim = int(asked(x).shape[-1])
        try:
            made = build_labeled(options, fresh, Tasks(dim, way, torch.arange(max(classes, 1)))).to(images.device)
            made.load_state_dict(own.state_dict())
        except RuntimeError as error:
            raise InputError(f"a learner {options.name!r} on its encoder has other parameters") from error
        expected, again = (each.train(False).predict(x, y, query) for each in (own, made))
    if not torch.allclose(again, expected, rtol=1e-4, atol=1e-5):
        raise InputError(f"a learner {options.name!r} of the same weights predicts otherwise")
