"""Advice as a person reads it: a table on the terminal, a chart, and a page."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from metatc2.experiment.advice.advise import Advice
from metatc2.experiment.advice.rule import AdviceRow
from metatc2.io.files import printable, write_atomically, writing
from metatc2.io.terminal import PlainTable
from metatc2.report.figures import few_labels, to_png
from metatc2.report.figures.axis import signed
from metatc2.report.html.page import PageSection, TextTable, render

CHART, PAGE = "advice.png", "advice.html"


def advice_table(advice: Advice) -> PlainTable:
    """Accuracy on test images and, behind it, the paired difference to raw pixels, by arm and labels a class."""
    table = PlainTable(
        f"{advice.source}: accuracy in % by labels a class (± 95 % interval), and its paired difference to raw pixels"
    )
    counts = list(dict.fromkeys(row.labels_per_class for row in advice.rows))
    table.add_column("")
    for count in counts:
        table.add_column(str(count), justify="right", no_wrap=True)
        table.add_column("− pixels", justify="right", no_wrap=True)
    for arm, own in _by_arm(advice).items():
        cells = [cell for row in own for cell in (_accuracy(row).replace(" ± ", "±"), _over(row).replace(" ± ", "±"))]
        table.add_row(arm, *cells)
    table.say_below(_notes(advice))
    return table


def write_advice(advice: Advice) -> Path:
    """Write the chart and the page into the folder of the advice.

    Returns:
        The page.

    Raises:
        InputError: if they cannot be written.
    """
    drawn = few_labels(advice.rows, chance=1 / advice.parts["classes"])
    sentences: list[str | tuple[str, str]] = [advice.sentence]
    sentences += [advice.next_step] if advice.next_step else []
    if advice.pretrain:
        sentences += [
            f"Pre-trained anew, on the same images: {advice.pretrain}",
            f"Its run measured on the same test images, with all labels: {advice.transfer}",
        ]
    sentences += _notes(advice)
    parts = advice.parts
    how = [
        f"{parts['training']} images of {parts['classes']} classes to pre-train on without labels and to draw labels from, "
        f"{parts['validation']} to choose on, {parts['test']} to test on ({parts['how']}).",
        "For each number of labels the pre-trained arm and the control with the best mean on validation images are taken, and "
        "their paired difference is measured on test images, from labels that no choice has seen. An interval that contains "
        "zero says that the control is as good or, where it is wider than five points to either side, nothing.",
        "Intervals hold for other seeds, which change weights and labels, and for other test images.",
    ]
    counts = list(dict.fromkeys(row.labels_per_class for row in advice.rows))
    columns = ["arm", *[f"{n} label{'s' * (n > 1)} a class" for n in counts], *[f"− raw pixels, {n}" for n in counts]]
    accuracies = TextTable(
        "Accuracy in %, and its paired difference to raw pixels in points",
        columns,
        [[arm, *map(_accuracy, own), *map(_over, own)] for arm, own in _by_arm(advice).items()],
    )
    chosen = TextTable(
        "What was chosen by: accuracy in % on validation images",
        ["arm", *[f"{n}" for n in counts], "steps", "seconds a seed", "note"],
        [
            [
                arm,
                *[f"{100 * row.validation:.1f}" for row in own],
                "" if own[0].steps is None else own[0].steps,
                "" if own[0].seconds is None else f"{own[0].seconds:.0f}",
                own[0].note,
            ]
            for arm, own in _by_arm(advice).items()
        ],
        folded=True,
    )
    sections = [
        PageSection("advice", "Advice", sentences, [drawn], [accuracies, chosen], opening=True),
        PageSection("how", "How it was measured", how),
    ]
    page = render(f"Is pre-training worth it on {advice.source}?", sections, version=version("metatc2"))
    with writing(advice.folder / PAGE):
        write_atomically(advice.folder / CHART, to_png(drawn))
        write_atomically(advice.folder / PAGE, printable(page).encode())
    return advice.folder / PAGE


def _notes(advice: Advice) -> list[str]:
    """As sentences; a name or a path that a note begins with stays as it is."""
    return [f"{note[:1].upper() if note.partition(' ')[0].isalpha() else note[:1]}{note[1:]}." for note in advice.notes]


def _by_arm(advice: Advice) -> dict[str, list[AdviceRow]]:
    by_arm: dict[str, list[AdviceRow]] = {}
    for row in advice.rows:
        by_arm.setdefault(row.arm, []).append(row)
    return by_arm


def _accuracy(row: AdviceRow) -> str:
    return f"{100 * row.accuracy:.1f} ± {100 * row.ci95:.1f}"


def _over(row: AdviceRow) -> str:
    same = row.over_pixels == row.over_pixels_ci95 == 0
    return "–" if same else f"{signed(100 * row.over_pixels)} ± {100 * row.over_pixels_ci95:.1f}"
