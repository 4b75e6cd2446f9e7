"""Multinomial logistic regression with an L2 penalty, many problems at once, brought to its minimum."""

from __future__ import annotations

import torch
from torch import Tensor

# Pairs of steps and gradient changes that L-BFGS remembers.
_MEMORY = 12
_HALVINGS = 20
# Where classes are separable and the penalty is weak the loss itself goes to 0, and what is left above the minimum must be
# small beside the loss, not only beside what was gained.
_OF_LOSS = 1e-4


def softmax_regression(
    inputs: Tensor,
    labels: Tensor,
    classes: int,
    l2: Tensor,
    *,
    start: Tensor | None = None,
    tolerance: float = 1e-7,
    steps: int = 1000,
) -> tuple[Tensor, Tensor]:
    """Minima of ``Σ_i −log softmax(x_i W + b)[y_i] + l2/2 |W|²``; the bias b bears no penalty.

    L-BFGS (Liu & Nocedal 1989, "On the limited memory BFGS method") with a diagonal first guess of the curvature, which is
    close to the truth where the columns of `inputs` are uncorrelated and centered: rotate them so. A problem ends when
    ``gᵀH⁻¹g``, twice the excess over the minimum that this guess foresees, is below `tolerance` times what its loss is
    below that of equal probabilities, and below a ten-thousandth of the loss itself, which weak penalties on separable classes
    bring near 0: rules without units, so the scale of features and strength of l2 do not matter. Losses and gradients are
    summed from the probabilities of the wrong classes, which single precision holds to all digits where those of the right
    classes are 1 less a rounding error.

    Args:
        inputs: ``(P or 1, N, r)``: the rows of each of P problems, or rows that all of them share.
        labels: int64 ``(P or 1, N)``.
        classes: C.
        l2: ``(P,)``, above 0.
        start: ``(P, r + 1, C)`` to begin from, e.g. the minimum at another l2; by default 0.
        tolerance: see above.
        steps: at most.

    Returns:
        ``(P, r + 1, C)``, the last row the bias; and bool ``(P,)``, whether both rules were met.

    >>> x = torch.tensor([[[-1.0], [1.0]]])
    >>> solution, met = softmax_regression(x, torch.tensor([[0, 1]]), 2, torch.tensor([1.0, 1e-3]))
    >>> solution.shape, met.tolist(), bool(solution[1, 0, 1] > solution[0, 0, 1] > 0)
    (torch.Size([2, 2, 2]), [True, True], True)
    """
    problem = _Problem(inputs, labels, classes, l2)
    w = inputs.new_zeros(len(l2), inputs.shape[2] + 1, classes) if start is None else start
    z = problem.logits(w)
    loss, residual = problem.loss(z, w)
    g = problem.gradient(residual, w)
    zero = labels.shape[1] * torch.log(torch.tensor(float(classes), dtype=torch.float64))
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    done = torch.zeros(len(l2), dtype=torch.bool, device=w.device)
    for _ in range(steps):
        guess = problem.curvature(residual).reciprocal()
        excess = (g.square() * guess).sum((1, 2)).double()
        least = 1e-3 * zero * tolerance
        done = done | ((excess <= tolerance * (zero - loss).clamp_min(least)) & (excess <= _OF_LOSS * loss))
        if bool(done.all()):
            break
        direction = _direction(g, guess, pairs)
        slope = (g * direction).sum((1, 2)).double()
        change = problem.logits(direction)
        t = torch.where(done, 0.0, 1.0).to(w)
        for _ in range(_HALVINGS):
            new_w, new_z = w + _wide(t) * direction, torch.addcmul(z, _wide(t), change)
            new_loss, residual = problem.loss(new_z, new_w)
            # Rounding of the loss is no reason to shorten a step.
            slack = 4 * torch.finfo(w.dtype).eps * loss.abs()
            ok = new_loss <= loss + 1e-4 * t * slope + slack
            if bool(ok.all()):
                break
            # The minimum of the parabola through the loss at both ends and the slope at the start.
            best = -slope * t.square() / (2 * (new_loss - loss - slope * t))
            t = torch.where(ok, t, torch.minimum(torch.maximum(best.to(t), 0.1 * t), 0.5 * t))
        new_g = problem.gradient(residual, new_w)
        step, bend = new_w - w, new_g - g
        along = (step * bend).sum((1, 2))
        inverse = torch.where(along > 0, 1 / along.clamp_min(torch.finfo(w.dtype).tiny), torch.zeros_like(along))
        pairs = [*pairs, (step, bend, inverse)][-_MEMORY:]
        w, z, loss, g = new_w, new_z, new_loss, new_g
    return w, done


