"""What features tell of known factors, as `metatc2 diagnose` leaves it in a run folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from metatc2.errors import InputError
from metatc2.io.reading import read_json
from metatc2.io.run_files import DIAGNOSIS
from metatc2.io.suggest import command

#: By kind of features, then by factor (the last one ``"mean"``): value and selectivity.
Known = Mapping[str, Mapping[str, tuple[float, float]]]


def read_known_factors(folder: Path) -> Known:
    """Value and selectivity of every factor.

    Args:
        folder: a run folder.

    Returns:
        Empty where there is no diagnosis, or none of known factors.

    Raises:
        InputError: if the file is damaged: ``known_factors`` is null, missing, or a `metatc2.diagnostics.FactorMatrix` by kind
            of features.
    """
    file = folder / DIAGNOSIS
    if not file.exists():
        return {}
    try:
        by_kind = {}
        for kind, matrix in (read_json(file).get("known_factors") or {}).items():
            cells = {str(name): (probe["value"], probe["selectivity"]) for name, probe in matrix["factors"].items()}
            cells["mean"] = matrix["mean"], matrix["mean_selectivity"]
            by_kind[str(kind)] = {name: (float(value), float(less)) for name, (value, less) in cells.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{file} is no diagnosis ({error!r}); run `{command('diagnose', folder)}` again") from error
    return {
        kind: {name: cell for name, cell in cells.items() if all(map(math.isfinite, cell))}
        for kind, cells in by_kind.items()
    }
