"""Where an episode is not finite, before it becomes a loss that does not say why."""

from __future__ import annotations

from metatc2.episodes import Episode
from metatc2.ops.finite import all_finite


def not_finite_in(episode: Episode) -> str | None:
    """The first image, label or descriptor that is NaN or infinite, in words; None where all are finite.

    One pass over the tensors in normal steps, without memory of its own.

    >>> import torch
    >>> from metatc2.episodes.samples import Samples
    >>> support, query = (Samples(torch.zeros(1, 2, 1, 3), None, None, torch.tensor([[4, 5]])) for _ in range(2))
    >>> not_finite_in(Episode(support, query)) is None
    True
    >>> query.images[0, 1, 0, 2] = torch.nan
    >>> not_finite_in(Episode(support, query))
    'the query image of task 0, sample 1, view 0, row 5 of the store, holds NaN (1 of 3 values are not finite)'
    """
    for side_name, side in (("support", episode.support), ("query", episode.query)):
        for what, tensor in (("image", side.images), ("label", side.labels), ("descriptor", side.descriptors)):
            if tensor is None or not tensor.is_floating_point() or all_finite(tensor):
                continue
            bad = ~tensor.isfinite()
            place = [int(i) for i in bad.nonzero()[0][: min(tensor.dim(), 2 if what == "label" else 3)]]
            words = ", ".join(f"{name} {i}" for name, i in zip(("task", "sample", "view"), place, strict=False))
            own = tensor[tuple(place)]
            kind = "NaN" if bool(own.isnan().any()) else "infinity"
            row = int(side.index[place[0], place[1]]) if len(place) > 1 else -1
            of_store = f", row {row} of the store," if row >= 0 else ""
            count = int((~own.isfinite()).sum())
            return f"the {side_name} {what} of {words}{of_store} holds {kind} ({count} of {own.numel()} values are not finite)"
    return None
