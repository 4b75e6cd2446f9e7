"""Images as points, by what an encoder makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from metatc2.report.figures.base import FONT, PALETTE, Drawn, in_legend, plain, shorten

# A class is told by shape as well as by color; 5 and 8 have no common factor, so 40 classes stay apart.
SHAPES = ("o", "s", "^", "D", "v")


@dataclass(frozen=True, eq=False)
class View:
    """One projection of one encoder's features.

    Args:
        encoder: whose.
        projection: ``"PCA"``, ``"t-SNE"`` or ``"UMAP"``.
        xy: ``(n, 2)``, in units of its own.
    """

    encoder: str
    projection: str
    xy: NDArray[Any]


def embedding_map(views: Sequence[View], classes: Sequence[int], class_names: Sequence[str], target: str) -> Drawn:
    """Draw one panel a view: a line an encoder, a column a projection.

    Args:
        views: all of the same n images; every encoder in the same projections.
        classes: ``(n,)``: indices into `class_names`.
        class_names: one a class.
        target: what the images are of.
    """
    encoders = list(dict.fromkeys(view.encoder for view in views))
    projections = list(dict.fromkeys(view.projection for view in views))
    figure = Figure(figsize=(3.3 * len(projections) + 1.4, 3.1 * len(encoders)), layout="constrained")
    axes = figure.subplots(len(encoders), len(projections), squeeze=False)
    labels = np.asarray(classes)
    for view in views:
        axis = axes[encoders.index(view.encoder), projections.index(view.projection)]
        for c, name in enumerate(class_names):
            axis.scatter(
                *view.xy[labels == c].T,
                s=14,
                color=PALETTE[c % len(PALETTE)],
                marker=SHAPES[c % len(SHAPES)],
                linewidth=0,
                label=in_legend(shorten(name, 20)),
            )
        axis.set_title(plain(f"{shorten(view.encoder, 30)}, {view.projection}"), fontsize=FONT)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", fontsize=FONT - 1)
    return Drawn(
        name="embedding-map",
        caption=f"{len(labels)} images of {len(class_names)} classes of {target}, placed by their features: near each other "
        "where the encoder finds them alike. Classes are drawn at random; t-SNE and UMAP keep neighborhoods, not distances.",
        alt=f"Scatter plot of {len(labels)} images of {len(class_names)} classes of {target} ({', '.join(class_names)}), "
        f"placed by {' or '.join(projections)} of the features of {' or '.join(encoders)}.",
        figure=figure,
        columns=("encoder", "projection", "image", "class", "x", "y"),
        rows=[
            (view.encoder, view.projection, i, class_names[labels[i]], float(x), float(y))
            for view in views
            for i, (x, y) in enumerate(view.xy)
        ],
    )
