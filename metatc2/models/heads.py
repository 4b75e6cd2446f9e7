"""Projector and predictor: small networks between encoder and objective, dropped after pre-training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from metatc2.errors import InputError

Activation = Callable[[], nn.Module]


class TaskNorm(nn.Module):
    """Batch normalization within each task.

    The first axis is tasks and the last features; mean and (biased) variance are taken over *all* axes in between, so
    over the samples and views of one task together, never across tasks. There are no running statistics: training and
    evaluation are the same function of the batch. On one task it equals `torch.nn.BatchNorm1d` in training.

    Args:
        dim: D, number of features.
        eps: added to the variance.

    Raises:
        InputError: when the input is not ``(tasks, ..., D)`` with three axes or more, or a task has a single row.

    >>> norm = TaskNorm(4)
    >>> out = norm(torch.randn(3, 8, 2, 4))  # 3 tasks of 8 samples in 2 views
    >>> bool(out.mean((1, 2)).abs().max() < 1e-5)
    True
    """

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """``(tasks, ..., D)`` to the same shape."""
        dim = self.weight.shape[0]
        if x.ndim < 3 or x.shape[-1] != dim:
            raise InputError(
                f"TaskNorm needs (tasks, ..., {dim}) with at least three axes, found {tuple(x.shape)}; "
                "a single task is x.unsqueeze(0)"
            )
        if x.numel() == x.shape[0] * dim:
            raise InputError(f"TaskNorm needs at least 2 rows a task, found {tuple(x.shape)}; enlarge the tasks")
        # Statistics in full precision under mixed precision, as batch normalization does.
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        rows = wide.flatten(1, -2)
        # Written out: torch.var_mean over an inner axis, and above all its second derivative, is slower than these.
        centered = rows - rows.mean(1, keepdim=True)
        scale = (centered.square().mean(1, keepdim=True) + self.eps).rsqrt() * self.weight
        return torch.addcmul(self.bias, centered, scale).view_as(wide).to(x.dtype)


class Projector(nn.Sequential):
    """``layers`` linear layers with `TaskNorm` and an activation between them, for inputs ``(tasks, ..., dim)``.

    Args:
        dim: width of the encoder.
        hidden: width of the layers in between.
        out: width of the embedding that the objective sees.
        layers: number of linear layers; 1 is a linear projector.
        activation: makes the activation; a smooth one (`torch.nn.GELU`) where the head is differentiated twice.
        norm_out: whether a norm follows the last layer too, as in SimSiam (arXiv 2011.10566, section 3).

    Raises:
        InputError: if there are fewer layers than one.

    >>> Projector(64, 256, 128)(torch.randn(4, 16, 2, 64)).shape
    torch.Size([4, 16, 2, 128])
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        out: int,
        layers: int = 2,
        activation: Activation = nn.ReLU,
        *,
        norm_out: bool = False,
    ) -> None:
        if layers < 1:
            raise InputError(f"a projector needs at least 1 layer, found layers={layers}")
        parts: list[nn.Module] = []
        for width in [dim, *[hidden] * (layers - 2)][: layers - 1]:
            # No bias: the norm would subtract it again.
            parts += [nn.Linear(width, hidden, bias=False), TaskNorm(hidden), activation()]
        parts.append(nn.Linear(hidden if layers > 1 else dim, out, bias=not norm_out))
        super().__init__(*parts, *[TaskNorm(out)] * norm_out)


class Predictor(Projector):
    """Two layers from an embedding back to its own width, for BYOL and SimSiam, ``(tasks, ..., dim)`` to the same.

    Args:
        dim: width of the projector's output.
        hidden: width of the layer in between.
        activation: as in `Projector`.

    >>> Predictor(128, 32)(torch.randn(4, 16, 2, 128)).shape
    torch.Size([4, 16, 2, 128])
    """

    def __init__(self, dim: int, hidden: int, activation: Activation = nn.ReLU) -> None:
        super().__init__(dim, hidden, dim, activation=activation)


class Classifier(nn.Module):
    """An encoder under a linear head, for learners that adapt the head.

    Args:
        encoder: inputs → ``(N, dim)``.
        dim: width of its features.
        way: rows of the head, the most classes that a task may have.
        shared: meta-learn one row that every class of a task starts from (UNICORN-MAML, Ye and Chao 2022,
            arXiv 2106.16245): tasks may then have any number of classes, and their order means nothing.

    Raises:
        InputError: if `way` is less than 2 and the row is not shared.

    >>> Classifier(nn.Flatten(), dim=784, way=5)(torch.rand(3, 1, 28, 28)).shape
    torch.Size([3, 5])
    """

    def __init__(self, encoder: nn.Module, dim: int, way: int, *, shared: bool = False) -> None:
        super().__init__()
        if way < 2 and not shared:
            raise InputError(f"Classifier: way must be at least 2, got {way}")
        self.encoder, self.shared = encoder, shared
        self.head = nn.Linear(dim, 1 if shared else way)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, ...)`` to scores ``(N, way)``."""
        scores: Tensor = self.head(self.encoder(x))
        return scores

    def rows(self, row_or_rows: Tensor, way: int) -> Tensor:
        """What a task with `way` classes starts from: the shared row repeated, or the first `way` rows.

        Args:
            row_or_rows: weight or bias of the head.
            way: classes of the task.

        Raises:
            InputError: if the head has fewer rows.
        """
        if self.shared:
            return row_or_rows.expand(way, *row_or_rows.shape[1:])
        if way > len(row_or_rows):
            raise InputError(
                f"the head has {len(row_or_rows)} outputs and a task has {way} classes; train with more classes "
                f"(episode.way={way}) or with a shared row (learner.shared_head=true)"
            )
        return row_or_rows[:way]


def zero_linear(columns: int, out: int) -> nn.Linear:
    """A linear layer that starts at zero, so that what it adds starts as nothing.

    >>> zero_linear(4, 2)(torch.ones(1, 4)).tolist()
    [[0.0, 0.0]]
    """
    layer = nn.Linear(columns, out)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
