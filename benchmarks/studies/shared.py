"""What studies share with the benchmarks, whose folder, one up, is put on the path for it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # a script finds the modules of its own folder alone

from common import KEEP_MEMORY, environment, positive, refuse

__all__ = ["KEEP_MEMORY", "environment", "positive", "refuse"]
