"""Every way to use several encoders on the same draws of labels: rows, paired differences, attention by class."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.metrics.intervals import mean_interval, paired_difference
from metatc2.ops.numbers import whole
from metatc2.transfer.fusion.attention.registry import ATTENTIONS
from metatc2.transfer.fusion.baselines.base import one_encoder
from metatc2.transfer.fusion.baselines.registry import BASELINES
from metatc2.transfer.fusion.draws import label_draw
from metatc2.transfer.fusion.labeled import Fitted, LabeledSet
from metatc2.transfer.fusion.network import FitOptions
from metatc2.transfer.fusion.pretext_fusion import PretextFusion
from metatc2.transfer.protocols.base import target_seed

ATTENTION, BASELINE, ALONE = "attention", "baseline", "alone"
#: Which encoders a method had.
AS_GIVEN, WITH_UNTRAINED, ONE_TWICE = "as given", "with an untrained encoder", "one encoder twice"
#: Name of the encoder that was never trained, and of the row of the one at equal compute.
UNTRAINED, EQUAL_COMPUTE = "an untrained encoder", "one encoder at equal compute"
#: Baselines that meet the probes of negative transfer beside the first attention, where they are measured at all.
_PROBED = ("mean-of-logits", "concatenation-ridge", "concatenation-mlp", "sur")


@dataclass(frozen=True, eq=False)
class FusionTarget:
    """Features of a target's images under several encoders.

    Args:
        name: e.g. ``"digits:meta-test"``.
        features: by encoder, ``(N, d_k)``, rows of the same images.
        labels: int64 ``(N,)``.
        pool: rows that labels are drawn from.
        test: rows that are tested on, none of them in the pool.
        class_names: by label.
        per_class: whether accuracy is the mean over classes of that within.
        untrained: features ``(N, d)`` of an encoder that was never trained, for the probe; None leaves the probe out.
        equal_compute: features ``(N, d)`` of one encoder that was trained for as long as all others together.
    """

    name: str
    features: Mapping[str, Tensor]
    labels: Tensor
    pool: Tensor
    test: Tensor
    class_names: Sequence[str] = ()
    per_class: bool = False
    untrained: Tensor | None = None
    equal_compute: Tensor | None = None


@dataclass(frozen=True)
class FusionRow:
    """One method at one number of labels.

    Args:
        target: its name.
        labels_per_class: how many labels of each class were given.
        kind: ``"attention"``, ``"baseline"`` or ``"alone"``.
        method: its name; of an encoder alone, see `alone_name`.
        setting: which encoders it had: as given, with an untrained one, or one twice.
        encoders: their names, in the order of `weights`.
        mean: accuracy in [0, 1] over draws.
        ci95: half width of its 95 % Student interval over draws.
        accuracies: of each draw; the same draws in every row of a target and number of labels.
        weights: mean weight of each encoder over draws and test images; empty where the method has none.
        weights_by_class: the same among test images of each class, in the order of `classes`.
        classes: names.
        chosen: hyper-parameters of each draw.
        seconds: mean processor time of a fit, what is chosen inside it included. Encoders alone are fitted once a draw, and the
            first method that needs them has their time.
    """

    target: str
    labels_per_class: int
    kind: str
    method: str
    setting: str
    encoders: tuple[str, ...]
    mean: float
    ci95: float
    accuracies: tuple[float, ...]
    weights: tuple[float, ...] = ()
    weights_by_class: tuple[tuple[float, ...], ...] = ()
    classes: tuple[str, ...] = ()
    chosen: tuple[Mapping[str, float], ...] = ()
    seconds: float = 0.0


#: Draws of labels that a difference is told apart from.
ENOUGH = 3


@dataclass(frozen=True)
class FusionDifference:
    """A method less another one, paired over draws.

    Args:
        target, labels_per_class: of both rows.
        a: method and setting of the first.
        b: of the second.
        difference: mean of the paired differences of accuracy.
        ci95: half width of its 95 % Student interval over draws.
        draws: how many.
    """

    target: str
    labels_per_class: int
    a: tuple[str, str]
    b: tuple[str, str]
    difference: float
    ci95: float
    draws: int

    @property
    def is_told_apart(self) -> bool:
        """Whether the interval excludes zero; that of two draws is mostly chance, and says nothing."""
        return self.draws >= ENOUGH and abs(self.difference) > self.ci95


@dataclass(frozen=True)
class _Method:
    kind: str
    name: str
    setting: str
    encoders: tuple[str, ...]
    fit: Callable[[LabeledSet, torch.Generator], Fitted]
    #: Names of the blocks of its `LabeledSet`; those of an encoder alone are of all encoders.
    blocks: tuple[str, ...]


def measure_fusion(
    target: FusionTarget,
    *,
    labels_per_class: Sequence[int],
    draws: int = 20,
    attentions: Sequence[str] = (),
    baselines: Sequence[str] = (),
    probes: bool = True,
    width: int | None = None,
    options: FitOptions | None = None,
) -> list[FusionRow]:
    """Accuracy of attentions, baselines and each encoder alone on the same draws of labels.

    Args:
        target: features, labels and rows.
        labels_per_class: see `metatc2.transfer.fusion.draws.check_labels`.
        draws: how many sets of labels.
        attentions: names; by default all of `ATTENTIONS`. The first meets the probes.
        baselines: names; by default all of `BASELINES`.
        probes: whether to add an untrained encoder, and to give the first encoder twice.
        width: of aligned features, see `PretextFusion`.
        options: of the attentions, likewise.

    Returns:
        Rows in the order of the numbers of labels and of methods.

    Raises:
        InputError: if features are of different rows, a name is unknown, or there are fewer than two encoders or draws.
    """
    draws = check_draws(draws)
    _check(target)
    methods = _methods(target, attentions or ordered(ATTENTIONS), baselines or tuple(BASELINES), probes, width, options)
    features = dict(target.features)
    if target.untrained is not None:
        features[UNTRAINED] = target.untrained
    if target.equal_compute is not None:
        features[EQUAL_COMPUTE] = target.equal_compute
    labels, test = target.labels[target.pool], target.labels[target.test]
    rows = []
    for count in labels_per_class:
        measured: list[list[_Once]] = [[] for _ in methods]
        for draw in range(draws):
            own = target.pool[label_draw(labels, count, target.name, draw)]
            seed = target_seed(target.name, "fit", draw)
            sets: dict[tuple[str, ...], LabeledSet] = {}
            for method, results in zip(methods, measured, strict=True):
                if method.blocks not in sets:
                    given = [features[name][own] for name in method.blocks]
                    sets[method.blocks] = LabeledSet(given, target.labels[own], seed=seed)
                asked = [features[name][target.test] for name in method.blocks]
                results.append(_once(method, sets[method.blocks], asked, test, target.per_class, seed))
        rows += [_row(target, count, method, results) for method, results in zip(methods, measured, strict=True)]
    return rows


def check_draws(draws: int) -> int:
    """How many draws, if there are enough for an interval.

    Raises:
        InputError: if there are fewer than two.
    """
    return whole(draws, "fuse: draws", 2, fix="; differences are paired over draws, and 20 or more are advised")


def differences(rows: Sequence[FusionRow], reference: tuple[str, str] | None = None) -> list[FusionDifference]:
    """The reference less every other method on the encoders as given, and every probed method against itself without the probe.

    Args:
        rows: of `measure_fusion`.
        reference: method and setting; by default the first attention, on the encoders as given.
    """
    paired = []
    for _, group in itertools.groupby(rows, key=lambda row: (row.target, row.labels_per_class)):
        own = {(row.method, row.setting): row for row in group}
        first = reference or next(key for key, row in own.items() if row.kind == ATTENTION)
        pairs = [(first, key) for key in own if key != first and key[1] == AS_GIVEN]
        pairs += [(key, (key[0], AS_GIVEN)) for key in own if key[1] != AS_GIVEN]
        for a, b in pairs:
            difference, half = paired_difference(own[a].accuracies, own[b].accuracies)
            row = own[a]
            draws = len(row.accuracies)
            paired.append(FusionDifference(row.target, row.labels_per_class, a, b, difference, half, draws))
    return paired


def ordered(names: Sequence[str] | Mapping[str, Any]) -> tuple[str, ...]:
    """Names with ``sample``, the default, first and ``random``, the control, last."""
    return tuple(sorted(names, key=lambda name: (name != "sample", name == "random", name)))


@dataclass(frozen=True, eq=False)
class _Once:
    accuracy: float
    by_class: Tensor | None  # (classes, K)
    weights: Tensor | None  # (K,)
    chosen: Mapping[str, float]
    seconds: float


def _check(target: FusionTarget) -> None:
    if len(target.features) < 2:
        raise InputError(
            f"fuse: needs at least two encoders, got {len(target.features)}; name another one, or measure one alone with "
            "metatc2 transfer"
        )
    others = {UNTRAINED: target.untrained, EQUAL_COMPUTE: target.equal_compute}
    if taken := sorted(others.keys() & target.features.keys()):
        raise InputError(f"fuse: an encoder cannot be called {taken[0]!r}, which is the name of a row; rename it")
    every = {**target.features, **{name: block for name, block in others.items() if block is not None}}
    for name, block in every.items():
        if len(block) != len(target.labels):
            raise InputError(
                f"fuse: features of {name} have {len(block)} rows and {target.name} has {len(target.labels)} images; extract "
                "them again from the same images"
            )


def _methods(
    target: FusionTarget,
    attentions: Sequence[str],
    baselines: Sequence[str],
    probes: bool,
    width: int | None,
    options: FitOptions | None,
) -> list[_Method]:
    given = tuple(target.features)
    heads = [
        (ATTENTION, name, PretextFusion(name, width=width, options=options).fit) for name in dict.fromkeys(attentions)
    ]
    simple = [(BASELINE, name, BASELINES[name]().fit) for name in dict.fromkeys(baselines)]
    methods = [_Method(kind, name, AS_GIVEN, given, fit, given) for kind, name, fit in (*heads, *simple)]
    for k, name in enumerate(given):
        methods.append(_Method(ALONE, alone_name(name), AS_GIVEN, (name,), _alone(k), given))
    if target.equal_compute is not None:
        # A `LabeledSet` has two encoders at least; only the first is asked.
        methods.append(_Method(ALONE, EQUAL_COMPUTE, AS_GIVEN, (EQUAL_COMPUTE,), _alone(0), (EQUAL_COMPUTE, given[0])))
    settings: dict[str, tuple[str, ...]] = {ONE_TWICE: (*given, given[0])}
    if target.untrained is not None:
        settings = {WITH_UNTRAINED: (*given, UNTRAINED), **settings}
    if probes:
        probed = [*heads[:1], *[method for method in simple if method[1] in _PROBED]]
        for setting, blocks in settings.items():
            methods += [_Method(kind, name, setting, blocks, fit, blocks) for kind, name, fit in probed]
    return methods


def alone_name(encoder: str) -> str:
    """What stands in `FusionRow.method` of an encoder alone: no name of a method, whatever the encoder is called.

    >>> alone_name("runs/sample")
    'alone: runs/sample'
    """
    return f"{ALONE}: {encoder}"


def _alone(k: int) -> Callable[[LabeledSet, torch.Generator], Fitted]:
    def fit(labeled: LabeledSet, generator: torch.Generator) -> Fitted:
        fitted = one_encoder(labeled, k)
        return Fitted(fitted.logits, None, fitted.chosen)

    return fit


def _once(
    method: _Method, labeled: LabeledSet, asked: Sequence[Tensor], test: Tensor, per_class: bool, seed: int
) -> _Once:
    begun = time.process_time()
    fitted = method.fit(labeled, torch.Generator().manual_seed(seed))
    seconds = time.process_time() - begun
    right = (labeled.names[fitted.logits(asked).argmax(1)] == test).double()
    _, classes, counts = torch.unique(test, return_inverse=True, return_counts=True)
    within = classes.bincount(weights=right) / counts
    accuracy = float(within.mean() if per_class else right.mean())
    if fitted.weights is None:
        return _Once(accuracy, None, None, fitted.chosen, seconds)
    weights = fitted.weights(asked).double()
    sums = torch.zeros(len(counts), weights.shape[1], dtype=torch.float64).index_add(0, classes, weights)
    return _Once(accuracy, sums / counts[:, None], weights.mean(0), fitted.chosen, seconds)


def _row(target: FusionTarget, count: int, method: _Method, results: Sequence[_Once]) -> FusionRow:
    accuracies = tuple(result.accuracy for result in results)
    mean, half = mean_interval(accuracies)
    weights = [result.weights for result in results if result.weights is not None]
    by_class = [result.by_class for result in results if result.by_class is not None]
    names = [
        target.class_names[int(c)] if target.class_names else str(int(c)) for c in target.labels[target.test].unique()
    ]
    return FusionRow(
        target.name,
        count,
        method.kind,
        method.name,
        method.setting,
        method.encoders,
        mean,
        half,
        accuracies,
        tuple(torch.stack(weights).mean(0).tolist()) if weights else (),
        tuple(tuple(row) for row in torch.stack(by_class).mean(0).tolist()) if by_class else (),
        tuple(names) if by_class else (),
        tuple(dict(result.chosen) for result in results),
        sum(result.seconds for result in results) / len(results),
    )
