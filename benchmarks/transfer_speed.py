"""What the protocols cost on cached 512-d features, against their peers, on one core.

    python benchmarks/transfer_speed.py --json benchmarks/results/transfer_speed.json

Both sides take turns in every round, and a ratio is the median over rounds. Accuracies must agree, or there is no result.
Peak memory is that of our side alone, over what the process held with the data, in a process of its own.

* few-shot: 10 000 episodes of 5-way 5-shot, 15 queries, against easyfsl's PrototypicalNetworks on a part of the same
  episodes, seconds per episode: its own loop (features data set, loader, collation, `evaluate_on_one_task`), and beside it
  the classifier alone, on tensors that are handed over. Drawing the episodes is on neither side. easyfsl 1.5.0's
  `TaskSampler` does not start under torch 2.15, so the loader gets the rows of the episodes and its collation alone.
* k-NN: 10 000 queries against 50 000 rows, k = 200, against a matrix product and top-k in slices that fit in memory.
* linear: the 45 values, the refit and the test, against scikit-learn's ``LogisticRegression(warm_start=True)`` from strong
  to weak, in single precision, at its own tolerance, with at most 1000 steps a value. Classes that overlap, and classes
  that do not.

The library in use: pip install easyfsl pandas.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import torch
from common import resident, write_or_print
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from metatc2.transfer import Episodes, few_shot, knn, sample_episodes
from metatc2.transfer.protocols.linear import L2_GRID, LinearResult, linear

WIDTH = 512
WAY, SHOT, QUERY = 5, 5, 15
GOALS = {"few-shot": 50.0, "k-NN": 1.2, "linear": 3.0}
PEAK_GOAL = 2e9
TRAIN, VALIDATION, TEST = 10_000, 5_000, 2_000
# How far apart the means of classes are, in standard deviations along the first axis.
SEPARATION = {"overlapping": 0.1, "separable": 0.3}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came out."""
    start = time.perf_counter()
    out = work()
    return time.perf_counter() - start, out


def few_shot_data(episodes: int) -> tuple[Tensor, Tensor, Episodes]:
    """Features of 100 classes of 100, their labels, and the draw."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(100).repeat_interleave(100)
    means = torch.randn(100, WIDTH, generator=g)[labels]
    features = means * 0.2 + torch.randn(len(labels), WIDTH, generator=g)
    return features, labels, sample_episodes(labels, way=WAY, shot=SHOT, query=QUERY, episodes=episodes, generator=g)


def knn_data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Bank, its labels, queries, their labels."""
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(100, (60_000,), generator=g)
    features = 0.1 * torch.randn(100, WIDTH, generator=g)[labels] + torch.randn(60_000, WIDTH, generator=g)
    return features[:50_000], labels[:50_000], features[50_000:], labels[50_000:]


def linear_data(case: str) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """10 classes, not negative like pooled features, with variances that fall off like 1/j in hidden axes."""
    g = torch.Generator().manual_seed(0)
    n = TRAIN + VALIDATION + TEST
    scale = torch.arange(1, WIDTH + 1).float() ** -0.5
    axes = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=g)).Q
    means = SEPARATION[case] * torch.randn(10, WIDTH, generator=g) * scale
    y = torch.randint(10, (n,), generator=g)
    x = torch.relu((means[y] + torch.randn(n, WIDTH, generator=g) * scale) @ axes * WIDTH**0.5 / 5 + 0.1)
    a, b = TRAIN, TRAIN + VALIDATION
    return x[:a], y[:a], x[a:b], y[a:b], x[b:], y[b:]


def easyfsl_loop(features: Tensor, labels: Tensor, episodes: Episodes) -> Callable[[], list[float]]:
    """Accuracy of each episode by easyfsl's loader and evaluation."""
    easyfsl = {name: import_module(f"easyfsl.{name}") for name in ("datasets", "methods", "samplers", "utils")}
    evaluate_on_one_task = easyfsl["utils"].evaluate_on_one_task
    data = easyfsl["datasets"].FeaturesDataset(labels.tolist(), features, [str(i) for i in range(100)])
    rows = torch.cat([episodes.support, episodes.query], dim=2).flatten(1).tolist()
    sampler = easyfsl["samplers"].TaskSampler
    collation = sampler.__new__(sampler)
    collation.n_way, collation.n_shot, collation.n_query = WAY, SHOT, QUERY
    loader = DataLoader(data, batch_sampler=rows, collate_fn=collation.episodic_collate_fn)
    model = easyfsl["methods"].PrototypicalNetworks().eval()

    def run() -> list[float]:
        with torch.no_grad():
            outcome = [evaluate_on_one_task(model, *task[:4]) for task in loader]
        return [right / total for right, total in outcome]

    return run


