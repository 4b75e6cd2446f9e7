"""A cache that nothing else uses; small images in class folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METATC2_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of each of three classes, gray and color and of several sizes, as files in class folders."""
    root, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name in ("ant", "bee", "cat"):
        (root / name).mkdir()
        for i in range(4):
            shape = (int(random.integers(9, 30)), int(random.integers(9, 30)), *([3] * (i % 2)))
            Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(root / name / f"{i}.png")
    return root
