"""Several processes that train together, for tests."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def together(size: int, work: Callable[..., Any], *arguments: Any, start: str = "fork") -> list[Any]:
    """What ``work(rank, *arguments)`` returns on each of some processes, which talk by gloo.

    Processes are forked: they start in no time, and need not import anything again.
    """
    context = mp.get_context(start)
    results = context.Queue()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        context.Process(target=_run, args=(results, rank, size, port, work, arguments)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    try:
        answers = {rank: pickle.loads(sent) for rank, sent in (results.get(timeout=300) for _ in range(size))}
    finally:
        for process in processes:
            process.join(timeout=30)
            if process.is_alive():
                process.kill()
    if failed := [answer for answer in answers.values() if isinstance(answer, _Failed)]:
        raise AssertionError("\n".join(each.text for each in failed))
    return [answers[rank] for rank in range(size)]


class _Failed:
    def __init__(self, text: str) -> None:
        self.text = text


def _run(results: Any, rank: int, size: int, port: int, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", rank=rank, world_size=size, timeout=timedelta(seconds=120))
        answer = work(rank, *arguments)
    except BaseException:
        import traceback

        answer = _Failed(f"rank {rank}: {traceback.format_exc()}")
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    results.put((rank, pickle.dumps(answer)))  # a queue would share memory that ends with the process
    results.close()
    results.join_thread()
