"""What the libraries are compared with: a copy trained in place, and central differences of its query loss."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from libraries.case import BETAS, MOMENTUM, Recipe, Task


def trained(network: nn.Module, recipe: Recipe, task: Task) -> nn.Module:
    """A deep copy trained on the support in place, without torchopt; only parameters that require a gradient move."""
    net = copy.deepcopy(network)
    params = [p for p in net.parameters() if p.requires_grad]
    first, second = ([torch.zeros_like(p) for p in params] for _ in range(2))
    for k in range(1, recipe.steps + 1):
        with torch.enable_grad():
            gradients = torch.autograd.grad(cross_entropy(net(task.x), task.y), params)
        for p, g, m, v in zip(params, gradients, first, second, strict=True):
            with torch.no_grad():
                p.sub_(recipe.lr * _direction(recipe, g, m, v, k))
    return net


def _direction(recipe: Recipe, g: Tensor, m: Tensor, v: Tensor, k: int) -> Tensor:
    if recipe.optimizer == "sgd":
        return g
    if recipe.optimizer == "momentum":
        return m.mul_(MOMENTUM).add_(g)
    m.mul_(BETAS[0]).add_(g, alpha=1 - BETAS[0])
    v.mul_(BETAS[1]).add_(g.square(), alpha=1 - BETAS[1])
    return m / (1 - BETAS[0] ** k) / ((v / (1 - BETAS[1] ** k) + recipe.eps_root).sqrt() + recipe.eps)


def first_order_gradient(network: nn.Module, recipe: Recipe, tasks: Sequence[Task]) -> dict[str, Tensor]:
    """Mean over the tasks of the gradient of the query loss at the adapted parameters, where it is taken as it is."""
    total = {name: torch.zeros_like(p) for name, p in network.named_parameters() if p.requires_grad}
    for task in tasks:
        net = trained(network, recipe, task)
        loss = cross_entropy(net(task.query_x), task.query_y) / len(tasks)
        result = torch.autograd.grad(loss, [p for p in net.parameters() if p.requires_grad])
        total = {name: t + g for (name, t), g in zip(total.items(), result, strict=True)}
    return total


def differences(
    network: nn.Module, recipe: Recipe, tasks: Sequence[Task], *, seed: int, step: float = 1e-5
) -> dict[str, Tensor]:
    """Central differences of the mean query loss after training, for every trainable number of the network.

    Args:
        network: in float64, and small.
        recipe: how the copies are trained.
        tasks: what on.
        seed: of torch's random state before every evaluation, so that all draw the same dropout masks.
        step: half the distance between two evaluations.
    """

    def loss() -> float:
        torch.manual_seed(seed)
        total = 0.0
        for task in tasks:  # query right after support, the order in which the libraries draw their masks
            total += float(cross_entropy(trained(network, recipe, task)(task.query_x), task.query_y))
        return total / len(tasks)

    result = {}
    with torch.no_grad():
        for name, p in network.named_parameters():
            if p.requires_grad:
                flat, slope = p.view(-1), torch.zeros(p.numel(), dtype=p.dtype)
                for i in range(len(flat)):
                    here, values = float(flat[i]), []
                    for moved in (here + step, here - step):
                        flat[i] = moved
                        values.append(loss())
                    flat[i] = here
                    slope[i] = (values[0] - values[1]) / (2 * step)
                result[name] = slope.view_as(p)
    return result
