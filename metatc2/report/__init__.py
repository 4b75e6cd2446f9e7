"""What a person looks at: tables on the terminal and figures."""

from metatc2.io.terminal import wide_console
from metatc2.report.figures.demo import COLORS, MethodCurve, demo_figure
from metatc2.report.fusion_tables import fusion_tables
from metatc2.report.tables import comparison_table, estimate_table, matrix_tables, seeds_table, transfer_table

__all__ = [
    "COLORS",
    "MethodCurve",
    "comparison_table",
    "demo_figure",
    "estimate_table",
    "fusion_tables",
    "matrix_tables",
    "seeds_table",
    "transfer_table",
    "wide_console",
]
