"""One thread unless asked otherwise, seeds that can be shifted, and no time lost around the tests.

The tensors of tests are too small to share, and times stay comparable. What a test says about training or sampling must
not hang on its seed: ``pytest --seed-offset 3 --torch-threads 2`` runs the suite as if it had been written with others.
"""

from __future__ import annotations

import bdb
import functools
import gc
import importlib.metadata
import os
import signal
import sys
import unittest.mock
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Before anything loads NumPy: its threads and SciPy's wait for each other longer than such small matrices take.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where a test asks for two, one that waits for the other must not take the core that the other worker needs.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed-offset", type=int, default=0, metavar="N", help="run tests of behavior with other seeds")
    parser.addoption("--torch-threads", type=int, default=1, metavar="N", help="threads of torch")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return  # this process only hands out tests: it would start later, and runs none
    import torch

    torch.set_num_threads(config.getoption("--torch-threads"))
    for devices in (torch.cuda, torch.xpu, torch.mtia):
        if not devices.is_available():  # else every seed is queued for it, with the text of the stack it came from
            devices.manual_seed_all = lambda seed: None
    # Without a driver, CUDA's library is looked for on disk whenever a random state is kept.
    torch.cuda._raw_device_count_nvml = functools.cache(torch.cuda._raw_device_count_nvml)
    # Before each docstring the debugger that stands ready for it asks for the dates of all files read so far.
    bdb.Bdb.reset = _reset_once(bdb.Bdb.reset)
    # Tests of writing put a disk of their own in its place; for all others the machine outlives the suite.
    os.fsync = lambda opened: None
    importlib.metadata.entry_points = _read_once(importlib.metadata.entry_points)
    # A shell starts what it runs in the background with Ctrl-C ignored, which commands respect; tests of it send one.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _reset_once(reset: Callable[[bdb.Bdb], None]) -> Callable[[bdb.Bdb], None]:
    """What the debugger of doctests begins with, without a look at files that do not change while tests run."""

    def quickly(self: bdb.Bdb) -> None:
        with unittest.mock.patch("linecache.checkcache"):
            reset(self)

    return quickly


def _read_once(entry_points: Callable[..., Any]) -> Callable[..., Any]:
    """What installed packages offer, read from their files once for every path of modules: Fabric asks whenever it is made."""

    @functools.cache
    def offered(path: tuple[str, ...], group: str | None) -> Any:
        return entry_points() if group is None else entry_points(group=group)

    return lambda *, group=None: offered((*sys.path,), group)


def pytest_collection_finish() -> None:
    """Modules and items live as long as the session: the garbage collector need not look at them again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def suite_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the library keeps of data goes to a folder of this run, shared by its workers, and not to the user's."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    os.environ["METATC2_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def seed_offset(request: pytest.FixtureRequest) -> int:
    """What is added to every seed of a test of behavior: 0, or a multiple of 100 000, beyond the seeds that tests count by."""
    return 100_000 * int(request.config.getoption("--seed-offset"))


@pytest.fixture
def few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """`shapes` has 2 400 images, not 20 000, which take most of a second to draw whenever they are loaded."""
    from metatc2.data import load_shapes

    monkeypatch.setitem(load_shapes.__kwdefaults__, "count", 2400)


@pytest.fixture
def small_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing else is asked for, protocols try 5 values of l2, not 45, and 4 pairs of rate and decay, not 20."""
    from metatc2.transfer.protocols.corruption import corruption_robustness
    from metatc2.transfer.protocols.fine_tune import fine_tune
    from metatc2.transfer.protocols.linear import L2_GRID, linear
    from metatc2.transfer.protocols.semi_supervised import semi_supervised_linear
    from metatc2.transfer.protocols.semi_supervised_fine_tune import semi_supervised_fine_tune

    monkeypatch.setitem(linear.__kwdefaults__, "grid", L2_GRID[::11])
    monkeypatch.setitem(semi_supervised_linear.__kwdefaults__, "l2", L2_GRID[::11])
    for function in (fine_tune, semi_supervised_fine_tune):
        defaults = function.__kwdefaults__
        monkeypatch.setitem(defaults, "rates", defaults["rates"][::3])
        monkeypatch.setitem(defaults, "weight_decays", defaults["weight_decays"][::4])
    monkeypatch.setitem(corruption_robustness.__kwdefaults__, "severities", (1, 5))
