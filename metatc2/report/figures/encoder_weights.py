"""What attention over encoders weighs, class by class."""

from __future__ import annotations

from collections.abc import Sequence

from metatc2.report.figures.base import Drawn
from metatc2.report.figures.heat_map import Grid, heat_maps, numbers


def encoder_weights(grids: Sequence[Grid]) -> Drawn:
    """Draw a grid a target: classes by encoders.

    Args:
        grids: at least one; `Grid.accuracy` holds mean weights, rows sum to 1.

    >>> import numpy as np
    >>> encoder_weights([Grid("digits", ["zero"], ["a", "b"], np.array([[0.25, 0.75]]))]).rows[1]
    ('digits', 'zero', 'b', 0.75)
    """
    figure, low, high = heat_maps(grids)
    return Drawn(
        name="encoder-weights",
        caption="Mean weight in % that attention gives each encoder (columns) among the test images of each class (rows), "
        "over draws of labels.",
        alt=f"Heat maps of the weights of {len(grids[0].targets)} encoders by class, from {100 * low:.1f} to "
        f"{100 * high:.1f} %. The numbers are in the table below.",
        figure=figure,
        columns=("target", "class", "encoder", "weight"),
        rows=numbers(grids),
    )
