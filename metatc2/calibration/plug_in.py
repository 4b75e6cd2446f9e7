"""TC² as a plug-in: an encoder whose features are calibrated, for any network, loss and training loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metatc2.calibration.calibrator import Calibrated, Calibrator, standardise
from metatc2.errors import InputError
from metatc2.functional import Functional, NormPolicy
from metatc2.inner import InnerLoop, Params
from metatc2.kernels import in_transform


class CalibratedModule(nn.Module):
    """An encoder and the calibrator of its features as one module; made by `calibrated`.

    In training a batch is an episode of one task, and its samples see each other: statistics and factors are the batch's own
    (as in batch normalisation). In evaluation averages stand for them, and each image is calibrated by itself.

    The averages move in plain calls in training: with the module's own parameters, outside `torch.func` transforms. With
    replaced parameters (`torch.func.functional_call`, a learn2learn clone) they stay as they are.

    Args:
        encoder, calibrator, inner, standardise, blend: see `calibrated`.

    Attributes:
        dim: width d of the features.
        blend: may be changed between calls, so that calibration sets in slowly.
    """

    def __init__(
        self,
        encoder: nn.Module,
        calibrator: Calibrator,
        *,
        inner: InnerLoop | None = None,
        standardise: bool = True,
        blend: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder, self.calibrator = encoder, calibrator
        self.inner, self.standardise, self.blend = inner, standardise, blend
        self.dim = len(calibrator.mean)
        width = getattr(encoder, "dim", self.dim)
        if width != self.dim:
            raise InputError(
                f"calibrated: the encoder has {width} features and the calibrator is for {self.dim}; use "
                f"Calibrator(dim={width}, ...)"
            )
        # Loss of the latest forward, and whose it is: a shallow copy of this module must not take it for its own.
        self._latest: tuple[int, Tensor] | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Calibrated features ``(N, d)`` of images ``(N, ...)``.

        Raises:
            InputError: if the encoder does not return ``(N, d)``; in training, for a single image; in evaluation, if there
                are no averages yet.
        """
        h = self._checked(self.encoder(images), len(images))
        with _full_precision(h):
            z, factors = self._episode(h)
            result: Calibrated = self.calibrator(z, self.blend, factors)
            # The factors must explain the features, not the features fit the factors: outer losses alone shape the encoder.
            still = z.detach()
            own = self.calibrator.loss(still, self.calibrator(still, self.blend, result.factors))
            self._latest = id(self), own
            self._track(h, result.factors)
        return result.features.flatten(0, -2)

    def calibration_loss(self) -> Tensor:
        """L_tc2 of the latest forward, for the outer objective; forgotten once it is read.

        A scalar. Its gradient reaches the parameters of the calibrator that the forward used, and what those were adapted
        from, but not the encoder through the features of that forward (as in `metatc2.learners.TC2`).

        Raises:
            InputError: if there was no forward since it was last read.
        """
        latest, self._latest = self._latest, None
        if latest is None or latest[0] != id(self):
            raise InputError(
                "calibration_loss: there was no forward since it was last read; call the module first, and keep the value if "
                "it is needed twice"
            )
        return latest[1]

    def adapt(self, images: Tensor, params: Params | None = None, *, norm: NormPolicy | None = None) -> Params:
        """Parameters of the calibrator, by their names in this module, after the inner loop on L_tc2 of a support set.

        The encoder runs once; the loop works on its features, and is differentiable as its adjoint says. Queries are then
        calibrated by ``functional_call(module, {**params, **adapted}, (queries,))``. Without an inner loop, or where no
        parameter of the calibrator is trainable, nothing adapts and the dictionary is empty.

        Args:
            images: the support set ``(N, ...)``.
            params: parameters by their names in ``named_parameters()``; those left out are the module's own. Where they are
                given, nothing inside the module moves: neither averages nor running statistics.
            norm: where `params` are given, what batch normalisation in the encoder normalises by, see `Functional`; by
                default ``"batch"`` in training and ``"frozen"`` in evaluation.

        Raises:
            InputError: as in `forward`, or if `params` has a name that the module has not.
            InnerLoopDiverged: if L_tc2 is not finite.
        """
        names = [name for name, p in self.calibrator.named_parameters() if p.requires_grad]
        if self.inner is None or not names:
            return {}
        own: Params = dict(self.named_parameters())
        if unknown := [name for name in params or {} if name not in own]:
            raise InputError(
                f"adapt: the module has no parameter {unknown[0]!r}; names are those of named_parameters(), such as "
                f"{next(iter(own))!r}"
            )
        encoder, omega = (_inside(part, own | (params or {})) for part in ("encoder.", "calibrator."))
        if params is None:
            h = self.encoder(images)
        else:
            h = Functional(self.encoder, norm or ("batch" if self.training else "frozen"))(encoder, images)
        h = self._checked(h, len(images))
        with _full_precision(h):
            z, factors = self._episode(h)
            if params is None:
                self._track(h, self.calibrator.factor_network(z))

            def loss(adapted: Params, z: Tensor) -> Tensor:
                result = functional_call(self.calibrator, omega | adapted, (z, self.blend, factors))
                return self.calibrator.loss(z, result)

            adapted = self.inner(loss, {name: omega[name] for name in names}, z)
        return {f"calibrator.{name}": p for name, p in adapted.items()}

    def __getstate__(self) -> dict[str, Any]:
        """Without the latest loss: a tensor with a graph can be neither copied nor pickled."""
        return self.__dict__ | {"_latest": None}

    def _episode(self, h: Tensor) -> tuple[Tensor, Tensor | None]:
        """The representation ``(tasks, ..., d)``, and the factors where they are not to be taken from it."""
        if not self.training:
            # Under a transform Python cannot look at values; whoever uses one has trained, or called, the module before.
            if not in_transform() and not bool(self.calibrator.average_factors.any()):
                raise InputError(
                    "calibrated: there are no averages for evaluation yet; call the module in training mode first, at "
                    "least once and with its own parameters"
                )
            return self.calibrator.at_test(h, standardised=self.standardise)
        if self.standardise and len(h) < 2:
            raise InputError(
                "calibrated: a single image cannot be standardised over its episode; give at least 2 in training, or call "
                "eval() first"
            )
        return (standardise(h) if self.standardise else h)[None, :, None], None

    def _track(self, h: Tensor, factors: Tensor) -> None:
        # A parameter that was replaced, or cloned with its graph, is a plain tensor.
        if self.training and not in_transform() and all(isinstance(p, nn.Parameter) for p in self.parameters()):
            self.calibrator.track(h, factors)

    def _checked(self, h: Any, count: int) -> Tensor:
        if not isinstance(h, Tensor) or h.shape != (count, self.dim):
            got = tuple(h.shape) if isinstance(h, Tensor) else type(h).__name__
            raise InputError(
                f"calibrated: the encoder must map {count} images to features ({count}, {self.dim}), got {got}; end it "
                f"with a pooling or nn.Flatten(), or use Calibrator(dim=...) of its width"
            )
        # Half precision is for the encoder: losses, statistics and inner loops are in single.
        return h.float() if h.dtype in (torch.bfloat16, torch.float16) else h


