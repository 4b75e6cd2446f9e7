"""Six small runs, two methods of three seeds, and the page about them; made once."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from sklearn.manifold import TSNE

from metatc2.experiment import run as runs
from metatc2.experiment.config import merge, read_task
from metatc2.experiment.transfer import transfer
from metatc2.report.html.report import write_report

SETTINGS = {
    "data": {"image_size": 16},
    "encoder": {"width": 8},
    "episode": {"batch": 16},
    "calibration": {"factors": 4, "adapt": "shared"},  # whose features at test time have factors and weights
    "trainer": {"steps": 4, "log_every": 1, "warmup": 0.25},
    "transfer": {
        "targets": ["digits:meta-test", "digits:meta-validation"],
        "few-shot": {"ways": [2], "shots": [1], "query": 5, "episodes": 8, "heads": ["cosine"]},
    },
}
NULL = {"null_mean": 0.2, "null_low": 0.1, "null_high": 0.3}


def pretrain(path: Path, calibration: str, seed: int, *, measured: bool = True) -> Path:
    task = merge(read_task("digits"), SETTINGS, "test")
    config = merge(task, {"calibration": {"name": calibration}, "trainer": {"seed": seed}}, "test")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # four steps are no training, and the trainer says so
        run = runs.pretrain(config, path)
    if measured:
        transfer(run)
    return path


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("runs")
    found = [pretrain(root / f"{name}-s{seed}", name, seed) for name in ("tc2", "none") for seed in range(3)]
    listed = [{"name": "C, <b>rate</b>", "value": 0.5, **NULL}, {"name": "T", "value": 0.15, **NULL}]
    (found[0] / "diagnose.json").write_text(json.dumps({"conflict": listed}))
    return found


@pytest.fixture(scope="session")
def page(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        # As few rounds of t-SNE as it allows: where the points of the map lie is tested in test_report_sample.py.
        given = TSNE.__init__.__kwdefaults__
        patch.setitem(given, "max_iter" if "max_iter" in given else "n_iter", 250)
        return write_report(folders, tmp_path_factory.mktemp("page") / "report.html", assets=True)
