"""Networks of others that get weights from a file, and whether they take the images that they will be given."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from metatc2.errors import InputError
from metatc2.models.encoding import feature_dim
from metatc2.models.foreign_weights import ForeignWeights, load_foreign, read_weights
from metatc2.models.python import raised

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NORMALIZED = "as ImageNet's networks have it"
OURS = "(x - 0.5) / 0.25"


def fill(encoder: nn.Module, weights: Path, name: str, normalized: str) -> None:
    """Load weights of others into an encoder, and say in a `ForeignWeights` warning what was done.

    Args:
        encoder: its part ``body``, if it has one, gets them.
        weights: safetensors or a file of ``torch.save``, of which no code is run.
        name: of the network, for errors.
        normalized: how images are, for the warning.

    Raises:
        InputError: if the file cannot be read or does not fit.
    """
    warn_of(weights, load_foreign(encoder, read_weights(weights), weights, name), normalized)


def warn_of(weights: Path, said: Sequence[str], normalized: str) -> None:
    """Say what was done to load weights, if anything was.

    Args:
        weights: the file.
        said: what `load_foreign` returned.
        normalized: how images are.
    """
    if said:
        warnings.warn(
            f"{weights}: {'; '.join(said)}; images are normalized {normalized}, so compare that with how it was trained",
            ForeignWeights,
            stacklevel=5,
        )


def check_takes(encoder: nn.Module, name: str, channels: int, size: int) -> None:
    """Pass two black images through an encoder.

    Raises:
        InputError: if it cannot take them, or returns something else than rows of features.
    """
    try:
        feature_dim(encoder, channels, size)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except (Exception, SystemExit) as error:  # whatever networks of others raise on what they were not written for
        reason = (str(error).splitlines() or [""])[0] if isinstance(error, RuntimeError) else raised(error)
        reason = reason[:200] or type(error).__name__
        raise InputError(
            f"{name} cannot take {channels} × {size} × {size} images ({reason}); name others with --image-size and --channels "
            "(image_size, channels)"
        ) from error