def easyfsl_head(features: Tensor, episodes: Episodes) -> Callable[[], list[float]]:
    """Accuracy of each episode by easyfsl's classifier, without its loader."""
    evaluate_on_one_task = import_module("easyfsl.utils").evaluate_on_one_task
    model = import_module("easyfsl.methods").PrototypicalNetworks().eval()
    taught, asked = (torch.arange(WAY).repeat_interleave(n) for n in (SHOT, QUERY))

    def run() -> list[float]:
        with torch.no_grad():
            outcome = [
                evaluate_on_one_task(model, features[support.flatten()], taught, features[query.flatten()], asked)
                for support, query in zip(episodes.support, episodes.query, strict=True)
            ]
        return [right / total for right, total in outcome]

    return run


def measure_few_shot(rounds: int, episodes: int = 10_000, part: int = 500) -> Iterator[dict[str, Any]]:
    """One row."""
    features, labels, drawn = few_shot_data(episodes)
    some = Episodes(drawn.classes[:part], drawn.support[:part], drawn.query[:part])
    loop, head = easyfsl_loop(features, labels, some), easyfsl_head(features, some)
    seconds: dict[str, list[float]] = {"ours": [], "loop": [], "head": []}
    for _ in range(rounds):
        took, ours = timed(lambda: few_shot(features, drawn, "euclidean"))
        seconds["ours"].append(took / episodes)
        for name, work in (("loop", loop), ("head", head)):
            took, theirs = timed(work)
            seconds[name].append(took / part)
            if np.abs(ours[:part].numpy() - np.array(theirs)).max() > 1e-9:
                raise SystemExit(f"few-shot: accuracies and easyfsl's ({name}) disagree")
    yield {
        "protocol": "few-shot",
        "case": f"{episodes} episodes, {WAY}-way {SHOT}-shot",
        "peer": "easyfsl, its loop",
        "seconds": episodes * statistics.median(seconds["ours"]),
        "peer_seconds": episodes * statistics.median(seconds["loop"]),
        "peer_head_seconds": episodes * statistics.median(seconds["head"]),
        "peer_episodes": part,
        "ratio": _ratio(seconds["loop"], seconds["ours"]),
        "ratio_to_head": _ratio(seconds["head"], seconds["ours"]),
        "difference": 0.0,
        "accuracy": float(ours.mean()),
    }


def measure_knn(rounds: int) -> Iterator[dict[str, Any]]:
    """One row; here the ratio is ours over the peer's."""
    bank, bank_labels, queries, labels = knn_data()
    unit, directions = normalize(bank, dim=1), normalize(queries, dim=1)
    ours, product = [], []
    for _ in range(rounds):
        took, outcome = timed(lambda: knn(bank, bank_labels, queries, labels, k=200))
        ours.append(took)
        took, _ = timed(lambda: [(some @ unit.T).topk(200, dim=1) for some in directions.split(500)])
        product.append(took)
    yield {
        "protocol": "k-NN",
        "case": "10 000 queries, 50 000 rows, k = 200",
        "peer": "matrix product and top-k",
        "seconds": statistics.median(ours),
        "peer_seconds": statistics.median(product),
        "ratio": _ratio(ours, product),
        "difference": None,
        "accuracy": float(outcome.mean()),
    }


