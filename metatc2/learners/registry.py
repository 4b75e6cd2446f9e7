"""Learners on labelled tasks by name, each with the settings that it starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from metatc2.errors import InputError, nearest
from metatc2.inner import Adjoint, FirstOrder, InnerLoop, Unroll, inner_optimizer
from metatc2.learners.anil import ANIL
from metatc2.learners.boil import BOIL
from metatc2.learners.imaml import iMAML
from metatc2.learners.linear_probe import LinearProbe
from metatc2.learners.logistic_head import LogisticHead
from metatc2.learners.maml import MAML
from metatc2.learners.maml_plus_plus import MAMLPlusPlus
from metatc2.learners.matching_net import MatchingNet
from metatc2.learners.meta_learner import LabelledLearner
from metatc2.learners.meta_sgd import MetaSGD
from metatc2.learners.protonet import ProtoNet
from metatc2.learners.r2d2 import R2D2
from metatc2.learners.reptile import Reptile
from metatc2.models.heads import Classifier
from metatc2.ops.functional import NormPolicy


@dataclass(frozen=True)
class Settings:
    """What a learner is built from; None leaves the choice to the learner.

    Args:
        dim: width of the encoder's features.
        way: most classes of a task.
        optimizer, lr, steps, clip: of the inner loop.
        test_steps: inner steps outside training.
        adjoint: how the inner loop is differentiated.
        adapt: patterns of the parameters that adapt.
        norm, at_once: see `LabelledLearner`.
        shared_head: see `Classifier`.
        class_of: class of every row of the store, for learners that train on all classes at once.
    """

    dim: int
    way: int = 5
    optimizer: str | None = None
    lr: float | None = None
    steps: int | None = None
    clip: float = 0.0
    test_steps: int | None = None
    adjoint: Adjoint | None = None
    adapt: Sequence[str] = ()
    norm: NormPolicy = "batch"
    at_once: int = 1
    shared_head: bool = False
    class_of: Tensor | None = None

    def inner(self, optimizer: str, lr: float, steps: int, adjoint: Adjoint) -> InnerLoop:
        """The inner loop with a learner's own choices where nothing was chosen."""
        rule = inner_optimizer(self.optimizer or optimizer, lr if self.lr is None else self.lr, clip=self.clip)
        return InnerLoop(rule, steps if self.steps is None else self.steps, self.adjoint or adjoint)

    def head_loop(self) -> InnerLoop | None:
        """The inner loop of a convex head; None leaves it to the learner altogether."""
        chosen = (self.optimizer, self.lr, self.steps)
        return (
            None if chosen == (None, None, None) and not self.clip else self.inner("nesterov", 1.0, 100, FirstOrder())
        )

    @property
    def common(self) -> dict[str, Any]:
        """Options of every learner."""
        return {"norm": self.norm, "at_once": self.at_once}


Build = Callable[[nn.Module, Settings], LabelledLearner]


@dataclass(frozen=True)
class Entry:
    """A learner by name.

    Args:
        summary: one line.
        source: paper.
        build: from an encoder and settings.
        inner: whether it has an inner loop, so that settings of one mean something.
        adapts: whether ``adapt`` may choose what adapts.
        fixed_adjoint: whether the inner loop can be differentiated in one way alone.
        linear_head: whether a linear head is meta-learned, which may be shared.
    """

    summary: str
    source: str
    build: Build = field(repr=False)
    inner: bool = True
    adapts: bool = False
    fixed_adjoint: bool = False
    linear_head: bool = False


def build_labelled(name: str, encoder: nn.Module, settings: Settings) -> LabelledLearner:
    """A learner on labelled tasks.

    Raises:
        InputError: if the name is unknown, or settings are given that the learner has no use for.

    >>> learner = build_labelled("protonet", nn.Flatten(), Settings(dim=784))
    >>> type(learner).__name__
    'ProtoNet'
    """
    if name not in LEARNERS:
        raise InputError(f"unknown learner {name!r}; {nearest(name, LEARNERS)}")
    entry = LEARNERS[name]
    inner = {
        "inner_optimizer": settings.optimizer,
        "inner_lr": settings.lr,
        "inner_steps": settings.steps,
        "test_steps": settings.test_steps,
        "adjoint": settings.adjoint,
        "inner_clip": settings.clip or None,
    }
    useless = [key for key, value in inner.items() if value is not None and not entry.inner]
    useless += ["adapt"] * (bool(settings.adapt) and not entry.adapts)
    useless += ["shared_head"] * (settings.shared_head and not entry.linear_head)
    useless += ["adjoint"] * (settings.adjoint is not None and entry.fixed_adjoint)
    if useless:
        why = "it makes that choice itself" if entry.inner else "it has no inner loop"
        raise InputError(f"learner {name!r} has no use for learner.{useless[0]}: {why}; leave it out")
    return entry.build(encoder, settings)


