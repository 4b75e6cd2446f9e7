"""Which known factors frozen features tell, each by a linear probe beside its control of shuffled labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metatc2.data.sources.shapes.factors import GenerativeFactors, Kind
from metatc2.data.store import ImageStore
from metatc2.errors import InputError
from metatc2.metrics.disentanglement.checks import both_checked
from metatc2.metrics.disentanglement.encoding import uncentered_columns
from metatc2.metrics.ridge_path import RidgePath
from metatc2.metrics.selection import choose
from metatc2.models.features import extract
from metatc2.ops.numbers import real, reals, whole

#: Penalties that are tried, in units of the variance of a standardized feature.
PENALTIES: tuple[float, ...] = tuple(torch.logspace(-6, 2, 17, dtype=torch.float64).tolist())
#: Fewest images that probes can be fit and tested on.
LEAST = 20
_WHAT = "factor matrix"


@dataclass(frozen=True)
class FactorProbe:
    """What a linear probe tells of one factor on test images.

    Args:
        kind: of the factor, see `GenerativeFactors`.
        value: accuracy of a categorical factor; else R², of a circular one that of its sine and cosine together. 1 where the
            features tell the factor, `chance` where they tell nothing; R² is below 0 for a probe worse than the mean.
        chance: of the best constant: the share of the commonest category, or 0.
        control: mean value of probes of shuffled labels.
        selectivity: ``value − control``.
        penalty: chosen on validation.
    """

    kind: Kind
    value: float
    chance: float
    control: float
    selectivity: float
    penalty: float


@dataclass(frozen=True)
class FactorMatrix:
    """One row of the matrix of encoders and factors.

    Args:
        factors: by name.
        mean: of the values.
        mean_selectivity: of the selectivities.
        train, test: numbers of images.
    """

    factors: Mapping[str, FactorProbe]
    mean: float
    mean_selectivity: float
    train: int
    test: int

    def values(self) -> dict[str, float]:
        """Value of each factor by name."""
        return {name: probe.value for name, probe in self.factors.items()}


def factor_matrix(
    encoder: nn.Module,
    store: ImageStore,
    train: Tensor,
    test: Tensor,
    *,
    generator: torch.Generator,
    factors: GenerativeFactors | None = None,
    batch: int = 512,
    device: torch.device | str | None = None,
) -> FactorMatrix:
    """Probe a frozen encoder for the factors of a store's images.

    Args:
        encoder: images ``(n, C, H, W)`` in [0, 1] to ``(n, d)``.
        store: where the images are.
        train, test: int64 rows of the store, e.g. ``store.rows("validation")`` and ``store.rows("test")``.
        generator: see `probe_factors`.
        factors: of all images of the store; by default those that the store knows (`ImageStore.factors`).
        batch, device: see `metatc2.transfer.extract`.

    Raises:
        InputError: if the store knows no factors and none are given, they are of other images, or see `probe_factors`.

    >>> from metatc2.data import load_shapes
    >>> store, rows = load_shapes(image_size=12, count=1200), torch.arange(1200)
    >>> matrix = factor_matrix(
    ...     nn.Flatten(), store, rows[:900], rows[900:], generator=torch.Generator().manual_seed(0))
    >>> matrix.factors["background"].value > 0.9 > 0.5 > matrix.factors["shape"].value > matrix.factors["shape"].chance
    True
    """
    known = store.factors if factors is None else factors
    if known is None:
        raise InputError(
            f"{_WHAT}: {store.name} does not know what its images were made from; give factors=GenerativeFactors(...), or use "
            "shapes"
        )
    if len(known) != len(store):
        raise InputError(
            f"{_WHAT}: {store.name} has {len(store)} images and factors are of {len(known)}; give all rows"
        )
    features = [extract(encoder, store.images[rows], batch=batch, device=device) for rows in (train, test)]
    return probe_factors(
        features[0],
        known.values[train],
        features[1],
        known.values[test],
        known.names,
        known.kinds,
        generator=generator,
    )


def probe_factors(
    train_features: Tensor,
    train_factors: Tensor,
    test_features: Tensor,
    test_factors: Tensor,
    names: Sequence[str],
    kinds: Sequence[Kind],
    *,
    generator: torch.Generator,
    penalties: Sequence[float] = PENALTIES,
    validation: float = 0.2,
    shuffles: int = 5,
) -> FactorMatrix:
    """Ridge probes of all factors: fit, penalty chosen on validation for each factor, refit on all of train, tested once.

    A probe is linear least squares on standardized features in float64: of categories as one column each, the largest taken
    (scikit-learn's ``RidgeClassifier`` has the same answers); of a circular factor as cosine and sine. Penalties are chosen
    by the rule of every protocol, `metatc2.metrics.selection.choose`, with the squared error where accuracies tie.

    The control fits, chooses and tests in the same way on labels shuffled among the images of each side (after Hewitt & Liang
    2019, arXiv 1909.03368, whose random labels belong to types of words; images have no types that both sides share). It says
    what the probe makes of features that tell nothing; with few images for their dimensions that is below
    `FactorProbe.chance`.

    Args:
        train_features: ``(N, d)``.
        train_factors: ``(N, F)``, see `GenerativeFactors`.
        test_features: ``(Q, d)``.
        test_factors: ``(Q, F)``; a category that train lacks is always answered wrongly.
        names, kinds: F of each.
        generator: the validation part and the shuffles are drawn from it.
        penalties: that are tried, each above 0.
        validation: share of the training images that choose the penalty.
        shuffles: controls that are averaged.

    Raises:
        InputError: if shapes do not fit, features are not finite, there are under 20 training images, or a factor does not
            vary on either side.

    >>> x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    >>> known = torch.stack([x[:, 0], (x[:, 1] > 0).float()], 1)
    >>> probes = probe_factors(x[:150], known[:150], x[150:], known[150:], ("a", "b"), ("linear", "categorical"),
    ...     generator=torch.Generator().manual_seed(0))
    >>> probes.factors["a"].value > 0.999, probes.factors["b"].value > 0.9, probes.factors["a"].control < 0.1
    (True, True, True)
    """
    grid = sorted(set(reals(penalties, f"{_WHAT}: penalties", above=0)))
    share, shuffles = (
        real(validation, f"{_WHAT}: validation", above=0, below=1),
        whole(shuffles, f"{_WHAT}: shuffles", 1),
    )
    x, known = both_checked(train_features, GenerativeFactors(train_factors, tuple(names), tuple(kinds)), _WHAT)
    q, tested = both_checked(
        test_features, GenerativeFactors(test_factors, tuple(names), tuple(kinds)), f"{_WHAT}, test"
    )
    held = max(2, round(share * len(x)))
    if x.shape[1] != q.shape[1] or len(x) < max(LEAST, held + 2):
        raise InputError(
            f"{_WHAT}: needs features of one width and at least {LEAST} training images, got {tuple(x.shape)} and "
            f"{tuple(q.shape)}, {held} of them to choose by; give more images"
        )
    order = torch.randperm(len(x), generator=generator, device=generator.device).cpu()
    choosing, fitting = order[:held], order[held:]
    tables = [(known, tested), *((known.permuted(generator), tested.permuted(generator)) for _ in range(shuffles))]
    targets = [_Target(i, *both) for both in tables for i in range(len(names))]

    path = RidgePath(x[fitting], torch.cat([target.wanted[fitting] for target in targets], 1))
    chosen = _choose(path, path.rotate(x[choosing]), targets, choosing, grid)
    refit = RidgePath(x, torch.cat([target.wanted for target in targets], 1))
    each = torch.cat(
        [torch.full((target.width,), rho, dtype=torch.float64) for target, rho in zip(targets, chosen, strict=True)]
    )
    answers = refit.predict(refit.rotate(q), each).split([target.width for target in targets], 1)
    values = [target.score(answer, target.asked) for target, answer in zip(targets, answers, strict=True)]

    count, probes = len(names), {}
    for i, name in enumerate(names):
        control = sum(values[count + i :: count]) / shuffles
        probes[name] = FactorProbe(kinds[i], values[i], targets[i].chance(), control, values[i] - control, chosen[i])
    return FactorMatrix(
        factors=probes,
        mean=sum(probe.value for probe in probes.values()) / count,
        mean_selectivity=sum(probe.selectivity for probe in probes.values()) / count,
        train=len(x),
        test=len(q),
    )


class _Target:
    """One factor as columns to regress on, and how answers to it are scored."""

    def __init__(self, column: int, train: GenerativeFactors, test: GenerativeFactors) -> None:
        self.kind, values = train.kinds[column], train.values[:, column]
        categories = values.unique()
        self.wanted = uncentered_columns(values, self.kind, categories)
        self.asked = uncentered_columns(test.values[:, column], self.kind, categories)
        self.width = self.wanted.shape[1]

    def score(self, answers: Tensor, truth: Tensor) -> float:
        """Accuracy or R², both ``(n, width)``."""
        if self.kind == "categorical":
            return float(truth.gather(1, answers.argmax(1, keepdim=True)).mean())
        return float(1 - (answers - truth).square().sum() / (truth - truth.mean(0)).square().sum())

    def chance(self) -> float:
        """Score on the test images of the best constant answer, which categories know from training."""
        return float(self.asked[:, self.wanted.sum(0).argmax()].mean()) if self.kind == "categorical" else 0.0


def _choose(
    path: RidgePath, rotated: Tensor, targets: Sequence[_Target], rows: Tensor, grid: Sequence[float]
) -> list[float]:
    """Penalty of each target, by the scores of its answers on held-out rows."""
    scores, losses = [], []
    for rho in grid:
        answers = path.predict(rotated, torch.tensor([rho], dtype=torch.float64)).split(
            [target.width for target in targets], 1
        )
        pairs = [(target, answer, target.wanted[rows]) for target, answer in zip(targets, answers, strict=True)]
        scores.append([target.score(answer, truth) for target, answer, truth in pairs])
        losses.append([float((answer - truth).square().mean()) for _, answer, truth in pairs])
    by_target = zip(_table(scores).unbind(1), _table(losses).unbind(1), strict=True)
    chosen = [choose(score, loss) for score, loss in by_target]
    # No score is finite where a factor does not vary among the rows that choose.
    return [grid[len(grid) // 2 if place is None else place[0]] for place in chosen]


def _table(rows: Sequence[Sequence[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)
