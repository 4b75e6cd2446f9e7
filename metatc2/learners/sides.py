"""The two sides of labeled tasks, checked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metatc2.episodes import Episode
from metatc2.errors import InputError


def sides(episode: Episode) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """Support inputs and labels, query inputs and labels (tasks first), and the number of classes (0 in regression).

    Raises:
        InputError: if there are no labels, or a task's labels are not 0 to way − 1 with all of them in its support.
    """
    x, y = episode.support.labeled()
    query_x, query_y = episode.query.labeled()
    if y.is_floating_point():
        return x, y, query_x, query_y, 0
    y, query_y = y.long(), query_y.long()
    way = int(y.max()) + 1
    for task, (own, asked) in enumerate(zip(y, query_y, strict=True)):
        check_support(own, way, f"task {task} of the episode")
        if len(asked) and not 0 <= int(asked.min()) <= int(asked.max()) < way:
            raise InputError(
                f"task {task} of the episode: query labels must be among those of its support, 0 to {way - 1}, got "
                f"{_short(torch.unique(asked).tolist())}; draw both sides from the same classes"
            )
    return x, y, query_x, query_y, way


def check_support(y: Tensor, way: int, what: str) -> None:
    """Labels ``(n,)`` of a support are 0 to way − 1.

    Raises:
        InputError: if not, or a class is missing.
    """
    classes = torch.unique(y).tolist()
    if classes != list(range(way)):
        if y.ndim > 1 or len(classes) == len(y) > 3:
            raise InputError(
                f"{what}: whole numbers are taken for class labels, and {_short(classes)} of shape {tuple(y.shape)} are none; "
                "give the targets of a regression as floating point (targets.float())"
            )
        raise InputError(
            f"{what}: support labels must be task-local, 0 to {way - 1} with each class present, got {_short(classes)}; "
            "renumber the classes of each task (LabeledTasks does), or give the targets of a regression as floating point"
        )


def _short(values: list[Any]) -> str:
    return str(values if len(values) <= 8 else [*values[:8], "..."]).replace("'", "")
