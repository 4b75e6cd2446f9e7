"""Commands on several processes, as they are started: by the command itself, and by torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from metatc2.cli import main
from metatc2.errors import InputError
from metatc2.training.devices import placed
from metatc2.training.placement import Placement
from metatc2.transfer import read_results

SMALL = ["trainer.accelerator=cpu", "trainer.threads=1", "encoder.width=8", "data.image_size=16", "episode.batch=32"]


def command(*words: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    return subprocess.run(
        [sys.executable, *(launcher or ("-m", "metatc2")), *words],
        env={**env, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def flat(file: Path) -> torch.Tensor:
    return torch.cat([t.float().flatten() for name, t in sorted(load_file(file).items()) if "running" not in name])


# The dashes keep torchrun from reading options that are not its own.
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--", "metatc2")


@pytest.mark.slow
def test_two_processes_end_where_one_does(tmp_path: Path) -> None:
    asked = ["pretrain", "glyphs", "--calibration", "none", "--set", *SMALL]
    main([*asked, "--steps", "4", "--run", str(tmp_path / "one")])
    main([*asked, "trainer.lr=1e-30", "--steps", "4", "--run", str(tmp_path / "none")])
    two = command(*asked, "--steps", "2", "--run", str(tmp_path / "two"), "--devices", "2")
    assert two.returncode == 0, two.stderr
    assert two.stderr.count("holds the encoder") == 1
    # Longer, by another launcher.
    longer = command("pretrain", "--resume", str(tmp_path / "two"), "--steps", "4", launcher=TORCHRUN)
    assert longer.returncode == 0, longer.stderr
    straight = command(*asked, "--steps", "4", "--run", str(tmp_path / "torchrun"), launcher=TORCHRUN)
    assert straight.returncode == 0, straight.stderr
    # In single precision, whose rounding Adam enlarges where a gradient is nearly zero; test_ranks.py compares in double.
    start, one, other = (flat(tmp_path / name / "encoder.safetensors") for name in ("none", "one", "torchrun"))
    assert torch.cosine_similarity(other - start, one - start, dim=0) > 0.95
    records = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [2, 4]
    measured = command("transfer", str(tmp_path / "two"), "--to", "digits", "--devices", "2", "--episodes", "20")
    assert measured.returncode == 0, measured.stderr
    rows = read_results(tmp_path / "two" / "transfer.json")[0]
    main(["transfer", str(tmp_path / "two"), "--to", "digits", "--episodes", "20", "--out", str(tmp_path / "alone")])
    alone = read_results(tmp_path / "alone" / "transfer.json")[0]
    assert [row.key for row in rows] == [row.key for row in alone]
    assert [row.mean for row in rows] == pytest.approx([row.mean for row in alone], abs=1e-9)


def test_more_processes_than_tasks_are_refused_before_any_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", "glyphs", "--devices", "5", "--run", str(tmp_path / "run"), "--set", *SMALL])
    assert ended.value.code == 2
    assert "5 processes and 4 tasks an episode" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_another_number_than_the_launcher_started_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", "glyphs", "--devices", "3", "--run", str(tmp_path / "run"), "--set", *SMALL])
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "the launcher started 2 processes on each of 2 nodes, and trainer.devices = 3 and trainer.nodes = 1" in said


@pytest.mark.parametrize("placement", [Placement(devices=0), Placement(devices=-1), Placement(nodes=0)])
def test_no_devices_are_named_as_such(placement: Placement) -> None:
    """Lightning would say that the accelerator is wrong."""
    with pytest.raises(InputError, match="(devices|nodes) must be at least 1"):
        placed(placement)
