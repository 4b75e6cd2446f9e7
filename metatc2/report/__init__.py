"""What a person looks at: tables on the terminal and figures."""

from metatc2.report.demo_figure import COLOURS, MethodCurve, demo_figure
from metatc2.report.tables import comparison_table, estimate_table, matrix_tables, transfer_table
from metatc2.terminal import wide_console

__all__ = [
    "COLOURS",
    "MethodCurve",
    "comparison_table",
    "demo_figure",
    "estimate_table",
    "matrix_tables",
    "transfer_table",
    "wide_console",
]
