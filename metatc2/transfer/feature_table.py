"""Features of a store's images under several encoders: each image once, kept in memory and, if asked, on disk."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from metatc2.data.store import ImageStore
from metatc2.data.streaming import StreamedImages
from metatc2.errors import cause_of
from metatc2.io.files import write_atomically
from metatc2.io.safetensors_file import read_safetensors, tensors_sha256
from metatc2.models.features import extract, finite, raw_pixels
from metatc2.ops.ranks import ALONE, Ranks
from metatc2.transfer.targets import image_fingerprint

FeatureFunction = Callable[[Tensor], Tensor]
Encoder = nn.Module | FeatureFunction | None


#: Numbers a channel of the images of a forward pass, at most: 512 images of 64 pixels, 41 of 224, which would fill a memory.
_PIXELS = 512 * 64 * 64
#: Seconds between two sentences on what is left.
_PATIENCE = 10.0


class FeaturesNotKept(UserWarning):
    """Features could not be kept on disk; the next call computes them again."""


class FeatureTable:
    """Rows of a store to features, under each of several encoders.

    Args:
        store: where the images are.
        encoders: by name: a module (see `extract`), a function from uint8 images ``(n, C, H, W)`` to ``(n, D)``, or None
            for raw pixels.
        batch: images a forward pass, fewer where they are large.
        device: where modules run; by default where they lie.
        cache: folder for features of modules, by the checksums of module and images; None keeps nothing on disk.
        ranks: processes that share the images; each asks for the same rows in the same order.
        tell: gets a sentence on what is left every ten seconds, where features of a module take longer.

    >>> store = ImageStore("toy", torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.arange(5))
    >>> FeatureTable(store, {"raw pixels": None}).at("raw pixels", torch.tensor([4, 0])).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        store: ImageStore,
        encoders: Mapping[str, Encoder],
        *,
        batch: int = 512,
        device: torch.device | str | None = None,
        cache: Path | None = None,
        ranks: Ranks = ALONE,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.store = store
        self.encoders = encoders
        self.batch = batch
        self.device = device
        self.cache = cache
        self.ranks = ranks
        self.tell = tell
        # Place of each row of the store among the features that are there already; -1 where it is not.
        self._place = {name: torch.full((len(store),), -1) for name in encoders}
        self._found: dict[str, Tensor] = {}
        self._checksums: dict[str, str] = {}

    def at(self, name: str, rows: Tensor) -> Tensor:
        """Features of rows of the store under one encoder.

        Args:
            name: of the encoder.
            rows: int64 ``(n,)``, in any order, repeated or not.

        Returns:
            float32 ``(n, D)`` on the CPU.

        Raises:
            InputError: if the encoder does not take these images, or features are not finite.
        """
        place = self._place[name]
        wanted = torch.unique(rows)
        missing = wanted[place[wanted] < 0]
        if len(missing):
            new = self._compute(name, missing)
            known = self._found.get(name)
            place[missing] = torch.arange(len(missing)) + (0 if known is None else len(known))
            self._found[name] = new if known is None else torch.cat([known, new])
        return self._found[name][place[rows]]

    def _compute(self, name: str, rows: Tensor) -> Tensor:
        encoder = self.encoders[name]
        # Processes share the work or none does it, whatever one of them has kept.
        if not isinstance(encoder, nn.Module) or self.ranks.any(self.cache is None) or self.cache is None:
            return self._run(name, rows)
        if name not in self._checksums:
            self._checksums[name] = module_sha256(encoder)
        key = hashlib.sha256(f"{self._checksums[name]} {image_fingerprint(self.store, rows)}".encode()).hexdigest()
        file = self.cache / f"{key[:32]}.safetensors"
        features = _read(file, key, len(rows))
        if self.ranks.any(features is None) or features is None:
            features = self._run(name, rows)
            about = {"content": "metatc2 features", "key": key, "sha256": tensors_sha256({"features": features})}
            if self.ranks.first:
                self._keep(file, save_tensors({"features": features}, about))
        return finite(features, name)

    def _keep(self, file: Path, content: bytes) -> None:
        try:
            write_atomically(file, content)
        except OSError as error:
            self.cache = None  # one warning is enough
            warnings.warn(
                f"{file.parent} cannot be written ({cause_of(error)}); features are computed and not kept, so the next "
                "call computes them again",
                FeaturesNotKept,
                stacklevel=4,
            )

    def run(self, name: str, images: Tensor) -> Tensor:
        """Features ``(n, D)`` of other images, uint8 ``(n, C, H, W)``, under one of the encoders; nothing is kept.

        Raises:
            InputError: if the encoder does not take them, or features are not finite.
        """
        encoder = self.encoders[name]
        if isinstance(encoder, nn.Module):
            return extract(encoder, images, batch=self.batch, device=self.device, name=name)
        function = raw_pixels if encoder is None else encoder
        with torch.no_grad():
            return finite(function(images).float().cpu(), name)

    def _run(self, name: str, rows: Tensor) -> Tensor:
        if self.ranks.alone or len(rows) < self.ranks.size:
            return self._run_here(name, rows)
        return self.ranks.gather_cpu(self._run_here(name, rows[self.ranks.part(len(rows))]))

    def _run_here(self, name: str, rows: Tensor) -> Tensor:
        # A batch at a time: the images may lie on disk.
        _, height, width = self.store.images.shape[1:]
        parts, computed = torch.split(rows, min(self.batch, max(1, _PIXELS // (height * width)))), []
        started = said = time.perf_counter()
        for i, part in enumerate(parts):
            if self.tell and self.ranks.first and i and (now := time.perf_counter()) - said > _PATIENCE:
                left, said = (now - started) / i * (len(parts) - i), now
                done = sum(map(len, parts[:i]))
                self.tell(f"{self.store.name}: {name}, features of {done} of {len(rows)} images; {left:.0f} s left")
            images = self.store.images[part]
            if isinstance(self.store.images, StreamedImages) and i + 1 < len(parts):
                self.store.images.prefetch(parts[i + 1])
            computed.append(self.run(name, images))
        return torch.cat(computed)


def module_sha256(module: nn.Module) -> str:
    """Checksum of what a module computes: its tensors, its structure as it prints itself, and plain attributes of its parts.

    >>> torch.manual_seed(0) and module_sha256(nn.Linear(2, 2)) == module_sha256(nn.Linear(2, 2))
    False
    """
    plain = [
        (path, type(part).__module__, type(part).__qualname__, name, repr(value))
        for path, part in module.named_modules()
        for name, value in sorted(vars(part).items())
        if isinstance(value, (bool, int, float, str, tuple)) and name != "training"
    ]
    structure = f"{type(module).__module__}.{type(module).__qualname__} {module!r} {plain}"
    return hashlib.sha256(f"{structure} {tensors_sha256(module.state_dict())}".encode()).hexdigest()


def _read(file: Path, key: str, rows: int) -> Tensor | None:
    """Features kept earlier; None where there are none, or what is there is damaged: they can be computed again."""
    try:
        tensors, about = read_safetensors(file)
        features = tensors["features"]
        right = about.get("key") == key and about.get("sha256") == tensors_sha256({"features": features})
        whole = right and features.ndim == 2 and len(features) == rows and features.dtype == torch.float32
        whole = whole and bool(features.isfinite().all())
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError):
        return None
    return features if whole else None