class _Problem:
    """Loss, gradient and a guess of the curvature; logits are ``(P, N, C)``."""

    def __init__(self, inputs: Tensor, labels: Tensor, classes: int, l2: Tensor) -> None:
        self.count, self.classes, self.shared = len(l2), classes, len(inputs) == 1
        self.inputs = torch.cat([inputs, torch.ones_like(inputs[..., :1])], dim=2)
        self.labels = labels.expand(self.count, -1).unsqueeze(2)
        self.spectrum = self.inputs.square().sum(1).unsqueeze(2)
        self.penalty = l2.to(inputs).view(-1, 1, 1).repeat(1, self.inputs.shape[2], 1)
        self.penalty[:, -1] = 0

    def logits(self, w: Tensor) -> Tensor:
        if not self.shared:
            return self.inputs @ w
        # One product for all problems: thin ones run at a fraction of the speed.
        flat = self.inputs[0] @ w.permute(1, 0, 2).flatten(1)
        return flat.view(-1, self.count, self.classes).transpose(0, 1)

    def loss(self, z: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and the residual: the probabilities less the truth."""
        logs = torch.log_softmax(z, dim=2)
        others = logs.exp().scatter_(2, self.labels, 0)
        wrong = others.sum(2, keepdim=True)
        each = torch.where(wrong < 0.5, -torch.log1p(-wrong.clamp_max(0.5)), -logs.gather(2, self.labels))
        fit = each.squeeze(2).sum(1, dtype=torch.float64)
        total = fit + (self.penalty * w.square()).sum((1, 2), dtype=torch.float64) / 2
        return total, others.scatter_(2, self.labels, -wrong)

    def gradient(self, residual: Tensor, w: Tensor) -> Tensor:
        if not self.shared:
            return self.inputs.transpose(1, 2) @ residual + self.penalty * w
        flat = self.inputs[0].T @ residual.transpose(0, 1).flatten(1)
        return flat.view(-1, self.count, self.classes).transpose(0, 1) + self.penalty * w

    def curvature(self, residual: Tensor) -> Tensor:
        # The same for all classes, so that steps keep the sum over classes where it is: at 0. The mean of p (1 − p), which the
        # residual r with its entry −s at the true class says without cancellation: Σ p (1 − p) = 2 s − Σ r².
        wrong = -residual.gather(2, self.labels).sum((1, 2))
        variance = (2 * wrong - residual.square().sum((1, 2))) / (self.labels.shape[1] * self.classes)
        return _wide(variance.clamp_min(1e-30)) * self.spectrum + self.penalty


def _direction(g: Tensor, guess: Tensor, pairs: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Two loops over the pairs, each problem with its own."""
    q = g
    shares = []
    for step, bend, inverse in reversed(pairs):
        shares.append((step * q).sum((1, 2)) * inverse)
        q = q - _wide(shares[-1]) * bend
    q = q * guess
    for (step, bend, inverse), share in zip(pairs, reversed(shares), strict=True):
        q = q + _wide(share - (bend * q).sum((1, 2)) * inverse) * step
    return -q


def _wide(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1)