def _gradient(kind: type[MAML], lr: float, steps: int, adjoint: Adjoint | None = None) -> Build:
    """Builder of a learner whose encoder and head meet in a `Classifier`, with SGD where nothing else is chosen."""

    def build(encoder: nn.Module, settings: Settings) -> LabelledLearner:
        network = Classifier(encoder, settings.dim, settings.way, shared=settings.shared_head)
        inner = settings.inner("sgd", lr, steps, adjoint or Unroll())
        chosen = {"adapt": settings.adapt} if settings.adapt else {}
        return kind(network, inner, test_steps=settings.test_steps, **chosen, **settings.common)

    return build


def _linear_probe(encoder: nn.Module, settings: Settings) -> LabelledLearner:
    if settings.class_of is None:
        raise InputError("learner 'linear-probe' needs the class of every row; pass Settings(class_of=store.labels)")
    inner = settings.head_loop()
    options = {"test_steps": settings.test_steps, **settings.common}
    return LinearProbe(encoder, settings.dim, settings.class_of, inner, **options)


LEARNERS: Mapping[str, Entry] = {
    "maml": Entry(
        "an initialisation that learns a task in a few steps",
        "Finn et al. 2017, arXiv 1703.03400",
        _gradient(MAML, 0.05, 3),
        linear_head=True,
        adapts=True,
    ),
    "fomaml": Entry(
        "first-order MAML: inner gradients are constants",
        "Finn et al. 2017, section 5.2",
        _gradient(MAML, 0.05, 3, FirstOrder()),
        linear_head=True,
        adapts=True,
        fixed_adjoint=True,
    ),
    "anil": Entry(
        "MAML in which only the head adapts",
        "Raghu et al. 2020, arXiv 1909.09157",
        _gradient(ANIL, 0.5, 5),
        linear_head=True,
    ),
    "boil": Entry(
        "MAML in which only the body adapts",
        "Oh et al. 2021, arXiv 2008.08882",
        _gradient(BOIL, 0.1, 3),
        linear_head=True,
    ),
    "reptile": Entry(
        "move towards where each task's training ends",
        "Nichol et al. 2018, arXiv 1803.02999",
        _gradient(Reptile, 0.05, 5),
        linear_head=True,
        adapts=True,
        fixed_adjoint=True,
    ),
    "meta-sgd": Entry(
        "MAML with a learned rate for every parameter",
        "Li et al. 2017, arXiv 1707.09835",
        _gradient(MetaSGD, 0.05, 3),
        linear_head=True,
        adapts=True,
    ),
    "maml++": Entry(
        "MAML with a loss after every step, and learned rates by layer and step",
        "Antoniou et al. 2019, arXiv 1810.09502",
        _gradient(MAMLPlusPlus, 0.05, 3),
        linear_head=True,
        adapts=True,
    ),
    "imaml": Entry(
        "MAML differentiated at the end of adaptation, not along the way",
        "Rajeswaran et al. 2019, arXiv 1909.04630",
        _gradient(iMAML, 0.05, 10),
        linear_head=True,
        adapts=True,
        fixed_adjoint=True,
    ),
    "protonet": Entry(
        "the nearest class mean in a learned space",
        "Snell et al. 2017, arXiv 1703.05175",
        lambda encoder, settings: ProtoNet(encoder, **settings.common),
        inner=False,
    ),
    "matching-net": Entry(
        "attention over the support in a learned space",
        "Vinyals et al. 2016, arXiv 1606.04080",
        lambda encoder, settings: MatchingNet(encoder, **settings.common),
        inner=False,
    ),
    "r2d2": Entry(
        "ridge regression on the support, in closed form",
        "Bertinetto et al. 2019, arXiv 1805.08136",
        lambda encoder, settings: R2D2(encoder, **settings.common),
        inner=False,
    ),
    "logistic": Entry(
        "a logistic head at its optimum, differentiated there",
        "Lee et al. 2019, arXiv 1904.03758",
        lambda encoder, settings: LogisticHead(
            encoder, settings.head_loop(), test_steps=settings.test_steps, **settings.common
        ),
        fixed_adjoint=True,
    ),
    "linear-probe": Entry(
        "classify all training classes, then train a head alone (the baseline)",
        "Chen et al. 2019, arXiv 1904.04232",
        lambda encoder, settings: _linear_probe(encoder, settings),
        fixed_adjoint=True,
    ),
}
