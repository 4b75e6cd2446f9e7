"""What learners on labeled tasks share: a loss a task, one backward a task, and prediction by adaptation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from metatc2.calibration import CalibratedModule
from metatc2.episodes import Episode
from metatc2.errors import InputError
from metatc2.inner import InnerLoopDiverged, Params
from metatc2.inner.solver import gradient
from metatc2.learners.base import Learner, Outcome
from metatc2.learners.carry import carry
from metatc2.learners.options import Entry, LearnerOptions, Tasks
from metatc2.learners.several_tasks import in_one_call, require_finite
from metatc2.learners.sides import check_support, sides
from metatc2.models.heads import Classifier
from metatc2.ops import rehearsal
from metatc2.ops.functional import Functional, NormPolicy, inside
from metatc2.ops.module_state import modes_kept, unchanged
from metatc2.ops.precision import autocast_as_now

_FROZEN = "frozen_norms"
Criterion = Callable[[Tensor, Tensor], Tensor]
#: Scores ``(Q, way)`` (regression: predictions) for queries ``(Q, ...)``.
Predictor = Callable[[Tensor], Tensor]


class LabeledLearner(Learner):
    """Learn from tasks with a support and a query side. Write `fit`: how one task's support becomes a predictor.

    On several processes each has the loss and gradient of its own tasks; the trainer takes their mean over processes, by the
    number of tasks that each has.

    The loss of an episode is the mean over its tasks of the criterion on their queries. Each task is differentiated by
    itself inside `forward`, so memory does not grow with the number of tasks; the outcome's loss carries the sum of
    their gradients and is used like any other (``outcome.loss.backward()``).

    Args:
        network: what is meta-learned: an encoder ``(N, C, H, W)`` → ``(N, d)``, or with a head → ``(N, way)``.
        criterion: ``criterion(scores, labels)``, a mean over samples; `torch.nn.functional.mse_loss` for regression.
        norm: what batch normalization normalizes by, see `Functional`. A layer that is in eval mode while the learner is in
            training is frozen: it normalizes by its running statistics, in training and in predictions after it.
        vmap_chunk: tasks in one call under ``vmap``, outside which the gradient is taken; 1 takes them one by one.
            Both give the same gradient.
        calibration_weight: of ``L_tc2``, for networks with an encoder made by `metatc2.calibration.calibrated`: its
            calibrator is adapted on each task's support first.

    Raises:
        InputError: if `vmap_chunk` is not positive or the policy is unknown.

    >>> class NearestMean(LabeledLearner):
    ...     def fit(self, theta, x, y, way):
    ...         means = torch.stack([self.call(theta, x)[y == c].mean(0) for c in range(way)])
    ...         return lambda q: -torch.cdist(self.call(theta, q, x), means)
    >>> learner = NearestMean(nn.Flatten())
    >>> learner.predict(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]), torch.tensor([[0.9]])).argmax(1)
    tensor([1])
    """

    #: Of classes that `register_learner` gives a name.
    entry: ClassVar[Entry]

    def __init__(
        self,
        network: nn.Module,
        *,
        criterion: Criterion = cross_entropy,
        norm: NormPolicy = "batch",
        vmap_chunk: int = 1,
        calibration_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if vmap_chunk < 1:
            raise InputError(f"{type(self).__name__}: vmap_chunk must be at least 1, got {vmap_chunk}")
        self.network, self.criterion, self.norm, self.vmap_chunk = network, criterion, norm, vmap_chunk
        self.calibration_weight = calibration_weight
        self._calibrated = {
            f"network.{name}.".replace("..", "."): part
            for name, part in network.named_modules()
            if isinstance(part, CalibratedModule)
        }
        self._function = Functional(network, norm)
        # Under the whole network's names: a head that is tied to the encoder may bear the name of the tensor they share.
        self._encoder = Functional(network, norm, part="encoder") if isinstance(network, Classifier) else self._function
        self._looked: frozenset[bool] = frozenset()
        self._looked_at_one = False
        # What `end_step` calls the network on, and in what precision.
        self._seen: tuple[Tensor, Callable[[], AbstractContextManager[object]]] | None = None
        if network.training:  # a network that is in eval mode as a whole is evaluated, not frozen
            self._freeze()
        self.register_state_dict_post_hook(_save_frozen)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_load_frozen)  # type: ignore[no-untyped-call]

    @classmethod
    def from_options(cls, encoder: nn.Module, options: LearnerOptions, tasks: Tasks) -> Self:
        """The learner that `options` describe; how it is built by its name.

        By default on the encoder alone, with its own options and those of every learner as arguments.

        Args:
            encoder: inputs → ``(N, tasks.dim)``.
            options: of the class that the learner is registered with.
            tasks: what is known of its tasks.
        """
        return cls(encoder, norm=options.norm, vmap_chunk=options.vmap_chunk, **options.beyond(LearnerOptions))

    @abstractmethod
    def fit(self, theta: Params, x: Tensor, y: Tensor, way: int) -> Predictor:
        """What one task's support teaches.

        Args:
            theta: parameters of this learner by name (``network.…`` those of the network), with gradient.
            x: support samples ``(n, ...)``.
            y: their labels ``(n,)``.
            way: number of classes; 0 in regression.

        Returns:
            Scores ``(Q, way)`` for queries ``(Q, ...)``, differentiable.
        """

    def task_loss(
        self, theta: Params, x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor, way: int
    ) -> tuple[Tensor, Tensor]:
        """Loss of a task and the scores of its queries; `fit` and the criterion unless a method says otherwise."""
        scores = self.fit(theta, x, y, way)(query_x)
        return self.loss_of(scores, query_y), scores

    def loss_of(self, scores: Tensor, y: Tensor) -> Tensor:
        """The criterion on scores and labels; use it in `fit` and `task_loss`.

        Raises:
            InputError: if regression has predictions of another shape than the targets (they would be broadcast), or the
                criterion of classification.
        """
        if y.is_floating_point():
            if self.criterion is cross_entropy:
                raise InputError(
                    f"{type(self).__name__}: targets are numbers and the criterion is cross-entropy; pass "
                    "criterion=torch.nn.functional.mse_loss, or whole-number labels"
                )
            if scores.shape != y.shape:
                raise InputError(
                    f"{type(self).__name__}: predictions are {tuple(scores.shape)} and targets {tuple(y.shape)}; in regression "
                    "the network gives (N, 1) and targets are (N,)"
                )
        return self.criterion(scores, y)

    @property
    def calibrates(self) -> bool:
        """Whether the network has a calibrated encoder."""
        return bool(self._calibrated)

    def calibration(self) -> Tensor | float:
        """L_tc2 of the latest forward under its weight; 0 where nothing is calibrated."""
        return sum(self.calibration_weight * part.calibration_loss(latest=True) for part in self._calibrated.values())

    def call(self, theta: Params, x: Tensor, support: Tensor | None = None) -> Tensor:
        """The network under `theta` on `x`; `support` is what the policy ``"support"`` normalizes by."""
        return self._function(inside("network.", theta), x, support)

    def features(self, theta: Params, x: Tensor, support: Tensor | None = None) -> Tensor:
        """As `call`, for the encoder inside the network (the network itself where it has no head)."""
        return self._vectors(self._encoder(inside("network.", theta), x, support))

    def vectors(self, theta: Params, x: Tensor, support: Tensor | None = None) -> Tensor:
        """As `call`, for networks that are encoders and return ``(N, d)``.

        Raises:
            InputError: if the network returns something else.
        """
        return self._vectors(self.call(theta, x, support))

    def _vectors(self, out: Tensor) -> Tensor:
        if out.ndim != 2:
            n = len(out)
            raise InputError(
                f"{type(self).__name__}: the encoder must map {n} inputs to features ({n}, d), got {tuple(out.shape)}; end it "
                "with a pooling and nn.Flatten()"
            )
        return out

    def theta(self) -> Params:
        """The trainable parameters of this learner by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def forward(self, episode: Episode) -> Outcome:
        """Mean loss over the tasks; its gradient is already known.

        Raises:
            InputError: if there are no labels, they are not task-local, or all parameters are frozen.
            InnerLoopDiverged: if a task's loss is not finite; the message names it.
        """
        x, y, query_x, query_y, way = sides(episode)
        self._look(x[0])
        theta, tasks = self.theta(), len(x)
        if not theta and torch.is_grad_enabled():
            raise InputError(
                f"{type(self).__name__}: all parameters are frozen, so there is nothing to train; unfreeze some"
            )
        total = torch.zeros((), device=x.device)
        gradients: Params = {}
        right: list[Tensor] = []
        for start in range(0, tasks, self.vmap_chunk):
            part = slice(start, start + self.vmap_chunk)
            losses, scores = self._chunk(theta, x[part], y[part], query_x[part], query_y[part], way, start)
            total = total + losses.detach().sum() / tasks
            if torch.is_grad_enabled():
                slopes = gradient(losses.sum() / tasks, list(theta.values()))
                for name, g in zip(theta, slopes, strict=True):
                    if g is not None:
                        gradients[name] = g if name not in gradients else gradients[name].add_(g)
            if way:
                right.append((scores.detach().argmax(-1) == query_y[part]).float().flatten())
        self._seen = x[0], autocast_as_now(x.device)
        metrics = {"accuracy": torch.cat(right).mean()} if right else {}
        return Outcome(carry(total, theta, gradients), metrics)

    def predict(self, x: Tensor, y: Tensor, query_x: Tensor, way: int | None = None) -> Tensor:
        """Scores ``(Q, way)`` of queries after learning from one task's support; nothing of the learner changes.

        With the inner steps of test time, in whatever mode the learner is; the modes of its parts are as they stand.

        Args:
            x: support samples ``(n, ...)``.
            y: task-local labels ``(n,)``.
            query_x: queries ``(Q, ...)``.
            way: number of classes; by default the largest label and one.

        Raises:
            InputError: if the labels are not 0 to way − 1, each of them there.
        """
        if y.is_floating_point():
            way = 0
        else:
            y, way = y.long(), way if way is not None else int(y.max()) + 1
            check_support(y, way, "predict")
        with torch.no_grad(), unchanged(self):
            self._look(x)
            self.training = False  # of the learner alone: it takes the steps of test time, its parts keep their modes
            return self.fit(self._prepared(self.theta(), x), x, y, way)(query_x)

    @property
    def transductive(self) -> bool:
        """Whether queries see each other through batch normalization."""
        return self.norm == "batch" and self._function.follows_policy

    def end_step(self) -> None:
        """Move what a plain forward moves: running statistics, the vectors of spectral normalization, counters.

        The rule: after every step the network is called once, as it stands and in the modes its parts are in, on the support of
        the episode's first task, under the autocast that `forward` was called in; no adapted copy ever moves a buffer. The
        statistics of batch normalization so gathered are not used in training; they are for those who take the encoder
        elsewhere. Under ``"frozen"`` they stay as they are.
        """
        kept, self._seen = self._seen, None
        if kept is None or not any(True for _ in self.network.buffers()):
            return
        seen, autocast = kept
        if self.ranks.first:
            with torch.no_grad(), modes_kept(self.network), autocast():
                if self.norm == "frozen":
                    for part in self.network.modules():
                        if isinstance(part, _BatchNorm):
                            part.training = False
                self.network(seen)
        self.ranks.share_state(dict(self.network.named_buffers()))

    def exports(self) -> dict[str, nn.Module]:
        """The encoder, and the whole learner for adaptation at test time."""
        encoder = self.network.encoder if isinstance(self.network, Classifier) else self.network
        return {"encoder": encoder.encoder if isinstance(encoder, CalibratedModule) else encoder, "learner": self}

    def _look(self, x: Tensor) -> None:
        """Before adapted parameters are used: can they be (once in each mode), and what has the user frozen."""
        if self.training:
            self._freeze()
        if self.training not in self._looked:
            self._function.look(x)
            self._looked = self._looked | {self.training}

    def _freeze(self, flags: tuple[bool, ...] | None = None) -> None:
        if flags is None:
            self._function.freeze()
        else:
            self._function.frozen = flags
        self._encoder.frozen = self._function.frozen

    def _chunk(
        self, theta: Params, x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor, way: int, start: int
    ) -> tuple[Tensor, Tensor]:
        """Losses ``(t,)`` and scores ``(t, Q, way)`` of some tasks."""
        try:
            if self.vmap_chunk > 1 and not self._looked_at_one:
                # Under vmap Python cannot see that a loss depends on nothing, so one task is tried outside it.
                self._looked_at_one = True
                with torch.no_grad(), torch.random.fork_rng(), rehearsal():
                    self._one(theta, x[0], y[0], query_x[0], query_y[0], way)
            if self.vmap_chunk == 1:
                loss, scores = self._one(theta, x[0], y[0], query_x[0], query_y[0], way)
                losses, scores = loss[None], scores[None]
            else:
                losses, scores = in_one_call(
                    self._one, theta, x, y, query_x, query_y, way, of=type(self.network).__name__
                )
        except InnerLoopDiverged as error:
            raise InnerLoopDiverged(f"task {start} of the episode: {error}") from error
        except InputError as error:
            raise InputError(f"task {start} of the episode: {error}") from error
        require_finite(losses, start)
        return losses, scores

    def _one(
        self, theta: Params, x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor, way: int
    ) -> tuple[Tensor, Tensor]:
        """`task_loss`, calibrated where the encoder is."""
        loss, scores = self.task_loss(self._prepared(theta, x), x, y, query_x, query_y, way)
        return loss + self.calibration(), scores

    def _prepared(self, theta: Params, x: Tensor) -> Params:
        """`theta` with every calibrator adapted on a task's support."""
        for prefix, part in self._calibrated.items():
            adapted = part.adapt(x, inside(prefix, theta), norm=self.norm)
            theta = {**theta, **{prefix + name: p for name, p in adapted.items()}}
        return theta


def _save_frozen(learner: LabeledLearner, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """What is frozen goes with the state, where anything is."""
    if any(learner._function.frozen):
        state[f"{prefix}{_FROZEN}"] = torch.tensor(learner._function.frozen, dtype=torch.uint8)


def _load_frozen(learner: LabeledLearner, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    flags = state.pop(f"{prefix}{_FROZEN}", None)
    if flags is not None:
        learner._freeze(tuple(bool(flag) for flag in flags.tolist()))
