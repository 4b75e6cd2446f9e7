"""Task conflict as `metatc2 diagnose` leaves it in a run folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metatc2.errors import InputError
from metatc2.io.reading import read_json
from metatc2.io.run_files import DIAGNOSIS
from metatc2.io.suggest import command
from metatc2.report.figures.conflict import ConflictMeasure, is_finite

_NUMBERS = ("value", "null_mean", "null_low", "null_high")
_WORDS = {
    "transferability": "T, transferability (above 0 a step on one task helps another)",
    "conflict_rate": "C, conflict rate (share of pairs in which it harms)",
    "own_gain": "own gain (below 0 the step is too long)",
    "cosine": "cosine of two tasks' gradients",
    "cosine_below_zero": "share of cosines below 0",
    "magnitude_similarity": "likeness of gradient lengths",
}
# Of `metatc2.diagnostics.Agreement`, which diagnoses of older versions lack.
_AGREEMENT = {
    "ratio": "gradient agreement (1: tasks share their expected gradient; below 0 they oppose)",
    "difference": "difference of tasks' expected gradients (0: none)",
    "signal": "signal in a gradient (0: all of it is noise)",
}


def read_conflict(folder: Path) -> list[ConflictMeasure] | None:
    """Every figure that has a noise null.

    Args:
        folder: a run folder.

    Returns:
        In the order of the file; None where there is no diagnosis, or none of conflict.

    Raises:
        InputError: if the file is damaged. ``conflict`` is a list of ``{"name", "value", "null_mean", "null_low",
            "null_high"}``, or these numbers by name (`metatc2.diagnostics.Conflict`), or null; ``agreement``, which may be
            missing, is the latter (`metatc2.diagnostics.Agreement`).
    """
    file = folder / DIAGNOSIS
    if not file.exists():
        return None
    try:
        record = read_json(file)
        content = record["conflict"]
        if content is None:
            return None
        named = [(m["name"], m) for m in content] if isinstance(content, list) else list(_named(content))
        both = [*named, *_agreement(record.get("agreement") or {})]
        measures = [ConflictMeasure(folder.name, str(name), *(float(m[key]) for key in _NUMBERS)) for name, m in both]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{file} is no diagnosis ({error!r}); run `{command('diagnose', folder)}` again") from error
    return [measure for measure in measures if is_finite(measure)]


def _named(content: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Figures of the whole, then of the blocks."""
    for key, words in _WORDS.items():
        entry = content[key]
        if "value" in entry:
            yield words, entry
            continue
        for block, measure in entry.items():
            # Cosines are the figure of a block; of the others the whole says enough.
            if key == "cosine" or block == "all":
                yield f"{words}, {'all parameters' if block == 'all' else block}", measure
    for pair in content.get("pairs", ()):
        # Diagnoses of older versions call it "judged".
        evaluated = pair["evaluated"] if "evaluated" in pair else pair["judged"]
        yield f"gain of {evaluated} by a step on {pair['step']}", pair["gain"]


def _agreement(content: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The ratio of every block that has one, and of all parameters the rest."""
    for key, words in _AGREEMENT.items():
        for block, measure in content.get(key, {}).items():
            if measure is not None and (key == "ratio" or block == "all"):
                yield f"{words}, {'all parameters' if block == 'all' else block}", measure
    for pair in content.get("pairs", ()):
        yield f"difference of expected gradients, {pair['first']} and {pair['second']}", pair["difference"]
