"""The meta-gradient in float64 against learn2learn, torchopt's meta-optimizers and higher, each in its own idiom.

    python benchmarks/gradient_parity.py --json benchmarks/results/gradient_parity.json

Same network, tasks and steps on both sides; no value is shared but these. A difference is max |ours − theirs| / max |theirs|
over all parameters. Exit status 1 when one exceeds the goal of 1e-8.

* Adam is ``m / (√(v + eps_root) + eps)``. learn2learn has none. higher has no eps_root and adds eps to √v before the
  correction for bias, so there eps_root is 0 and it is told eps · √(1 − 0.999^k) at step k, by its own ``override``: then it is
  the same function. torchopt is compared at eps_root 0 and at 1e-8.
* torch's default dtype is float64 for all: torchopt's Adam, which ours uses, takes its correction for bias in the default
  dtype whatever the parameters are, and under float32 its steps would be wrong in the fifth digit.
* Convolutions have no bias: before batch normalization its gradient is zero but for rounding, which Adam would enlarge to 1.
* Batch normalization is in training mode, so that running statistics, which some of the libraries write, play no part.

The libraries in use: pip install higher; for learn2learn see requirements-dev.txt.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from common import write_or_print
from libraries import LIBRARIES, NotOffered, Recipe, Task, gradient_of
from torch import Tensor, nn

from metatc2.inner import Adjoint, Recompute, Unroll
from metatc2.models.conv4 import Conv4
from metatc2.models.heads import Classifier

GOAL = 1e-8
WAY, SHOT, QUERY, TASKS = 5, 2, 3, 2
STEPS = (1, 3, 5)
PEERS = ("learn2learn", "torchopt", "higher")
ADJOINTS: dict[str, Adjoint] = {"unroll": Unroll(), "recompute": Recompute()}
RULES: dict[str, Recipe] = {
    "SGD": Recipe(steps=0, lr=0.1),
    "SGD, momentum 0.9": Recipe(steps=0, lr=0.1, optimizer="momentum"),
    "Adam, eps_root 0": Recipe(steps=0, lr=0.01, optimizer="adam"),
    "Adam, eps_root 1e-8": Recipe(steps=0, lr=0.01, optimizer="adam", eps_root=1e-8),
    "SGD, first order": Recipe(steps=0, lr=0.1, first_order=True),
}


def network(name: str) -> nn.Module:
    """``conv4`` with batch normalization on 28 × 28, or a smooth ``mlp`` on 20 numbers; in float64, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body: nn.Module = Conv4(1, 8) if name == "conv4" else nn.Sequential(nn.Linear(20, 16), nn.Tanh())
        return Classifier(body, 8 if name == "conv4" else 16, WAY).double().train()


def tasks(name: str) -> list[Task]:
    """Noise around a center for every class, the same every time."""
    g = torch.Generator().manual_seed(1)
    shape = (1, 28, 28) if name == "conv4" else (20,)

    def draw(centers: Tensor, n: int) -> tuple[Tensor, Tensor]:
        y = torch.arange(WAY).repeat(n)
        return centers[y] + torch.rand(len(y), *shape, generator=g, dtype=torch.float64), y

    result = []
    for _ in range(TASKS):
        centers = torch.rand(WAY, *shape, generator=g, dtype=torch.float64)
        result.append(Task(*draw(centers, SHOT), *draw(centers, QUERY)))
    return result


def meta_gradient(library: str, net: str, recipe: Recipe) -> Tensor:
    """All of it in one vector, in the order of the network's parameters.

    Raises:
        NotOffered: if the library has no means for it.
    """
    made = network(net)
    with default_float64():
        LIBRARIES[library].meta_gradient(made, recipe, tasks(net))
    result = gradient_of(made)
    return torch.cat([result[name].flatten() for name, _ in made.named_parameters()])


@contextmanager
def default_float64() -> Iterator[None]:
    """New tensors are float64 inside."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def difference(result: Tensor, reference: Tensor) -> float:
    """Largest difference over the largest entry of the reference."""
    return float((result - reference).abs().max() / reference.abs().max())


def compare(net: str, rule: str, steps: int, peers: Sequence[str] = PEERS) -> Iterator[dict[str, Any]]:
    """A row for each peer and adjoint; a peer that cannot do the case has one row that says so."""
    recipe = dataclasses.replace(RULES[rule], steps=steps)
    mine = {
        name: meta_gradient("ours", net, dataclasses.replace(recipe, options={"adjoint": adjoint}))
        for name, adjoint in ADJOINTS.items()
    }
    if recipe.first_order:
        mine = {"first order": meta_gradient("ours", net, recipe)}
    first = meta_gradient("ours", net, dataclasses.replace(recipe, first_order=True))
    for peer in peers:
        case = {"network": net, "inner": rule, "steps": steps, "peer": peer, "peer_version": LIBRARIES[peer].version}
        try:
            theirs = meta_gradient(peer, net, _as_asked(peer, recipe))
        except NotOffered as reason:
            yield {**case, "adjoint": None, "difference": None, "not_offered": str(reason)}
            continue
        # Without the second-order part the two would be this far apart: what a row would find if it were missing.
        without = {} if recipe.first_order else {"first_order_difference": difference(first, theirs)}
        for adjoint, ours in mine.items():
            away = difference(ours, theirs)
            yield {**case, "adjoint": adjoint, "difference": away, "largest": float(theirs.abs().max()), **without}


def _as_asked(peer: str, recipe: Recipe) -> Recipe:
    if peer == "higher" and recipe.first_order:  # its own switch leaves the network without a gradient
        return dataclasses.replace(recipe, options={"grad_callback": lambda gradients: [g.detach() for g in gradients]})
    return recipe


def table(rows: list[dict[str, Any]]) -> str:
    """The largest difference over networks and numbers of steps, one line an inner optimizer."""
    lines = ["| inner optimizer | " + " | ".join(PEERS) + " |", "|---|" + "---|" * len(PEERS)]
    for rule in dict.fromkeys(r["inner"] for r in rows):
        cells = []
        for peer in PEERS:
            own = [r for r in rows if (r["inner"], r["peer"]) == (rule, peer)]
            measured = [r["difference"] for r in own if r["difference"] is not None]
            cells.append(f"{max(measured):.0e}" if measured else "not offered")
        lines.append(f"| {rule} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Compare every case, write the rows, and fail where the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the result")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for net in ("mlp", "conv4") for rule in RULES for steps in STEPS for row in compare(net, rule, steps)]
    write_or_print(arguments.json, rows)
    print(table(rows))
    missed = [r for r in rows if r["difference"] is not None and not r["difference"] <= GOAL]  # NaN misses too
    for r in missed:
        print(f"exceeds {GOAL}: {json.dumps(r)}", file=sys.stderr)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
