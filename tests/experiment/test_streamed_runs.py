"""Runs on streamed sources, cut in the middle of an epoch: they end in the bits of a run from memory that was never cut."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from metatc2.experiment import run as runs
from metatc2.experiment.config import Config, merge, read_task

from ..covering import some
from .conftest import SETTINGS
from .test_stopping import after

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")

CLASSES, EACH, STEPS, CUT = 3, 8, 5, 4  # an epoch has three steps, so that the cut is after the first of the second


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same images, in the same order, stored in several ways."""
    root, random = tmp_path_factory.mktemp("sources"), np.random.default_rng(0)
    names = [f"class{c}" for c in range(CLASSES)]
    rows: list[tuple[bytes, int]] = []
    for c, name in enumerate(names):
        (root / "photos" / name).mkdir(parents=True)
        for i in range(EACH):
            file = root / "photos" / name / f"{i}.png"
            Image.fromarray(random.integers(0, 256, (16, 16), dtype=np.uint8)).save(file)
            rows.append((file.read_bytes(), c))
    kinds = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=names))
    columns = {"image": [{"bytes": image, "path": None} for image, _ in rows], "label": [label for _, label in rows]}
    datasets.Dataset.from_dict(columns, features=kinds).save_to_disk(str(root / "arrow"))
    (root / "tars").mkdir()
    for shard in range(2):
        with tarfile.open(root / "tars" / f"{shard}.tar", "w") as tar:
            for i, (image, label) in list(enumerate(rows))[shard * 10 : shard * 10 + (10 if shard == 0 else 14)]:
                for ending, content in (("png", image), ("cls", names[label].encode())):
                    about = tarfile.TarInfo(f"{i:03d}.{ending}")
                    about.size = len(content)
                    tar.addfile(about, io.BytesIO(content))
    return {"folder": f"folder:{root / 'photos'}", "hf": f"hf:{root / 'arrow'}", "wds": f"wds:{root / 'tars'}"}


def configured(source: str, stream: bool) -> Config:
    made = merge(read_task(source), SETTINGS, "test")
    # Images are shuffled anew in each epoch.
    data = {"stream": stream, "workers": 2 * stream}
    return merge(made, {"data": data, "trainer": {"steps": STEPS, "checkpoint_every": 100}}, "test")


@pytest.fixture(scope="module")
def from_memory(sources: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    return runs.pretrain(configured(sources["folder"], False), tmp_path_factory.mktemp("run") / "run").encoder_sha256


@pytest.mark.parametrize("kind", some(["folder", "hf", "wds"], ["folder"]))
def test_a_run_that_is_cut_within_an_epoch_ends_in_the_same_bits(
    sources: dict[str, str], from_memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("METATC2_CACHE", str(tmp_path / "cache"))
    with pytest.raises(runs.TrainingStopped, match=f"step {CUT} of {STEPS}"):
        runs.pretrain(configured(sources[kind], True), tmp_path / "run", stop=after(CUT))
    assert runs.resume(tmp_path / "run").encoder_sha256 == from_memory
