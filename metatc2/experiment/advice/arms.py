"""What advice compares: controls, methods of pre-training, and the encoders that the user names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What an arm is."""

    CONTROL = "control"
    PRE_TRAINED = "pre-trained here"
    GIVEN = "given"


@dataclass(frozen=True)
class Arm:
    """One way to get from images and a few labels to a classifier.

    Args:
        key: of its files.
        label: in tables and sentences.
        kind: see `Kind`.
        assignments: of its configuration, where it is pre-trained here.
    """

    key: str
    label: str
    kind: Kind
    assignments: tuple[str, ...] = ()


PIXELS = Arm("raw-pixels", "raw pixels", Kind.CONTROL)
RANDOM = Arm("random-encoder", "a random encoder", Kind.CONTROL)
SCRATCH = Arm("from-scratch", "training from scratch", Kind.CONTROL)
CONTROLS = (PIXELS, RANDOM, SCRATCH)

_SIMCLR = ("objective.name=simclr", "objective.temperature=0.2")


def _method(key: str, label: str, *assignments: str) -> Arm:
    return Arm(key, label, Kind.PRE_TRAINED, assignments)


#: By the name that is typed. Settings are those of docs/evidence.md on photographs: VISReg at the weight that held-out images
#: chose is the strongest plain recipe under SimCLR there, TC² with isotropy is above every plain one under Barlow Twins.
METHODS: Mapping[str, Arm] = {
    arm.key: arm
    for arm in (
        _method("simclr", "SimCLR", *_SIMCLR, "calibration.name=none", "regularizer.name=none"),
        _method(
            "simclr-visreg",
            "SimCLR + VISReg",
            *_SIMCLR,
            "calibration.name=none",
            "regularizer.name=visreg",
            "regularizer.weight=0.3",
        ),
        _method("barlow", "Barlow Twins", "objective.name=barlow", "calibration.name=none", "regularizer.name=none"),
        _method(
            "barlow-tc2-isotropy",
            "Barlow Twins + TC² + isotropy",
            "objective.name=barlow",
            "calibration.name=tc2",
            "regularizer.name=isotropy",
        ),
    )
}
