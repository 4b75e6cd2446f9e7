"""Second-order MAML in the peers, each in the idiom of its own examples: one backward a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchopt
from torch import Tensor, nn

from metatc2.interop import require_learn2learn

Data = tuple[Tensor, Tensor, Tensor, Tensor]
Criterion = Callable[[Tensor, Tensor], Tensor]
#: (network, (support x, y, query x, y; tasks first), inner steps, inner rate, criterion) → a function that gives the gradient.
Peer = Callable[[nn.Module, Data, int, float, Criterion], Callable[[], list[Tensor]]]


def learn2learn(net: nn.Module, data: Data, steps: int, lr: float, criterion: Criterion) -> Callable[[], list[Tensor]]:
    """Clone and adapt."""
    maml = require_learn2learn().algorithms.MAML(net, lr=lr)

    def run() -> list[Tensor]:
        maml.zero_grad(set_to_none=True)
        for x, y, query_x, query_y in zip(*data, strict=True):
            clone = maml.clone()
            for _ in range(steps):
                clone.adapt(criterion(clone(x), y))
            (criterion(clone(query_x), query_y) / len(data[0])).backward()
        return _gradients(net)

    return run


def torchopt_meta(
    net: nn.Module, data: Data, steps: int, lr: float, criterion: Criterion
) -> Callable[[], list[Tensor]]:
    """`torchopt.MetaSGD`, with the network's state extracted and recovered."""
    inner = torchopt.MetaSGD(net, lr=lr)
    parameters = list(net.parameters())

    def run() -> list[Tensor]:
        for p in parameters:
            p.grad = None
        for x, y, query_x, query_y in zip(*data, strict=True):
            network = torchopt.extract_state_dict(net, by="reference")
            optimizer = torchopt.extract_state_dict(inner, by="reference")
            for _ in range(steps):
                inner.step(criterion(net(x), y))
            (criterion(net(query_x), query_y) / len(data[0])).backward()
            torchopt.recover_state_dict(net, network)
            torchopt.recover_state_dict(inner, optimizer)
        return [p.grad for p in parameters if p.grad is not None]

    return run


def higher_loop(net: nn.Module, data: Data, steps: int, lr: float, criterion: Criterion) -> Callable[[], list[Tensor]]:
    """`higher.innerloop_ctx` without copying the initial weights."""
    import higher

    optimizer = torch.optim.SGD(net.parameters(), lr=lr)

    def run() -> list[Tensor]:
        net.zero_grad(set_to_none=True)
        for x, y, query_x, query_y in zip(*data, strict=True):
            context: Any = higher.innerloop_ctx(net, optimizer, copy_initial_weights=False)
            with context as (functional, inner):
                for _ in range(steps):
                    inner.step(criterion(functional(x), y))
                (criterion(functional(query_x), query_y) / len(data[0])).backward()
        return _gradients(net)

    return run


def _gradients(net: nn.Module) -> list[Tensor]:
    return [p.grad for p in net.parameters() if p.grad is not None]


PEERS: dict[str, Peer] = {"learn2learn": learn2learn, "torchopt": torchopt_meta, "higher": higher_loop}
