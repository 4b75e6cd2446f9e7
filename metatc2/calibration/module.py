"""TC² as a plug-in: an encoder whose features are calibrated, for any network, loss and training loop."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from metatc2.calibration.calibrator import Calibrated, Calibrator, standardize
from metatc2.calibration.pending import Pending
from metatc2.errors import InputError
from metatc2.inner import InnerLoop, Params
from metatc2.ops import in_transform
from metatc2.ops.functional import Functional, NormPolicy, inside
from metatc2.ops.precision import without_autocast
from metatc2.ops.replacing import replaced


class NoAveragesWarning(UserWarning):
    """A calibrated module was evaluated before it was trained or loaded."""


class CalibratedModule(nn.Module):
    """An encoder and the calibrator of its features as one module; made by `calibrated`.

    In training a batch is an episode of one task, and its samples see each other: statistics and factors are the batch's own
    (as in batch normalization). In evaluation averages stand for them, and each image is calibrated by itself.

    The averages move in plain calls in training: with the module's own parameters, outside `torch.func` transforms. With
    replaced parameters (`metatc2.ops.functional.call`, a learn2learn clone) they stay as they are. Evaluated before the first
    such call (as by the sanity check of a Lightning trainer), a module uses what averages start from, see `Calibrator`, and a
    `NoAveragesWarning` says so once.

    Features come in the wider dtype of the encoder's output and the calibrator, as in torch's type promotion: a module in
    half precision gives half precision, and one in single gives single, under autocast too. Statistics, factors, losses and
    inner loops are computed in single at least.

    In evaluation the module can be compiled, traced and exported (`torch.compile`, `torch.jit.trace`, `torch.export`); what
    was compiled so has no `calibration_loss`.

    Args:
        encoder, calibrator, inner, standardize, blend: see `calibrated`.

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
        standardize: bool = True,
        blend: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder, self.calibrator = encoder, calibrator
        self.inner, self.standardize, self.blend = inner, standardize, blend
        self.dim = len(calibrator.mean)
        width = getattr(encoder, "dim", self.dim)
        if width != self.dim:
            raise InputError(
                f"calibrated: the encoder has {width} features and the calibrator is for {self.dim}; use "
                f"parts of that width, PooledFactors({width}, K) and SampleWeights({width})"
            )
        self._pending = Pending()
        self._warned = False

    def forward(self, images: Tensor) -> Tensor:
        """Calibrated features ``(N, d)`` of images ``(N, ...)``.

        Raises:
            InputError: if the encoder does not return ``(N, d)``; in training, for a single image.
        """
        h = self._checked(self.encoder(images), images)
        wide = self.calibrator.widened(h)
        with without_autocast(h):
            z, factors = self._episode(wide)
            result: Calibrated = self.calibrator(z, self.blend, factors)
            if self.training or not _traced():
                # The factors must explain the features, not the features fit the factors: outer losses alone shape the encoder.
                still = z.detach()
                own = self.calibrator.loss(still, self.calibrator(still, self.blend, result.factors))
                self._remember(own, wide, result.factors)
        return result.features.flatten(0, -2).to(self.calibrator.result_dtype(h))

    def calibration_loss(self, *, latest: bool = False) -> Tensor:
        """L_tc2 of the forwards since it was last read, for the outer objective; forgotten once it is read.

        A scalar: the *mean* over the training forwards, so that two views may come in one call or in two. Where parameters are
        replaced, and in evaluation, it is that of the latest forward alone: an inner loop makes many of which only the last
        one evaluates. Forwards without a gradient (``torch.no_grad``) do not count beside others, nor do those from before an
        optimizer step, or older than the last 64.

        Its gradient reaches the parameters of the calibrator that the forward used, and what those were adapted from, but not
        the encoder through the features of that forward (as in `metatc2.learners.SharedTC2`).

        Args:
            latest: take that of the latest forward alone in any case, and forget the others.

        Raises:
            InputError: if there was no forward since it was last read.
        """
        if latest:
            loss, self._pending = self._pending.last(id(self)), Pending()
        else:
            loss, self._pending = self._pending.read(id(self), training=self.training)
        if loss is None:
            raise InputError(
                "calibration_loss: there was no forward since it was last read; call the module first, and keep the value if "
                "it is needed twice"
            )
        return loss

    def adapt(self, images: Tensor, params: Params | None = None, *, norm: NormPolicy | None = None) -> Params:
        """Parameters of the calibrator, by their names in this module, after the inner loop on L_tc2 of a support set.

        The encoder runs once; the loop works on its features, and is differentiable as its adjoint says. Queries are then
        calibrated by ``metatc2.ops.functional.call(module, {**params, **adapted}, queries)``. Without an inner loop, or
        where no parameter of the calibrator is trainable, nothing adapts and the dictionary is empty.

        Args:
            images: the support set ``(N, ...)``.
            params: parameters by their names in ``named_parameters()``; those left out are the module's own. Where they are
                given, nothing inside the module moves: neither averages nor running statistics.
            norm: where `params` are given, what batch normalization in the encoder normalizes by, see `Functional`; by
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
        encoder, omega = (inside(part, own | (params or {})) for part in ("encoder.", "calibrator."))
        if params is None:
            h = self.encoder(images)
        else:
            h = Functional(self.encoder, norm or ("batch" if self.training else "frozen"))(encoder, images)
        h = self.calibrator.widened(self._checked(h, images))
        with without_autocast(h):
            z, factors = self._episode(h)
            if params is None and self._counts():
                self.calibrator.track(h, self.calibrator.factor_network(z))

            def loss(adapted: Params, z: Tensor) -> Tensor:
                with replaced(self.calibrator, omega | adapted):
                    return self.calibrator.loss(z, self.calibrator(z, self.blend, factors))

            adapted = self.inner(loss, {name: omega[name].to(z.dtype) for name in names}, z)
        return {f"calibrator.{name}": p.to(omega[name].dtype) for name, p in adapted.items()}

    def __getstate__(self) -> dict[str, Any]:
        """Without losses that were not read: a tensor with a graph can be neither copied nor pickled."""
        return self.__dict__ | {"_pending": Pending()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({"_pending": Pending(), "_warned": False, **state})  # type: ignore[no-untyped-call]

    def _episode(self, h: Tensor) -> tuple[Tensor, Tensor | None]:
        """The representation ``(tasks, ..., d)``, and the factors where they are not to be taken from it."""
        if not self.training:
            if not self._warned and not _traced() and not in_transform():
                self._warn_once()
            return self.calibrator.at_test(h, standardized=self.standardize)
        if self.standardize and len(h) < 2:
            raise InputError(
                "calibrated: a single image cannot be standardized over its episode; give at least 2 in training, or call "
                "eval() first"
            )
        return (standardize(h) if self.standardize else h)[None, :, None], None

    def _warn_once(self) -> None:
        if not bool(self.calibrator.average_factors.any()):
            warnings.warn(
                "calibrated: evaluated before it was trained or loaded, so mean 0, variance 1 and the factors it started with "
                "stand for the averages; call the module in training mode first, with its own parameters",
                NoAveragesWarning,
                stacklevel=5,
            )
        # Once there are averages they stay; once said is enough.
        self._warned = True

    def _counts(self) -> bool:
        """Whether this is a plain call in training, and not a checkpoint's or an adjoint's repetition of one."""
        # A parameter that was replaced, or cloned with its graph, is a plain tensor.
        return (
            self.training
            and not in_transform()
            and not _in_backward()
            and all(isinstance(p, nn.Parameter) for p in self.parameters())
        )

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _remember(self, loss: Tensor, h: Tensor, factors: Tensor) -> None:
        if _in_backward():
            return
        counts = self._counts()
        if counts:
            self.calibrator.track(h, factors)
        if not self.training or (counts and not loss.requires_grad):
            self._pending = self._pending.after_evaluation(id(self), loss)
        elif counts:
            version = sum(p._version for p in self.parameters() if p.requires_grad)
            self._pending = self._pending.after_training(id(self), version, loss)
        else:
            self._pending = self._pending.after_replaced(id(self), loss)

    def _checked(self, h: Any, images: Tensor) -> Tensor:
        if _traced_by_jit():  # every look at a shape would warn
            assert isinstance(h, Tensor)
            return h
        count = images.shape[0]  # not len: an export would take it for a constant
        if not isinstance(h, Tensor) or h.shape != (count, self.dim):
            got = tuple(h.shape) if isinstance(h, Tensor) else type(h).__name__
            raise InputError(
                f"calibrated: the encoder must map {count} images to features ({count}, {self.dim}), got {got}; end it "
                f"with a pooling or nn.Flatten(), or use a calibrator of its width"
            )
        return h


def calibrated(
    encoder: nn.Module,
    calibrator: Calibrator,
    *,
    inner: InnerLoop | None = None,
    standardize: bool = True,
    blend: float = 1.0,
) -> CalibratedModule:
    """TC² (Guo et al., arXiv 2511.13787) in any network: drops in wherever `encoder` is expected.

    Args:
        encoder: images ``(N, ...)`` → features ``(N, d)``.
        calibrator: for features of that width.
        inner: how `CalibratedModule.adapt` adapts the calibrator on a task's support set; None: it does not adapt.
        standardize: standardize the features over the batch before they are calibrated.
        blend: share a of the calibrated part.

    Raises:
        InputError: if the encoder says (by an attribute ``dim``) that its width is another.

    >>> import torchopt
    >>> from metatc2.ops.functional import call
    >>> from metatc2.calibration import PooledFactors, SampleWeights
    >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 16))
    >>> calibrator = Calibrator(PooledFactors(16, 4), SampleWeights(16))
    >>> module = calibrated(encoder, calibrator, inner=InnerLoop(torchopt.sgd(0.1), steps=3))
    >>> support, queries = torch.rand(10, 1, 8, 8), torch.rand(20, 1, 8, 8)
    >>> features = call(module, module.adapt(support), queries)
    >>> loss = features.square().mean() + module.calibration_loss()   # your loss in place of the first
    >>> loss.backward()
    >>> features.shape, module.eval()(queries[:1]).shape
    (torch.Size([20, 16]), torch.Size([1, 16]))
    """
    return CalibratedModule(encoder, calibrator, inner=inner, standardize=standardize, blend=blend)


def _traced() -> bool:
    return torch.compiler.is_compiling() or _traced_by_jit()


def _traced_by_jit() -> bool:
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def _in_backward() -> bool:
    # Activation checkpointing asks in the same way; torch has no public one.
    return torch._C._current_graph_task_id() != -1
