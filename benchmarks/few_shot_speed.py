"""What 10 000 few-shot episodes cost on one core, from cached features, against a loop over episodes in NumPy.

    python benchmarks/few_shot_speed.py --json benchmarks/results/few_shot_speed.json

Both sides classify episodes of the same draw, round by round in turn; the accuracies must agree. The loop runs a part
of the episodes, and the ratio is of seconds per episode.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
import torch
from common import write_or_print
from numpy.typing import NDArray

from metatc2.transfer import Episodes, few_shot, sample_episodes

Floats = NDArray[np.float32]


def loop(features: Floats, episodes: Episodes, head: str) -> NDArray[np.float64]:
    """One episode after the other, as most code does it."""
    result = []
    for support, query in zip(episodes.support.numpy(), episodes.query.numpy(), strict=True):
        prototypes = features[support].mean(1)
        images = features[query].reshape(-1, features.shape[1])
        if head == "cosine":
            prototypes = prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)
            images = images / np.linalg.norm(images, axis=1, keepdims=True)
        distance = ((images[:, None] - prototypes[None]) ** 2).sum(2)
        truth = np.repeat(np.arange(len(prototypes)), query.shape[1])
        result.append((distance.argmin(1) == truth).mean())
    return np.array(result)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="file to write; by default the result is printed")
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--loop-episodes", type=int, default=500, help="episodes a round for the loop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    classes, images, width, way, shot, query = 100, 100, 512, 5, 5, 15
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(classes).repeat_interleave(images)
    means = torch.randn(classes, width, generator=generator)[labels]
    features = means * 0.2 + torch.randn(len(labels), width, generator=generator)

    start = time.perf_counter()
    episodes = sample_episodes(
        labels, way=way, shot=shot, query=query, episodes=arguments.episodes, generator=generator
    )
    sampling = time.perf_counter() - start
    some = arguments.loop_episodes
    part = Episodes(episodes.classes[:some], episodes.support[:some], episodes.query[:some])

    rows = []
    for head in ("cosine", "euclidean"):
        seconds: list[float] = []
        loop_seconds: list[float] = []
        for _ in range(arguments.rounds):
            start = time.perf_counter()
            accuracy = few_shot(features, episodes, head)
            seconds.append(time.perf_counter() - start)
            start = time.perf_counter()
            reference = loop(features.numpy(), part, head)
            loop_seconds.append(time.perf_counter() - start)
        if np.abs(accuracy[: len(part)].numpy() - reference).max() > 1e-9:
            raise SystemExit(f"{head}: the vectorized head and the loop disagree")
        ratios = [
            (slow / len(part)) / (fast / arguments.episodes) for slow, fast in zip(loop_seconds, seconds, strict=True)
        ]
        rows.append(
            {
                "head": head,
                "way": way,
                "shot": shot,
                "query": query,
                "dimensions": width,
                "episodes": arguments.episodes,
                "rounds": arguments.rounds,
                "seconds": round(statistics.median(seconds), 3),
                "seconds_each": [round(s, 3) for s in seconds],
                "sampling_seconds": round(sampling, 3),
                "loop_episodes": len(part),
                "loop_seconds": round(statistics.median(loop_seconds), 3),
                "loop_over_vectorized": round(statistics.median(ratios), 2),
                "accuracy": round(float(accuracy.mean()), 4),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    write_or_print(arguments.json, rows)


if __name__ == "__main__":
    main()
