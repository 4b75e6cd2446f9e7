"""Which method is better, by rule."""

from __future__ import annotations

from collections.abc import Sequence

from metatc2.errors import InputError
from metatc2.experiment.compare import compare
from metatc2.report.figures import forest
from metatc2.report.figures.axis import signed, with_head
from metatc2.report.html.page import PageSection
from metatc2.report.html.sections.transfer import not_measured
from metatc2.report.methods import Method
from metatc2.transfer import MEAN_TARGET, Difference
from metatc2.transfer.row_filter import EVERY_ROW, RowFilter
from metatc2.transfer.row_words import pair_remarks


def comparison(methods: Sequence[Method], chosen: RowFilter = EVERY_ROW) -> PageSection:
    """Paired differences of the first method against each other one, of the results that are chosen."""
    title = "Is one better than the other?"
    measured = [folder.path for method in methods for folder in method.folders if folder.rows]
    compared = sum(any(folder.rows for folder in method.folders) for method in methods)
    if compared < 2:
        needed = "A comparison needs the measured runs of two methods: name more run folders."
        return PageSection("comparison", title, missing=[needed, *not_measured(methods)])
    try:
        differences = compare(measured, chosen=chosen)
    except InputError as error:
        return PageSection("comparison", title, missing=[f"{error}."])
    means = [d for d in differences if d.target == MEAN_TARGET] or differences
    return PageSection(
        "comparison",
        title,
        [*(_sentence(d) for d in means), *pair_remarks(differences)],
        figures=[forest(differences)],
        missing=not_measured(methods),
    )


def _sentence(d: Difference) -> str:
    where = f"On the mean over {d.targets} targets" if d.target == MEAN_TARGET else f"On {d.target}"
    verbs = {"one seed: no verdict": "against", "not distinguishable": "is not distinguishable from"}
    verb = verbs.get(d.verdict, f"is {d.verdict} than")
    seeds = f"{len(d.seeds)} seeds" if len(d.seeds) > 1 else f"{d.interval} of one seed, which gives no verdict"
    return (
        f"{where} ({with_head(d)}) {d.a} {verb} {d.b}: {signed(100 * d.difference)} ± {100 * d.ci95:.1f} points "
        f"over {seeds}."
    )