def scikit_learn_path(data: tuple[Tensor, ...]) -> tuple[list[float], float]:
    """Validation accuracies from strong to weak, and the test accuracy after the refit."""
    x, y, xv, yv, xt, yt = (part.numpy() for part in data)
    head = LogisticRegression(max_iter=1000, warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        outcome = [head.set_params(C=1 / l2).fit(x, y).score(xv, yv) for l2 in reversed(L2_GRID)]
        best = L2_GRID[::-1][int(np.argmax(outcome))]
        head.set_params(C=1 / best).fit(np.concatenate([x, xv]), np.concatenate([y, yv]))
    return outcome, head.score(xt, yt)


def measure_linear(rounds: int) -> Iterator[dict[str, Any]]:
    """A row for each case."""
    for case in SEPARATION:
        data = linear_data(case)
        ours, theirs = [], []
        for _ in range(rounds):
            result: LinearResult
            took, result = timed(partial(linear, *data))
            ours.append(took)
            took, (path, test) = timed(partial(scikit_learn_path, data))
            theirs.append(took)
        apart = 100 * (float(result.validation.max()) - max(path))
        yield {
            "protocol": "linear",
            "case": f"45 values, {TRAIN} rows, 10 classes, {case}",
            "peer": "scikit-learn, warm start",
            "seconds": statistics.median(ours),
            "peer_seconds": statistics.median(theirs),
            "ratio": _ratio(theirs, ours),
            "difference": abs(apart),
            "largest_difference_on_grid": 100 * float(np.abs(result.validation.flip(0).numpy() - path).max()),
            "accuracy": float(result.validation.max()),
            "peer_accuracy": max(path),
            "test_accuracy": result.accuracy,
            "peer_test_accuracy": test,
            "converged": result.converged,
        }


def _ratio(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


MEASURES = {"few-shot": measure_few_shot, "k-NN": measure_knn, "linear": measure_linear}


def own_peak(protocol: str) -> int:
    """Bytes that our side takes at most over what the process holds with the data; call it in a fresh process."""
    work: Callable[[], Any]
    if protocol == "few-shot":
        features, _, drawn = few_shot_data(10_000)
        work = lambda: few_shot(features, drawn, "euclidean")  # noqa: E731
    elif protocol == "k-NN":
        bank, bank_labels, queries, labels = knn_data()
        work = lambda: knn(bank, bank_labels, queries, labels, k=200)  # noqa: E731
    else:
        data = linear_data("overlapping")
        work = lambda: linear(*data)  # noqa: E731
    before = resident("VmRSS")
    work()
    # Where making the data took more than the work, this is too much rather than too little.
    return resident("VmHWM") - before


def peak(protocol: str) -> int:
    """`own_peak` in a process of its own."""
    command = [sys.executable, __file__, "--peak", protocol, "--threads", str(torch.get_num_threads())]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def reached(row: dict[str, Any]) -> bool:
    """Whether a row is within the goals: speed, equal accuracy, memory."""
    fast = row["ratio"] <= GOALS["k-NN"] if row["protocol"] == "k-NN" else row["ratio"] >= GOALS[row["protocol"]]
    return bool(fast and (row["difference"] or 0) <= 0.1 and row["peak_bytes"] < PEAK_GOAL)


def table(rows: list[dict[str, Any]]) -> str:
    """One line a measured case."""
    lines = [
        "| protocol | case | peer | ours | peer's | ratio | goal | peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        near = r["protocol"] == "k-NN"
        goal = f"at most {GOALS['k-NN']}" if near else f"at least {GOALS[r['protocol']]:.0f}"
        ratio = f"{r['ratio']:.2f}" if near else f"{r['ratio']:.1f}"
        lines.append(
            f"| {r['protocol']} | {r['case']} | {r['peer']} | {r['seconds']:.2f} s | {r['peer_seconds']:.2f} s "
            f"| {ratio} | {goal}{'' if reached(r) else ' (missed)'} | {r['peak_bytes'] / 1e6:.0f} MB |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="file to write; by default the result is printed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=MEASURES, help="one protocol")
    parser.add_argument("--peak", choices=MEASURES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    threadpool_limits(arguments.threads)  # scikit-learn's BLAS would take all cores, and be slower for it
    if arguments.peak:
        print(own_peak(arguments.peak))
        return
    rows = []
    for protocol in [arguments.only] if arguments.only else MEASURES:
        most = peak(protocol)
        for row in MEASURES[protocol](arguments.rounds):
            rows.append({**row, "rounds": arguments.rounds, "peak_bytes": most})
            print(json.dumps(rows[-1]), flush=True)
    write_or_print(arguments.json, rows)
    print(table(rows))


if __name__ == "__main__":
    main()
