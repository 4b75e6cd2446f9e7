"""The sides of an episode from tensors that a program has, with what is wrong about them as one sentence."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.episodes.samples import Samples
from metatc2.errors import InputError

_AXES = {"classes": "(tasks, samples)", "targets": "(tasks, samples) or (tasks, samples, D)"}


def labeled_sides(x: Tensor, y: Tensor, qx: Tensor, qy: Tensor) -> tuple[Samples, Samples]:
    """Support and query of `Episode.of`.

    Raises:
        InputError: see there.
    """
    given = {"x": x, "y": y, "qx": qx, "qy": qy}
    for name, tensor in given.items():
        _require_tensor("Episode.of", name, tensor)
    for name in ("x", "qx"):
        _require_inputs("Episode.of", name, given[name])
    if y.is_floating_point() != qy.is_floating_point():
        raise InputError(f"Episode.of: y and qy must be of one kind, classes or targets, got {y.dtype} and {qy.dtype}")
    if y.dtype == torch.bool or y.is_complex() or qy.dtype == torch.bool or qy.is_complex():
        raise InputError(
            f"Episode.of: y must be classes (int64) or targets (floating point), got {y.dtype} and {qy.dtype}"
        )
    one = y.ndim == 1
    x, y, qx, qy = (tensor.unsqueeze(0) if one else tensor for tensor in given.values())
    kind = "targets" if y.is_floating_point() else "classes"
    for name, inputs, labels in (("", x, y), ("q", qx, qy)):
        _check_side(name, inputs, labels, kind, one)
    if len(x) != len(qx) or x.shape[2:] != qx.shape[2:] or y.shape[2:] != qy.shape[2:]:
        raise InputError(
            "Episode.of: both sides must be of the same tasks and of samples of one shape, got x "
            f"{tuple(given['x'].shape)} with y {tuple(given['y'].shape)}, and qx {tuple(given['qx'].shape)} with qy "
            f"{tuple(given['qy'].shape)}"
        )
    if kind == "classes":
        _check_classes(y, qy)
    return _labeled(x, y), _labeled(qx, qy)


def view_sides(first: Tensor, second: Tensor, tasks: int) -> tuple[Samples, Samples]:
    """Support and query of `Episode.of_views`.

    Raises:
        InputError: see there.
    """
    call = "Episode.of_views"
    for name, view in (("first", first), ("second", second)):
        _require_tensor(call, name, view)
        _require_inputs(call, name, view)
        _require_finite(call, name, view)
    if first.shape != second.shape or first.ndim < 2:
        raise InputError(
            f"{call}: first and second must both be (images, ...), got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if type(tasks) is not int or tasks < 1 or len(first) % tasks or len(first) // tasks < 2:
        raise InputError(
            f"{call}: {len(first)} images do not make {tasks} tasks of two or more each; tasks must divide their number "
            "(drop_last=True in a DataLoader keeps it the same)"
        )
    both = torch.stack([first, second], 1).unflatten(0, (tasks, -1))
    half = both.shape[1] // 2
    return _samples(both[:, :half]), _samples(both[:, half:])


def _require_tensor(call: str, name: str, given: object) -> None:
    if not isinstance(given, Tensor):
        raise InputError(f"{call}: {name} must be a tensor, got {type(given).__name__}; torch.as_tensor makes one")


def _require_inputs(call: str, name: str, given: Tensor) -> None:
    if not given.is_floating_point():
        raise InputError(
            f"{call}: {name} must be floating point, images in [0, 1], got {given.dtype}; for bytes give {name}.float() / 255"
        )


def _require_finite(call: str, name: str, given: Tensor) -> None:
    if given.is_floating_point() and not bool(given.isfinite().all()):
        raise InputError(f"{call}: {name} has values that are not finite; leave those samples out")


def _labeled(x: Tensor, y: Tensor) -> Samples:
    return _samples(x.unsqueeze(2), y if y.is_floating_point() else y.long())


def _samples(images: Tensor, labels: Tensor | None = None) -> Samples:
    """Of no store."""
    return Samples(images, labels, None, torch.full(images.shape[:2], -1, device=images.device))


def _check_side(side: str, x: Tensor, y: Tensor, kind: str, one: bool) -> None:
    fits = x.ndim >= 3 and y.ndim in ((2,) if kind == "classes" else (2, 3)) and x.shape[:2] == y.shape[:2]
    if not fits or 0 in x.shape:
        axes = "" if not one else " (of one task: without the first axis)"
        shapes = (tuple(x.shape[1:]), tuple(y.shape[1:])) if one else (tuple(x.shape), tuple(y.shape))
        raise InputError(
            f"Episode.of: {side}x must be (tasks, samples, ...) and {side}y, its {kind}, {_AXES[kind]}{axes}, none empty, got "
            f"{shapes[0]} and {shapes[1]}"
        )
    for name, tensor in ((f"{side}x", x), (f"{side}y", y)):
        _require_finite("Episode.of", name, tensor)


def _check_classes(y: Tensor, qy: Tensor) -> None:
    for task, (known, asked) in enumerate(zip(y, qy, strict=True)):
        classes = known.unique()
        if int(classes[0]) != 0 or int(classes[-1]) != len(classes) - 1:
            raise InputError(
                f"Episode.of: y of task {task} must count its classes from 0 to way - 1, got {classes[:10].tolist()}; "
                "torch.unique(y, return_inverse=True) numbers them"
            )
        if not bool(torch.isin(asked, classes).all()):
            raise InputError(
                f"Episode.of: qy of task {task} has classes that its y has not, got {asked.unique()[:10].tolist()} beside "
                f"{classes[:10].tolist()}; leave those queries out"
            )
