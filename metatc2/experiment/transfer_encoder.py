"""`TransferEncoder`: a frozen encoder as a transformer of scikit-learn, for a `Pipeline`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from metatc2.errors import InputError
from metatc2.experiment.load import load_pretrained
from metatc2.experiment.pretrained import Pretrained
from metatc2.experiment.run import Run
from metatc2.models.encoding import encode, place_of
from metatc2.ops.module_state import evaluation_mode
from metatc2.ops.numbers import whole


class TransferEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # no types there
    """Images to the features of a frozen encoder; nothing is learned from the data.

    Args:
        encoder: a module from images ``(N, C, H, W)`` in [0, 1] to ``(N, d)``, a run, or what
            `metatc2.experiment.load.load_pretrained` takes or returns; None leaves the pixels as they are, the control.
        shape: ``(C, H, W)`` of images that are given as rows of pixels; by default that of a run or a name.
        batch: images a forward pass.
        device: where to run; by default where the encoder lies.

    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> images, labels = np.random.default_rng(0).random((12, 1, 8, 8), dtype=np.float32), np.arange(12) % 2
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    >>> make_pipeline(TransferEncoder(network), LogisticRegression()).fit(images, labels).predict(images).shape
    (12,)
    """

    def __init__(
        self,
        encoder: nn.Module | Run | Pretrained | Path | str | None = None,
        *,
        shape: tuple[int, int, int] | None = None,
        batch: int = 512,
        device: str | None = None,
    ) -> None:
        self.encoder, self.shape, self.batch, self.device = encoder, shape, batch, device

    def fit(self, X: Any, y: Any = None) -> Self:
        """Load the encoder, where it is named, and look at the first image.

        Args:
            X: images ``(N, C, H, W)``, ``(N, H, W, C)`` or ``(N, H, W)``, bytes or floating point in [0, 1]; or rows of pixels
                ``(N, C·H·W)``.
            y: not looked at.

        Raises:
            InputError: if the encoder cannot take them, or the device or the batch is none.
        """
        X = self._validated(X, reset=True)
        whole(self.batch, "TransferEncoder: batch", 1)
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:  # of a name that is none, and of a device that is not here
            raise InputError(
                f"TransferEncoder: device {self.device!r} cannot be used here; leave it out, or write cpu or cuda"
            ) from error
        self.encoder_, self.shape_ = self._opened()
        self._n_features_out = self._features(X[:1]).shape[1]
        return self

    def transform(self, X: Any) -> Any:
        """Features, float32 ``(N, d)``.

        Args:
            X: see `fit`.

        Raises:
            InputError: if the encoder cannot take them, or they have another shape than those of `fit`.
        """
        check_is_fitted(self)
        return self._features(self._validated(X, reset=False))

    def _opened(self) -> tuple[nn.Module | None, tuple[int, int, int] | None]:
        if self.encoder is None or isinstance(self.encoder, nn.Module):
            return self.encoder, self.shape
        made = self.encoder if isinstance(self.encoder, Pretrained) else None
        if made is None:
            made = self.encoder.pretrained if isinstance(self.encoder, Run) else load_pretrained(str(self.encoder))
        return made.encoder, self.shape or (made.channels, made.image_size, made.image_size)

    def _features(self, X: Any) -> Any:
        if self.encoder_ is None:
            return X.reshape(len(X), -1)
        images = torch.from_numpy(self._images(X))
        self._check_channels(images.shape[1])
        if images.dtype != torch.uint8 and (white := float(images.max())) > 1:
            raise InputError(
                f"TransferEncoder: images are bytes (uint8) or lie in [0, 1], got {images.dtype} up to {white:g}; "
                "write X.astype(np.uint8), or divide them by the value of white"
            )
        where = place_of(self.encoder_, self.device, images.device)
        parts = []
        with evaluation_mode(self.encoder_), torch.no_grad():
            for some in images.split(self.batch):
                rows = some.to(where)
                rows = rows.float() / 255 if rows.dtype == torch.uint8 else rows.float()
                parts.append(encode(self.encoder_, rows, "TransferEncoder: the encoder").cpu())
        return torch.cat(parts).numpy()

    def _check_channels(self, count: int) -> None:
        """Of one channel an encoder that normalizes three makes three, as commands do."""
        takes = None if self.shape_ is None else self.shape_[0]
        if takes is not None and count not in (1, takes):
            raise InputError(
                f"TransferEncoder: images have {count} channels and the encoder takes {takes}; give images "
                f"(N, {takes}, H, W), or load it with load_pretrained(NAME, channels={count})"
            )

    def _images(self, X: Any) -> Any:
        """``(N, C, H, W)``."""
        if X.ndim == 2:
            if self.shape_ is None or X.shape[1] != int(np.prod(self.shape_)):
                said = "no shape was given" if self.shape_ is None else f"shape is {self.shape_}"
                raise InputError(
                    f"TransferEncoder: rows have {X.shape[1]} pixels and {said}; pass shape=(C, H, W) with "
                    f"C·H·W = {X.shape[1]}, or images (N, C, H, W)"
                )
            X = X.reshape(len(X), *self.shape_)
        X = X[:, None] if X.ndim == 3 else X
        usual = (1, 3) if self.shape_ is None else (1, 3, self.shape_[0])
        if X.shape[1] not in usual and X.shape[-1] in usual:
            X = X.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(X)

    def _validated(self, X: Any, *, reset: bool) -> Any:
        flat = (X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim) < 3
        options: dict[str, Any] = {"reset": reset, "ensure_2d": flat, "allow_nd": not flat}
        try:
            from sklearn.utils.validation import validate_data
        except ImportError:  # before scikit-learn 1.6 it was a method
            return self._validate_data(X, **options)
        return validate_data(self, X, **options)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        tags.input_tags.three_d_array = True
        return tags

    def _more_tags(self) -> dict[str, Any]:
        return {"preserves_dtype": []}
