"""The cache folder under several processes and a clock that was set: what is recalled is whole, or nothing is."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metatc2.data import load
from metatc2.data.cache import Form, recall, remember

from ..command_line import PATIENCE

FORM: Form = {"of": (np.int64, (None,))}
FUTURE, PAST = 4_102_444_800, 1  # the years 2100 and 1970


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METATC2_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _writer(number: int, times: int) -> None:
    for _ in range(times):
        remember("a key", {"of": np.full(20_000, number)})


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_cache_that_two_processes_build_at_once_is_whole(cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_writer, args=(number, 30)) for number in (1, 2)]
    for writer in writers:
        writer.start()
    found = set()
    try:
        while any(writer.is_alive() for writer in writers):
            if (facts := recall("a key", FORM)) is not None:
                assert len(facts["of"]) == 20_000
                kinds = set(facts["of"].tolist())
                assert len(kinds) == 1
                found |= kinds
        for writer in writers:
            writer.join(PATIENCE)
            assert writer.exitcode == 0
    finally:
        for writer in writers:
            writer.kill()
            writer.join()
    last = recall("a key", FORM)
    assert last is not None
    assert found | set(last["of"].tolist()) <= {1, 2}
    assert [file.suffix for file in cache.iterdir()] == [".npz"]


def test_times_of_files_that_a_clock_moved_are_only_told_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("L", (8, 8), 40 * i + 7).save(tmp_path / "photos" / name / f"{i}.png")
    file, source = tmp_path / "photos" / "a" / "0.png", f"folder:{tmp_path / 'photos'}"
    sums = []
    for time, gray in ((FUTURE, 90), (PAST, 91), (FUTURE, 90)):
        Image.new("L", (8, 8), gray).save(file)
        os.utime(file, (time, time))
        sums.append(load(source, stream=True).checksum())
        assert sums[-1] == load(source).checksum()
    assert sums[0] == sums[2] != sums[1]
