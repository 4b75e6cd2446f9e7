"""What Conv-4's first block costs in training: in one go (`metatc2.ops.conv_norm_pool`) against torch's operations.

    python benchmarks/first_block_speed.py --json benchmarks/results/first_block_speed.json
    python benchmarks/first_block_speed.py --keep-memory --json benchmarks/results/first_block_speed.json     # adds its rows

Forward and backward of the block alone and of the whole encoder in float32, channels-last on both sides, interleaved round by
round on one thread; each ratio is the median over rounds of torch's seconds over ours within a round.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import KEEP_MEMORY, write_or_print
from torch import Tensor, nn

from metatc2.models.conv4 import Conv4
from metatc2.ops import channels_last, conv_norm_pool

CASES = [(1, 28, 256), (3, 32, 256), (3, 84, 32)]  # channels, pixels, batch


def in_one_go(parameters: list[Tensor], images: Tensor) -> Tensor:
    """The block's output."""
    kernel, weight, bias = parameters
    return conv_norm_pool(images, kernel, weight, bias)[0]


def seconds(call: Callable[[Tensor], Tensor], images: Tensor, parameters: list[Tensor]) -> float:
    """Of one forward and backward."""
    start = time.perf_counter()
    out = call(images)
    torch.autograd.grad(out, parameters, torch.ones_like(out))
    return time.perf_counter() - start


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="file to write; by default the result is printed")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--keep-memory", action="store_true", help="in a process that keeps freed memory")
    given = parser.parse_args()
    kept = KEEP_MEMORY.items() <= os.environ.items()
    if given.keep_memory and not kept:
        os.environ.update(KEEP_MEMORY)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for channels, pixels, batch in CASES:
        ours = Conv4(channels, given.width).to(memory_format=torch.channels_last)
        theirs = copy.deepcopy(ours)
        theirs.blocks[0].register_forward_hook(lambda *_: None)  # whoever looks at the block gets torch's operations
        images = channels_last(torch.rand(batch, channels, pixels, pixels))
        first: Any = ours.blocks[0]
        convolution, norm, pool, _ = first
        block, plain = [convolution.weight, norm.weight, norm.bias], nn.Sequential(convolution, norm, pool)
        sides: dict[str, tuple[Callable[[Tensor], Tensor], list[Tensor]]] = {
            "block, ours": (partial(in_one_go, block), block),
            "block, torch": (plain, block),
            "encoder, ours": (ours, list(ours.parameters())),
            "encoder, torch": (theirs, list(theirs.parameters())),
        }
        result: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(given.rounds + 2):
            for name, (call, parameters) in sides.items():
                result[name].append(seconds(call, images, parameters))
        result = {name: values[2:] for name, values in result.items()}  # two rounds to warm up
        for part in ("block", "encoder"):
            ratios = [a / b for a, b in zip(result[f"{part}, torch"], result[f"{part}, ours"], strict=True)]
            rows.append(
                {
                    "part": part,
                    "width": given.width,
                    "images": f"{batch}x{channels}x{pixels}x{pixels}",
                    "seconds": round(statistics.median(result[f"{part}, ours"]), 4),
                    "torch_seconds": round(statistics.median(result[f"{part}, torch"]), 4),
                    "torch_over_ours": round(statistics.median(ratios), 2),
                    "quartiles": [round(q, 2) for q in statistics.quantiles(ratios, n=4)[::2]],
                    "rounds": given.rounds,
                    "memory": "kept" if kept else "returned",
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    if given.json:
        before = json.loads(Path(given.json).read_text())["rows"] if Path(given.json).exists() else []
        rows = [r for r in before if r["memory"] != rows[0]["memory"]] + rows
    write_or_print(given.json, rows)


if __name__ == "__main__":
    main()
