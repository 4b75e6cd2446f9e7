"""The figures of the report, one a file: plain data in, a `Drawn` out."""

from metatc2.report.figures.accuracy import Point, accuracy
from metatc2.report.figures.advice import few_labels
from metatc2.report.figures.base import Drawn, to_png, to_svg
from metatc2.report.figures.conflict import ConflictMeasure, conflict
from metatc2.report.figures.embedding_map import View, embedding_map
from metatc2.report.figures.failures import Misclassified, failures
from metatc2.report.figures.forest import forest
from metatc2.report.figures.heat_map import Grid
from metatc2.report.figures.learning_curves import learning_curves, thinned
from metatc2.report.figures.matrix import matrix
from metatc2.report.figures.neighbors import Neighborhood, Picture, neighbors

__all__ = [
    "ConflictMeasure",
    "Drawn",
    "Grid",
    "Misclassified",
    "Neighborhood",
    "Picture",
    "Point",
    "View",
    "accuracy",
    "conflict",
    "embedding_map",
    "failures",
    "few_labels",
    "forest",
    "learning_curves",
    "matrix",
    "neighbors",
    "thinned",
    "to_png",
    "to_svg",
]
