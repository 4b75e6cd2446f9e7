"""Paired differences with their intervals: a forest plot."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from metatc2.report.figures.axis import measure_words, signed, with_head
from metatc2.report.figures.base import FONT, PALETTE, Drawn, Value, plain, shorten
from metatc2.transfer import MEAN_TARGET, Difference

_COLUMNS = (
    "A",
    "B",
    "target",
    "protocol",
    "head",
    "mean A",
    "mean B",
    "A - B",
    "ci95",
    "interval over",
    "seeds",
    "by seed",
    "A is",
)


def forest(differences: Sequence[Difference]) -> Drawn:
    """Draw A − B in points of accuracy: a panel a pair of methods, a line a target and protocol.

    Args:
        differences: from `metatc2.experiment.compare.compare`, at least one.
    """
    pairs = list(dict.fromkeys((d.a, d.b) for d in differences))
    groups = [[d for d in differences if (d.a, d.b) == pair] for pair in pairs]
    heights = [0.4 * len(group) + 0.95 for group in groups]
    figure = Figure(figsize=(6.6, sum(heights)))
    figure.set_layout_engine("constrained", h_pad=0.08)
    axes = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights).flatten()
    for axis, (a, b), group in zip(axes, pairs, groups, strict=True):
        places = range(len(group), 0, -1)
        axis.axvline(0, color="#555555", linewidth=1)
        for place, d in zip(places, group, strict=True):
            told_apart = d.verdict in ("better", "worse")
            axis.errorbar(
                100 * d.difference,
                place,
                xerr=100 * d.ci95,
                fmt="D" if d.target == MEAN_TARGET else "o",
                color=PALETTE[2],
                markerfacecolor=PALETTE[2] if told_apart else "white",
                markersize=5.5,
                capsize=2.5,
                linewidth=1.3,
            )
            if len(d.per_seed) > 1:
                axis.plot([100 * x for x in d.per_seed], [place - 0.22] * len(d.per_seed), "|", color="#555555", ms=4)
        axis.set_yticks(list(places), [plain(_label(d)) for d in group], fontsize=FONT)
        axis.set_ylim(0.3, len(group) + 0.7)
        right = axis.secondary_yaxis("right")
        right.set_yticks(list(places), [_verdict(d) for d in group], fontsize=FONT)
        right.tick_params(length=0)
        axis.tick_params(axis="x", labelsize=FONT - 1)
        axis.set_title(plain(f"{shorten(a, 40)} − {shorten(b, 40)}"), fontsize=FONT + 1, loc="left")
        axis.set_xlabel("difference in points; right of zero the first is better", fontsize=FONT)
        axis.grid(axis="x", alpha=0.3, linewidth=0.4)
    over = " and ".join(dict.fromkeys(d.interval for d in differences))
    one = any(len(d.seeds) == 1 for d in differences)
    described = [
        f"{d.a} minus {d.b}, {_line(d)}: {signed(100 * d.difference)} ± {100 * d.ci95:.1f}" for d in differences
    ]
    return Drawn(
        name="paired-differences",
        caption=f"Paired differences on the same images and episodes, with the 95 % interval over {over}. Small ticks: "
        "single seeds. Filled: better or worse by the rule of `metatc2 compare` (3 seeds, Holm); hollow: no verdict. Diamond: "
        "mean over targets." + (" One seed says nothing about other seeds." if one else ""),
        alt=f"Forest plot of paired differences in points of accuracy, with 95 % intervals over {over}. "
        f"{'; '.join(described[:6])}{f'; and {len(described) - 6} more in the table below' if len(described) > 6 else ''}.",
        figure=figure,
        columns=_COLUMNS,
        rows=[_numbers(d) for d in differences],
    )


def _line(d: Difference) -> str:
    return f"{d.target}, {with_head(d)}"


def _label(d: Difference) -> str:
    return f"{shorten(d.target, 28)}\n{shorten(with_head(d), 28)}"


def _verdict(d: Difference) -> str:
    return f"{signed(100 * d.difference)} ± {100 * d.ci95:.1f}\n{d.verdict}"


def _numbers(d: Difference) -> tuple[Value, ...]:
    words = (d.a, d.b, d.target, measure_words(d), d.head)
    seeds = " ".join(f"{x:+.4f}" for x in d.per_seed)
    return (*words, d.mean_a, d.mean_b, d.difference, d.ci95, d.interval, len(d.seeds), seeds, d.verdict)
