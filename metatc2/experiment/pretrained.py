"""`Pretrained`: a trained encoder, with what measuring it takes. Run folders, files and zoos all end here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from metatc2.calibration import Calibrator
from metatc2.data.pairs import Pairs
from metatc2.data.seen import UNKNOWN_SOURCE
from metatc2.errors import InputError
from metatc2.experiment.context import adapt_to_pairs
from metatc2.io.safetensors_file import tensors_sha256
from metatc2.learners import TC2
from metatc2.models.stages import OUTPUT, AtStage, at_stage
from metatc2.transfer import Adapts, SeenClasses

ENCODER = "encoder"
CALIBRATED = "calibrated"


@dataclass(frozen=True)
class Pretrained:
    """An encoder and where it comes from.

    Args:
        name: for tables, e.g. ``"runs/tc2"`` or ``"torchvision:resnet18"``.
        encoder: images ``(N, channels, image_size, image_size)`` in [0, 1] → ``(N, d)``, in eval mode.
        channels: of the images it takes.
        image_size: of the images it takes, in pixels.
        untrained: the same architecture as it was before training, the control "random encoder"; None where unknown.
        calibrated: encoder and calibrator at test time; None where there is no calibrator, or where its weights adapt to a
            task and no pairs were given, see `with_context`.
        learners: learners that adapt to every few-shot episode, by the name their rows get.
        source: what it was trained on, for the record.
        seen: classes of the training images, where known.
        seed: of training.
        compute: what training cost, e.g. ``{"steps": 400, "seconds": 61.5}``.
        layer: which stage of the encoder is measured, see `with_layer`.
        adapts: the learner whose weights adapt to pairs, with this encoder; None of others.
        context: pairs that `calibrated` was adapted to.
        network: name of the network without its weights, e.g. ``"torchvision:resnet18"``; empty where none is known.
    """

    name: str
    encoder: nn.Module
    channels: int
    image_size: int
    untrained: nn.Module | None = None
    calibrated: nn.Module | None = None
    learners: Mapping[str, Adapts] = field(default_factory=dict)
    source: str = UNKNOWN_SOURCE
    seen: SeenClasses | None = None
    seed: int = 0
    compute: Mapping[str, float] = field(default_factory=dict)
    layer: str = OUTPUT
    adapts: TC2 | None = None
    context: Pairs | None = None
    network: str = ""

    @property
    def sha256(self) -> str:
        """Checksum of the encoder's tensors, names included; the same whichever layer is measured."""
        whole = self.encoder.encoder if isinstance(self.encoder, AtStage) else self.encoder
        return tensors_sha256(whole.state_dict())

    def with_layer(self, layer: str) -> Pretrained:
        """Measured at an inner stage; the calibrator, which works on the output, and adaptation are then left out.

        Raises:
            InputError: if the encoder has no such stage.
        """
        if layer == OUTPUT:
            return self
        untrained = None if self.untrained is None else at_stage(self.untrained, layer)
        return replace(
            self,
            encoder=at_stage(self.encoder, layer).eval(),
            untrained=untrained,
            calibrated=None,
            learners={},
            layer=layer,
            adapts=None,
            context=None,
        )

    def with_context(self, pairs: Pairs | Tensor, name: str = "pairs") -> Pretrained:
        """With features ``calibrated`` for what pairs say is the same, see `metatc2.experiment.context.adapt_to_pairs`.

        Args:
            pairs: see `metatc2.data.pairs`; or ``(pairs, 2, C, H, W)`` in [0, 1], resized as the images of a source are.
            name: of a tensor, for results.

        Raises:
            InputError: if there are no weights that adapt, or the pairs are too few or no images.
        """
        if self.layer != OUTPUT:
            raise InputError(
                f"{self.name}: pairs calibrate the encoder's output, and its stage {self.layer} was asked for; leave out the "
                "layer, or the context"
            )
        if self.adapts is None:
            raise InputError(
                f"{self.name} was trained without weights of each task's own on the encoder's output, which is what pairs "
                "calibrate; pre-train with --calibration tc2 --set calibration.adapt=task"
            )
        if isinstance(pairs, Tensor):
            pairs = Pairs.of(pairs, image_size=self.image_size, channels=self.channels, name=name)
        return replace(self, calibrated=adapt_to_pairs(self.adapts, pairs), context=pairs)

    def features(self, kind: str) -> nn.Module:
        """The encoder, or encoder and calibrator, by the name that stands in ``Row.features``.

        Raises:
            InputError: if there is no calibrator, or the name is another.
        """
        if kind == ENCODER:
            return self.encoder
        if kind != CALIBRATED:
            raise InputError(f"features must be {ENCODER!r} or {CALIBRATED!r}, got {kind!r}")
        if self.calibrated is None and self.adapts is not None:
            raise InputError(
                f"{self.name} is calibrated for pairs that are given to it; call with_context(pairs) first"
            )
        if self.calibrated is None:
            raise InputError(f"{self.name} has no calibrator: only TC² on the encoder's output saves one")
        return self.calibrated


class CalibratedEncoder(nn.Module):
    """Encoder and calibrator at test time, where averages stand for the statistics of an episode.

    Args:
        encoder: images to ``(N, d)``.
        calibrator: trained on its output.
        standardized: whether training standardized the representation.
        blend: a of `Calibrator.forward`.
    """

    def __init__(self, encoder: nn.Module, calibrator: Calibrator, *, standardized: bool, blend: float) -> None:
        super().__init__()
        self.encoder, self.calibrator = encoder, calibrator
        self.standardized, self.blend = standardized, blend

    def forward(self, images: Tensor) -> Tensor:
        """Calibrated features ``(N, d)``."""
        return self.calibrator.test_features(self.encoder(images), standardized=self.standardized, blend=self.blend)

    def extra_repr(self) -> str:
        """What is not in the weights: part of the checksum that cached features are kept under."""
        return f"standardized={self.standardized}, blend={self.blend}"
