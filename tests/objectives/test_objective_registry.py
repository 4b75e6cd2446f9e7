"""Objectives by name."""

from __future__ import annotations

from typing import Any

import pytest

from metatc2.errors import InputError
from metatc2.objectives import (
    OBJECTIVES,
    BarlowTwins,
    LeJEPA,
    MoCo,
    SimCLR,
    VICReg,
    VISReg,
    build_objective,
    objective_options,
)


def test_every_name_builds_its_own_class_with_defaults() -> None:
    assert [objective_options(name)().build(dim=8).name for name in OBJECTIVES] == list(OBJECTIVES)
    barlow, vicreg = build_objective("barlow"), build_objective("vicreg")
    assert isinstance(barlow, BarlowTwins)
    assert isinstance(vicreg, VICReg)
    assert barlow.weight == 0.0051
    assert (vicreg.invariance, vicreg.variance, vicreg.covariance) == (25, 25, 1)
    lejepa, visreg = build_objective("lejepa"), build_objective("visreg")
    assert isinstance(lejepa, LeJEPA)
    assert isinstance(visreg, VISReg)
    assert (lejepa.weight, lejepa.slices, lejepa.seed) == (0.05, 256, 0)
    assert (visreg.weight, visreg.scale, visreg.shape, visreg.center, visreg.slices) == (0.6, 1, 1, 1, 256)


def test_options_reach_the_class() -> None:
    simclr, moco = build_objective("simclr", temperature=1), build_objective("moco", queue=64.0, temperature=0.07)
    assert isinstance(simclr, SimCLR)
    assert isinstance(moco, MoCo)
    assert (simclr.temperature, moco.queue, moco.temperature) == (1, 64, 0.07)
    assert isinstance(moco.queue, int)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("simclr2", {}, "unknown objective 'simclr2'; did you mean 'simclr'"),
        ("simclr", {"temprature": 0.1}, "simclr has no option 'temprature'; did you mean 'temperature'"),
        ("byol", {"temperature": 0.1}, "byol has no option 'temperature'; it takes none"),
        ("simclr", {"temperature": 0}, "simclr: temperature must be above 0, found 0"),
        ("simclr", {"temperature": float("nan")}, "temperature must be above 0, found nan"),
        ("moco", {"queue": 2.5}, "moco: queue must be a whole number, found 2.5"),
        ("moco", {"queue": float("inf")}, "moco: queue must be a whole number, found inf"),
        ("moco", {"queue": -4}, "moco: queue must be above 0, found -4"),
        ("barlow", {"weight": -1}, "barlow: weight must be at least 0, found -1"),
        ("lejepa", {"weight": 1.5}, "lejepa: weight must be from 0 to 1, found 1.5"),
        ("lejepa", {"weight": float("nan")}, "lejepa: weight must be from 0 to 1, found nan"),
        ("lejepa", {"slices": 2.5}, "lejepa: slices must be a whole number, found 2.5"),
        ("lejepa", {"slices": 0}, "lejepa: slices must be above 0, found 0"),
        ("lejepa", {"seed": -1}, "lejepa: seed must be at least 0, found -1"),
        ("visreg", {"shape": -1}, "visreg: shape must be at least 0, found -1"),
        ("vicreg", {"covariance": -1}, "vicreg: covariance must be at least 0, found -1"),
    ],
)
def test_bad_names_and_options_are_errors(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        build_objective(name, **options)
    assert message in str(caught.value)
