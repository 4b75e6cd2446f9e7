"""Take one meta-gradient with the library named on the command line, where nothing else need be installed.

    python smoke.py learn2learn

`install.py` runs it by the interpreter of a fresh environment; it imports nothing of this repository but the library itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


def ours(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """metatc2, as installed."""
    import torchopt

    from metatc2.episodes import Episode, Samples
    from metatc2.inner import InnerLoop
    from metatc2.learners import MAML

    side = Samples(x[None, :, None], y[None], None, torch.full_like(y, -1)[None])
    MAML(net, InnerLoop(torchopt.sgd(0.1), steps=1))(Episode(side, side)).loss.backward()


def learn2learn(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """learn2learn, as installed."""
    import learn2learn as l2l

    clone = l2l.algorithms.MAML(net, lr=0.1).clone()
    clone.adapt(cross_entropy(clone(x), y))
    cross_entropy(clone(x), y).backward()


def torchopt(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """torchopt, as installed."""
    import torchopt

    parameters = list(net.parameters())
    start = torchopt.extract_state_dict(net, by="reference")
    torchopt.MetaSGD(net, lr=0.1).step(cross_entropy(net(x), y))
    cross_entropy(net(x), y).backward()
    torchopt.recover_state_dict(net, start)
    assert all(a is b for a, b in zip(parameters, net.parameters(), strict=True))


def higher(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """higher, as installed."""
    import higher

    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with higher.innerloop_ctx(net, optimizer, copy_initial_weights=False) as (functional, inner):
        inner.step(cross_entropy(functional(x), y))
        cross_entropy(functional(x), y).backward()


RUNS: dict[str, Callable[[nn.Module, Tensor, Tensor], None]] = {
    "metatc2": ours,
    "learn2learn": learn2learn,
    "torchopt": torchopt,
    "higher": higher,
}


def main() -> None:
    """Exit with an error unless every parameter gets a finite gradient."""
    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    RUNS[sys.argv[1]](net, torch.randn(6, 4), torch.arange(6) % 3)
    gradients = [p.grad for p in net.parameters()]
    assert all(g is not None and bool(g.isfinite().all()) for g in gradients), "no meta-gradient"


if __name__ == "__main__":
    main()
