"""What every benchmark writes: the environment it ran in, and its rows."""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch

Name = TypeVar("Name")

# glibc gives big tensors back to the system after every step and asks for them again: a third of a step's time. Read when a
# process starts.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "8589934592"}


def environment() -> dict[str, Any]:
    """Versions, processor and threads: what a figure depends on besides the code."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchopt": version("torchopt"),
        "system": platform.system(),
        "cpu": _cpu_model(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
    }


def refuse(sentence: str) -> NoReturn:
    """Say on standard error what is wrong, and exit with status 2."""
    print(f"{Path(sys.argv[0]).name}: {sentence}", file=sys.stderr)
    raise SystemExit(2)


def positive(word: str) -> int:
    """A whole number of 1 or more: for `argparse`, which says what is wrong with another."""
    if not word.isdecimal() or not int(word):
        raise argparse.ArgumentTypeError(f"{word!r} is not a whole number of 1 or more")
    return int(word)


def interleaved(
    names: Iterable[Name], seconds: Callable[[Name], float], rounds: int, *, warm_up: int = 0
) -> dict[Name, list[float]]:
    """What sides take, round by round, in random order within a round: what ran before leaves caches in another state.

    Args:
        names: of the sides.
        seconds: runs a side once and says how long it took, e.g. by `timed`.
        rounds: that count.
        warm_up: rounds before them.

    >>> interleaved(["a", "b"], {"a": 1.0, "b": 2.0}.__getitem__, 2, warm_up=1)
    {'a': [1.0, 1.0], 'b': [2.0, 2.0]}
    """
    result: dict[Name, list[float]] = {name: [] for name in names}
    for i in range(-warm_up, rounds):
        order = list(result)
        random.Random(i).shuffle(order)
        for name in order:
            took = seconds(name)
            if i >= 0:
                result[name].append(took)
    return result


def timed(run: Callable[[], object], now: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of a call.

    Args:
        run: what is called.
        now: the clock; on an accelerator one that waits until it has done what it was asked for.
    """
    begun = now()
    run()
    return now() - begun


def write(path: Path | str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``{"environment": {...}, "rows": [...]}``; the folder is made if it is missing.

    Results of nothing are refused: a file of an earlier measurement stays as it was.

    Args:
        path: the file named by ``--json``.
        rows: one mapping a measured case, made of what JSON holds.
    """
    if not rows:
        refuse(f"nothing has been measured, so {path} is not written; are --runs and the names asked for right?")
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.tmp")
    aside.write_text(text_of(environment(), rows))
    aside.replace(target)


def write_or_print(path: Path | str | None, rows: Sequence[Mapping[str, Any]]) -> None:
    """`write`, or the same on standard output where no file is named."""
    if path:
        write(path, rows)
    else:
        print(json.dumps({"environment": environment(), "rows": rows}, indent=1))


def text_of(about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """JSON with a line for each row: a committed file whose changes can be read.

    >>> print(text_of({"python": "3.11"}, [{"a": 1}, {"a": 2}]), end="")
    {"environment": {"python": "3.11"}, "rows": [
    {"a": 1},
    {"a": 2}
    ]}
    """
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return f'{{"environment": {json.dumps(about)}, "rows": [\n{lines}\n]}}\n'


def resident(field: str) -> int:
    """Bytes this process holds now (VmRSS) or held at most (VmHWM), from Linux; `getrusage` would hand on the parent's peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise SystemExit("peak memory is read from /proc, so this benchmark needs Linux")


def tensor_peak(run: Callable[[], object]) -> int:
    """Most bytes of tensors that a call has alive at once on the CPU, by torch's record of allocations; the same every time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    assert record.profiler is not None
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    now, most = 0, 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def quartiles(values: Sequence[float]) -> list[float]:
    """The lower and the upper quartile, each one of the values.

    >>> quartiles([3.0, 1.0, 2.0, 5.0])
    [2.0, 3.0]
    """
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return [round(ordered[quarter], 4), round(ordered[-1 - quarter], 4)]


def _cpu_model() -> str:
    """The processor's name; `platform.processor` is empty or generic on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
