"""What `metatc2 fuse --json` wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from metatc2.errors import InputError
from metatc2.io.reading import read_json
from metatc2.transfer.fusion.measure import FusionDifference, FusionRow


@dataclass(frozen=True)
class Fusion:
    """Rows and paired differences of a file.

    Args:
        rows: at least one.
        differences: of these rows.
        notes: sentences without their full stop.
    """

    rows: list[FusionRow]
    differences: list[FusionDifference]
    notes: list[str]


def read_fusion(file: Path) -> Fusion:
    """Read a file of ``metatc2 fuse --json``.

    Raises:
        InputError: if it cannot be read, or is something else.
    """
    try:
        record = read_json(file)
        made = Fusion(
            TypeAdapter(list[FusionRow]).validate_python(record["rows"]),
            TypeAdapter(list[FusionDifference]).validate_python(record["differences"]),
            TypeAdapter(list[str]).validate_python(record["notes"]),
        )
        if not made.rows:
            raise ValueError("no rows")
        if not all(made.notes):
            raise ValueError("an empty note")
        for row in made.rows:
            weights = (*row.weights_by_class, *([row.weights] if row.weights else []))
            if not row.accuracies or any(len(w) != len(row.encoders) for w in weights):
                raise ValueError(f"a row of {row.method} lacks accuracies or weights")
            if row.weights_by_class and (len(row.weights_by_class) != len(row.classes) or not row.weights):
                raise ValueError(f"a row of {row.method} has weights of other classes")
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise InputError(
            f"--fusion {file}: is no result of fusion ({why}); make one with metatc2 fuse DIR DIR --to "
            "TARGET --json FILE"
        ) from error
    return made
