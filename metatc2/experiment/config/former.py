"""Keys and values of earlier configurations, and what is written in their place now."""

from __future__ import annotations

ISOTROPY = "isotropy is a regularizer of its own"
_BESIDE = "options of an adjoint stand beside its name now: write"
_OF_PROTOCOL = "options of a protocol stand in its section now: write"
# By dotted key.
FORMER_KEYS = {
    "calibration.isotropy": f"{ISOTROPY} now: write regularizer.name = 'isotropy' (--regularize isotropy) and its weight as "
    "regularizer.weight; the TC² that had it is calibration.adapt = 'shared'",
    "objective.options": "options of an objective are keys of its section now: write objective.temperature = 0.2 in place of "
    "objective.options = {temperature = 0.2}",
    "calibration.last_steps": f"{_BESIDE} calibration.adjoint.last_steps",
    "learner.last_steps": f"{_BESIDE} learner.adjoint.last_steps",
    "learner.at_once": "write learner.vmap_chunk",
    "transfer.way": f"{_OF_PROTOCOL} transfer.few-shot.ways",
    "transfer.shot": f"{_OF_PROTOCOL} transfer.few-shot.shots",
    "transfer.query": f"{_OF_PROTOCOL} transfer.few-shot.query",
    "transfer.episodes": f"{_OF_PROTOCOL} transfer.few-shot.episodes",
    "transfer.heads": f"{_OF_PROTOCOL} transfer.few-shot.heads",
    "transfer.fractions": f"{_OF_PROTOCOL} transfer.semi-supervised.fractions, or transfer.semi-supervised-fine-tune.fractions",
    "transfer.fine_tune_steps": f"{_OF_PROTOCOL} transfer.fine-tune.steps, or transfer.semi-supervised-fine-tune.steps",
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
