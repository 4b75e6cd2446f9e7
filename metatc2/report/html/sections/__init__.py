"""The parts of the report, one a file: methods in, a `PageSection` out."""

from metatc2.report.html.sections.comparison import comparison
from metatc2.report.html.sections.configuration import configuration
from metatc2.report.html.sections.conflict import task_conflict
from metatc2.report.html.sections.curves import curves
from metatc2.report.html.sections.fusion import fusion
from metatc2.report.html.sections.images import images
from metatc2.report.html.sections.known_factors import known_factors
from metatc2.report.html.sections.matrix import transfer_matrix
from metatc2.report.html.sections.monitor import monitored
from metatc2.report.html.sections.summary import summary
from metatc2.report.html.sections.transfer import transfer_results

__all__ = [
    "comparison",
    "configuration",
    "curves",
    "fusion",
    "images",
    "known_factors",
    "monitored",
    "summary",
    "task_conflict",
    "transfer_matrix",
    "transfer_results",
]
