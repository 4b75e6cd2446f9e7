"""Features in the plane."""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

_SEED = 0


def projections(features: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """PCA and t-SNE, and UMAP where it is installed.

    Args:
        features: ``(n, d)``, n at least 4.

    Returns:
        By name ``(n, 2)``. The same features give the same places.

    >>> list(projections(np.random.default_rng(0).normal(size=(12, 5))))[:2]
    ['PCA', 't-SNE']
    """
    n, d = features.shape
    maps = {"PCA": _wide(_pca(features, min(2, d)))}
    # t-SNE on 50 components is faster and hardly another (van der Maaten and Hinton 2008, section 4.2).
    small = _pca(features, 50) if min(n, d) > 50 else features
    perplexity = min(30.0, (n - 1) / 3)
    # A start of our own: scikit-learn's divides by the spread, which may be nothing.
    start = maps["PCA"] / max(float(maps["PCA"][:, 0].std()), 1e-12) * 1e-4
    tsne = TSNE(perplexity=perplexity, init=start.astype(np.float32), random_state=_SEED)
    maps["t-SNE"] = tsne.fit_transform(small)
    if find_spec("umap") is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells that a seed costs its threads
            reducer = import_module("umap").UMAP(n_neighbors=min(15, n - 1), random_state=_SEED)
            maps["UMAP"] = np.asarray(reducer.fit_transform(small))
    return maps


def _pca(features: NDArray[Any], components: int) -> NDArray[Any]:
    # It divides by the variance for a ratio that was not asked for; features all alike have none.
    with np.errstate(invalid="ignore"):
        made: NDArray[Any] = PCA(components, svd_solver="full").fit_transform(features)
    return made


def _wide(xy: NDArray[Any]) -> NDArray[Any]:
    """One component is a line: the second is zero."""
    return xy if xy.shape[1] == 2 else np.column_stack([xy, np.zeros(len(xy))])
