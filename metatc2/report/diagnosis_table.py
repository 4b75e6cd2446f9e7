"""A diagnosis as tables for the terminal, each line with a sentence on how to read it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from metatc2.diagnostics import (
    AgainstNull,
    Agreement,
    Conflict,
    Diagnosis,
    FactorMatrix,
    FactorUse,
    FeatureSummary,
    Likeness,
)
from metatc2.io.terminal import Group, PlainTable, RenderableType

Line = tuple[str, Callable[[FeatureSummary], str], str]


def diagnosis_table(diagnosis: Diagnosis) -> Group:
    """Tables of all parts of a diagnosis; those that were not measured are left out.

    Args:
        diagnosis: as `metatc2.diagnostics.diagnose` returns it.
    """
    parts: list[RenderableType] = [_features(diagnosis)]
    if diagnosis.cka:
        parts.append(_cka(diagnosis.cka))
    if diagnosis.factors is not None:
        parts.append(_factors(diagnosis.factors))
    if diagnosis.known_factors:
        parts.append(_known_factors(diagnosis.known_factors))
    if diagnosis.conflict is not None:
        parts.append(_conflict(diagnosis.conflict))
    if diagnosis.agreement is not None:
        parts.append(_agreement(diagnosis.agreement))
    return Group(*parts)


def _number(value: float | None, digits: int = 3) -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:.0f}"


FEATURES: tuple[Line, ...] = (
    (
        "RankMe",
        lambda f: f"{_number(f.rankme)} of {min(f.rows, f.dim)}",
        "Higher: more directions in use, at one width.",
    ),
    (
        "effective rank",
        lambda f: f"{_number(f.effective_rank)} of {min(f.rows, f.dim)}",
        "Directions of the covariance, by variance; no offset.",
    ),
    (
        "NESum",
        lambda f: f"{_number(f.nesum)} of {min(f.rows, f.dim)}",
        "1: one direction holds all; the most: whitened.",
    ),
    (
        "α-ReQ",
        lambda f: _number(f.power_law.alpha),
        "Near 1 is good; above, few directions carry all.",
    ),
    (
        "fit of α, R²",
        lambda f: _number(f.power_law.r2),
        "Well below 1: no power law, and α says little.",
    ),
    (
        "coding rate",
        lambda f: f"{_number(f.coding_rate)} of {_number(f.dim / 2 * math.log(3))} nats",
        "Higher: rows fill more of the sphere.",
    ),
    (
        "ΔR of views",
        lambda f: f"{_number(f.rate_reduction)} nats",
        "Higher: images apart, their views together.",
    ),
    (
        "alignment",
        lambda f: _number(f.alignment),
        "Lower: two views of an image are closer.",
    ),
    (
        "uniformity",
        lambda f: _number(f.uniformity),
        "Lower: more evenly spread; 0: all rows coincide.",
    ),
    (
        "spread of unit rows",
        lambda f: f"{_number(f.collapse.unit_std)} of {_number(f.collapse.unit_std_healthy)}",
        "Near 0: complete collapse.",
    ),
    (
        "dead dimensions",
        lambda f: f"{100 * f.collapse.dead:.1f} %",
        "Many: dimensional collapse.",
    ),
    ("collapse", lambda f: "yes" if f.collapse.sentence else "no", "By the rule that warns during training."),
)


def _features(d: Diagnosis) -> PlainTable:
    of = f" of {d.images_of}" if d.images != d.images_of else ""
    table = PlainTable(f"Features of {d.images}{of} images, {d.source}:{d.split}")
    table.add_column("figure", no_wrap=True)
    for kind in d.features:
        table.add_column(kind, justify="right", no_wrap=True)
    table.add_column("how to read it")
    for name, value, reading in FEATURES:
        table.add_row(name, *[value(f) for f in d.features.values()], reading)
    sentences = [f"{kind}: {f.collapse.sentence}." for kind, f in d.features.items() if f.collapse.sentence]
    table.say_below(sentences)
    return table


def _cka(cka: Mapping[str, Likeness]) -> PlainTable:
    table = PlainTable("Linear CKA of the encoder's features with")
    table.add_column("features")
    for heading in ("CKA", "debiased"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("how to read it")
    for name, similarity in cka.items():
        values = _number(similarity.cka), _number(similarity.debiased)
        table.add_row(name, *values, "1: equal up to rotation and scale; 0 (debiased): unrelated.")
    return table


def _factors(f: FactorUse) -> PlainTable:
    table = PlainTable("Factors of the calibrator")
    table.add_column("figure", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("how to read it")
    table.add_row("factors used", f"{_number(f.factors_used)} of {len(f.usage)}", "Effective number: low, few do all.")
    table.add_row("unused", f"{100 * f.unused:.1f} %", "Factors with less than a tenth of an even share.")
    table.add_row("orthogonality", _number(f.orthogonality), "‖VVᵀ − I‖² / K: 0 for orthonormal factors.")
    table.add_row("largest overlap", _number(f.overlap_most), "Largest |cosine| of two factors: near 1, one is double.")
    table.add_row("Hoyer sparsity", _number(f.hoyer), "0: all factors alike in every image; 1: one factor an image.")
    table.add_row("weights near 0", f"{100 * f.near_zero:.1f} %", "Below 5 % of the image's largest weight.")
    table.add_row(
        "unexplained", f"{100 * f.unexplained:.1f} %", "Variance that the factors miss: above 50 % is an alarm."
    )
    if f.between_groups is not None:
        null = f"Noise gives {_number(f.between_groups.null_low)} … {_number(f.between_groups.null_high)}."
        table.add_row(
            "between classes", _number(f.between_groups.value), f"1: each class uses factors of its own. {null}"
        )
    return table


def _known_factors(matrices: Mapping[str, FactorMatrix]) -> PlainTable:
    first = next(iter(matrices.values()))
    table = PlainTable(f"Known factors: linear probes fit to {first.train} images, tested on {first.test}; all in %")
    table.add_column("factor", no_wrap=True)
    for heading in ("measure", "chance"):
        table.add_column(heading, justify="right", no_wrap=True)
    for kind in matrices:
        table.add_column(kind, justify="right", no_wrap=True)
        table.add_column("selectivity", justify="right", no_wrap=True)
    for name, probe in first.factors.items():
        measure = "accuracy" if probe.kind == "categorical" else "R²"
        values = [f"{100 * x:.1f}" for m in matrices.values() for x in _value(m, name)]
        table.add_row(name, measure, f"{100 * probe.chance:.1f}", *values)
    table.add_row("mean", "", "", *[f"{100 * x:.1f}" for m in matrices.values() for x in (m.mean, m.mean_selectivity)])
    table.say_below(
        ["100: told exactly; selectivity: the value less that of probes of shuffled labels; near 0: not told."]
    )
    return table


def _value(matrix: FactorMatrix, name: str) -> tuple[float, float]:
    return matrix.factors[name].value, matrix.factors[name].selectivity


def _conflict(c: Conflict) -> PlainTable:
    lines = _Lines(
        f"Task conflict: {c.tasks} tasks of {c.support} + {c.query} images, {c.episodes} episodes, steps of {c.lr:g}; "
        f"noise null: {c.resplits} re-splits"
    )
    lines.add("T, transferability", c.transferability, "Above 0: a step on one task helps another.")
    lines.add("C, conflict rate", c.conflict_rate, "Share of pairs in which it harms.")
    lines.add("own gain", c.own_gain, "Below 0: the step is too long to conclude anything.")
    for block, cosine in c.cosine.items():
        lines.add(f"cosine, {block}", cosine, "Below 0: gradients of tasks oppose.")
    lines.add("cosines below 0", c.cosine_below_zero["all"], "Share of pairs that oppose.")
    lines.add("magnitudes alike", c.magnitude_similarity["all"], "1: gradients of equal length.")
    for pair in c.pairs:
        lines.add(
            f"gain, {pair.step} → {pair.evaluated}", pair.gain, "Below 0: a step on the first kind harms the second."
        )
    return lines.table(c.without_gradient)


def _agreement(a: Agreement) -> PlainTable:
    lines = _Lines(
        f"Gradient agreement: two independent batches a task, of {a.support} and {a.query} images, {a.episodes} episodes; "
        f"noise null: {a.resplits} re-splits"
    )
    for block, ratio in a.ratio.items():
        reading = "1: tasks share their expected gradient; below 0: they oppose."
        if ratio is None:
            lines.empty(f"agreement, {block}", reading, "no signal")
        else:
            lines.add(f"agreement, {block}", ratio, reading)
    lines.add("difference", a.difference["all"], "Above its null: tasks' expected gradients differ.")
    lines.add("within a task", a.within["all"], "Not above 0: no signal, more images or episodes are needed.")
    lines.add("between tasks", a.between["all"], "The same product of two different tasks.")
    lines.add("signal", a.signal["all"], "Share of a gradient's squared length that is no noise.")
    for pair in a.pairs:
        reading = "Above its null: the expected gradients of these kinds differ."
        lines.add(f"difference, {pair.first} | {pair.second}", pair.difference, reading)
    return lines.table(a.without_gradient)


class _Lines:
    """A table of figures beside their nulls."""

    def __init__(self, title: str) -> None:
        self.rows = PlainTable(title)
        self.rows.add_column("figure", no_wrap=True)
        for heading in ("value", "null", "null, 95 %", "z"):
            self.rows.add_column(heading, justify="right", no_wrap=True)
        self.rows.add_column("noise?", no_wrap=True)
        # Sentences stand below: beside six columns of numbers a terminal leaves them no room.
        self.readings: dict[str, str] = {}

    def add(self, name: str, measured: AgainstNull, reading: str) -> None:
        """A figure; `reading` is told once of all names that are alike up to a comma."""
        self.readings.setdefault(name.split(",")[0], reading)
        interval = f"{_number(measured.null_low)} … {_number(measured.null_high)}"
        values = _number(measured.value), _number(measured.null_mean), interval, _number(measured.z, 2)
        self.rows.add_row(name, *values, _verdict(measured))

    def empty(self, name: str, reading: str, why: str) -> None:
        """A figure that could not be formed."""
        self.readings.setdefault(name.split(",")[0], reading)
        self.rows.add_row(name, "–", "–", "–", "–", why)

    def table(self, without_gradient: Sequence[str]) -> PlainTable:
        """All lines, and how to read them."""
        sentences = [f"{name}: {reading[0].lower()}{reading[1:]}" for name, reading in self.readings.items()]
        if without_gradient:
            sentences.append(f"Without gradient, left out: {', '.join(without_gradient)}.")
        self.rows.say_below(sentences)
        return self.rows


def _verdict(measured: AgainstNull) -> str:
    if not measured.outside:
        return "no more"
    return f"{'above' if measured.value > measured.null_mean else 'below'}, p = {_number(measured.p, 2)}"