def calibrated(
    encoder: nn.Module,
    calibrator: Calibrator,
    *,
    inner: InnerLoop | None = None,
    standardise: bool = True,
    blend: float = 1.0,
) -> CalibratedModule:
    """TC² (Guo et al., arXiv 2511.13787) in any network: drops in wherever `encoder` is expected.

    Args:
        encoder: images ``(N, ...)`` → features ``(N, d)``.
        calibrator: for features of that width.
        inner: how `CalibratedModule.adapt` adapts the calibrator on a task's support set; None: it does not adapt.
        standardise: standardise the features over the batch before they are calibrated.
        blend: share a of the calibrated part.

    Raises:
        InputError: if the encoder says (by an attribute ``dim``) that its width is another.

    >>> import torchopt
    >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 16))
    >>> module = calibrated(encoder, Calibrator(16, 4), inner=InnerLoop(torchopt.sgd(0.1), steps=3))
    >>> support, queries = torch.rand(10, 1, 8, 8), torch.rand(20, 1, 8, 8)
    >>> features = functional_call(module, module.adapt(support), (queries,))
    >>> loss = features.square().mean() + module.calibration_loss()   # your loss in place of the first
    >>> loss.backward()
    >>> features.shape, module.eval()(queries[:1]).shape
    (torch.Size([20, 16]), torch.Size([1, 16]))
    """
    return CalibratedModule(encoder, calibrator, inner=inner, standardise=standardise, blend=blend)


def _inside(prefix: str, params: Params) -> Params:
    return {name.removeprefix(prefix): p for name, p in params.items() if name.startswith(prefix)}


def _full_precision(like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, enabled=False)
