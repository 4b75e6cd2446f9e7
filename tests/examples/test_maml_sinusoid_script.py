"""The sinusoid script: it draws, and MAML learns faster than the control even after short training."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from metatc2.episodes import SinusoidTasks

SCRIPT = Path(__file__).parents[2] / "examples" / "maml_sinusoid.py"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    assert len(SCRIPT.read_text().splitlines()) <= 90
    return runpy.run_path(str(SCRIPT))


@pytest.mark.slow
@pytest.mark.parametrize("steps", [10, pytest.param(400, marks=pytest.mark.slow)])
def test_it_draws_and_prints_the_errors_of_both(
    steps: int,
    script: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seed_offset: int,
) -> None:
    if steps < 100:  # errors of fewer tasks too
        monkeypatch.setitem(
            script["main"].__globals__, "SinusoidTasks", lambda **given: SinusoidTasks(**{**given, "tasks": 6})
        )
    out = tmp_path / "picture.png"
    monkeypatch.setattr("sys.argv", [str(SCRIPT), "--steps", str(steps), "--seed", str(seed_offset), "--out", str(out)])
    script["main"]()
    line = r"^(.+), (?:before|after (\d+)) .*: mean squared error ([\d.]+) ± "
    found = re.findall(line, capsys.readouterr().out, re.MULTILINE)
    error = {(name, int(after or 0)): float(value) for name, after, value in found}
    assert len(error) == 6
    control = "Pre-trained on all tasks"
    for inner in (1, 10) if steps > 100 else ():
        # Both start from about the same error; what a few steps gain is what MAML trains.
        assert error["MAML", 0] - error["MAML", inner] > 1.5 * (error[control, 0] - error[control, inner])
    with Image.open(out) as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(2**24) or []) > 100  # not an empty canvas


def test_the_seed_decides(script: dict[str, Any]) -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        return [p.detach() for p in script["train"](1, 3, seed).parameters()]

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
