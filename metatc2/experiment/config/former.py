"""Keys and values of earlier configurations, and what is written in their place now."""

from __future__ import annotations

ISOTROPY = "isotropy is a regularizer of its own"
_BESIDE = "options of an adjoint stand beside its name now: write"
# By dotted key.
FORMER_KEYS = {
    "calibration.isotropy": f"{ISOTROPY} now: write regularizer.name = 'isotropy' (--regularize isotropy) and its weight as "
    "regularizer.weight; the TC² that had it is calibration.adapt = 'shared'",
    "objective.options": "options of an objective are keys of its section now: write objective.temperature = 0.2 in place of "
    "objective.options = {temperature = 0.2}",
    "calibration.last_steps": f"{_BESIDE} calibration.adjoint.last_steps",
    "learner.last_steps": f"{_BESIDE} learner.adjoint.last_steps",
    "learner.at_once": "write learner.vmap_chunk",
    "learner.samples": f"{_BESIDE} learner.adjoint.samples",
}
# By dotted key and value.
FORMER_VALUES = {
    ("calibration.name", "decorrelate"): f"{ISOTROPY} now: write --calibration standardize --regularize isotropy "
    "(calibration.name = 'standardize', regularizer.name = 'isotropy')",
}


def former_key(name: str) -> str | None:
    """What to write in place of a key that there was; None of any other.

    >>> former_key("calibration.isotropy").partition(":")[0]
    'isotropy is a regularizer of its own now'
    """
    return FORMER_KEYS.get(name)


def former_value(name: str, value: object) -> str | None:
    """What to write in place of a value that a key could have; None of any other.

    >>> former_value("calibration.name", "decorrelate")[:36], former_value("calibration.name", "tc2")
    ('isotropy is a regularizer of its own', None)
    """
    return FORMER_VALUES.get((name, value)) if isinstance(value, str) else None
