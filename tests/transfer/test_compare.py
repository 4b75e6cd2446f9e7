"""Paired comparison: the numbers by hand, the rule for a verdict, and what must not be compared."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from rich.console import Console
from scipy import stats

from metatc2.errors import InputError
from metatc2.report import comparison_table
from metatc2.transfer import MEAN_TARGET, Difference, RunResults, by_method, compare, holm, transfer_matrices
from metatc2.transfer.row_words import pair_remarks

from ..result_rows import row_of


def run(method: str, seed: int, means: dict[str, float], **changes: Any) -> RunResults:
    """A run with a target for each mean, and noise that all runs share: hard and easy episodes."""
    rows, accuracies = [], {}
    for target, mean in means.items():
        shared = torch.rand(50, generator=torch.Generator().manual_seed(len(target)), dtype=torch.float64) - 0.5
        own = torch.rand(50, generator=torch.Generator().manual_seed(seed + len(method)), dtype=torch.float64) - 0.5
        values = 0.3 * shared + 0.02 * own
        values = values - values.mean() + mean
        row = row_of(
            **{"protocol": "few-shot", "source": "glyphs", "target": target, "split": target, "mean": mean}
            | ({} if changes.get("protocol") == "knn" else {"way": 5, "shot": 1, "episodes": 50, "episodes_seed": 1})
            | {"query": 15, "head": "cosine", "ci95": 0.1, "seed": seed}
            | {"encoder_sha256": f"{method}{seed}", "target_sha256": target}
            | changes
        )
        rows.append(row)
        accuracies[row.key] = values
    return RunResults(f"{method}-{seed}", method, seed, rows, accuracies)


def runs(method: str, table: dict[int, dict[str, float]], **changes: Any) -> list[RunResults]:
    return [run(method, seed, means, **changes) for seed, means in table.items()]


def both(*parts: RunResults) -> RunResults:
    """One run that has the rows of several."""
    rows = [row for part in parts for row in part.rows]
    return dataclasses.replace(parts[0], rows=rows, accuracies={k: v for p in parts for k, v in p.accuracies.items()})


def shown(table: Any) -> str:
    console = Console(width=200)
    with console.capture() as held:
        console.print(table)
    return held.get()


def only(differences: list[Difference], target: str) -> Difference:
    (found,) = [d for d in differences if d.target == target]
    return found


def test_seeds_are_paired_and_the_interval_is_over_them() -> None:
    # Seeds differ by 20 points and the methods by 3: only pairing can tell.
    a = runs("tc2", {2: {"greek": 0.73}, 0: {"greek": 0.54}, 1: {"greek": 0.62}, 9: {"greek": 0.1}})
    b = runs("plain", {0: {"greek": 0.50}, 1: {"greek": 0.59}, 2: {"greek": 0.70}, 8: {"greek": 0.9}})
    found = only(compare(a, b), "greek")
    assert found.seeds == (0, 1, 2)
    assert found.per_seed == pytest.approx((0.04, 0.03, 0.03))
    expected = stats.ttest_rel([0.54, 0.62, 0.73], [0.50, 0.59, 0.70]).confidence_interval()
    assert (found.difference - found.ci95, found.difference + found.ci95) == pytest.approx(
        (expected.low, expected.high)
    )
    assert (found.mean_a, found.mean_b) == pytest.approx((0.63, 0.59667), abs=1e-4)
    assert (found.a, found.b, found.interval, found.verdict) == ("tc2", "plain", "seeds", "better")
    back = only(compare(b, a), "greek")
    assert back.difference == pytest.approx(-found.difference)
    assert back.verdict == "worse"


def test_one_seed_has_an_interval_over_paired_episodes_and_no_verdict() -> None:
    a, b = run("tc2", 0, {"greek": 0.6}), run("plain", 0, {"greek": 0.5})
    found = only(compare([a], [b]), "greek")
    x, y = (next(iter(r.accuracies.values())).numpy() for r in (a, b))
    expected = stats.ttest_rel(x, y).confidence_interval()
    assert (found.difference - found.ci95, found.difference + found.ci95) == pytest.approx(
        (expected.low, expected.high)
    )
    assert found.ci95 < 0.005  # unpaired it would be 0.03
    assert (found.interval, found.verdict) == ("episodes", "one seed: no verdict")


@pytest.mark.parametrize(
    ("per_seed", "verdict"),
    [
        ([0.05, 0.05], "not distinguishable"),  # two seeds, however equal
        ([0.05, 0.05, 0.05], "better"),
        ([-0.05, -0.04, -0.05], "worse"),
        ([0.05, 0.01, -0.02], "not distinguishable"),
        ([0.0, 0.0, 0.0], "not distinguishable"),
        ([0.01, 0.05, 0.09], "not distinguishable"),  # all positive, t = 2.2, but 3 seeds need 4.3
    ],
)
def test_verdict(per_seed: list[float], verdict: str) -> None:
    a = runs("tc2", {s: {"greek": 0.5 + d} for s, d in enumerate(per_seed)})
    b = runs("plain", {s: {"greek": 0.5} for s in range(len(per_seed))})
    assert only(compare(a, b), "greek").verdict == verdict


def test_mean_over_targets_is_averaged_within_a_seed_first() -> None:
    a = runs("tc2", {0: {"greek": 0.6, "thai": 0.5}, 1: {"greek": 0.7, "thai": 0.4}, 2: {"greek": 0.65, "thai": 0.46}})
    b = runs("plain", {s: {"greek": 0.5, "thai": 0.4} for s in range(3)})
    found = only(compare(a, b), MEAN_TARGET)
    assert found.per_seed == pytest.approx((0.1, 0.1, 0.105))
    expected = stats.ttest_1samp([0.1, 0.1, 0.105], 0).confidence_interval()
    assert (found.difference - found.ci95, found.difference + found.ci95) == pytest.approx(
        (expected.low, expected.high)
    )
    assert (found.targets, found.split, found.verdict) == (2, "", "better")


def test_mean_over_targets_with_one_seed() -> None:
    a, b = (run(m, 0, {"greek": 0.6, "georgian": 0.5}) for m in ("tc2", "plain"))
    found = compare([a], [b])
    halves = [only(found, t).ci95 for t in ("greek", "georgian")]
    assert only(found, MEAN_TARGET).ci95 == pytest.approx((halves[0] ** 2 + halves[1] ** 2) ** 0.5 / 2)


def test_mean_over_targets_uses_seeds_that_all_targets_have() -> None:
    a = runs("tc2", {0: {"greek": 0.6, "thai": 0.5}, 1: {"greek": 0.7, "thai": 0.5}, 2: {"greek": 0.6}})
    b = runs("plain", {s: {"greek": 0.5, "thai": 0.4} for s in range(3)})
    found = compare(a, b)
    assert only(found, MEAN_TARGET).seeds == (0, 1)
    assert only(found, "greek").seeds == (0, 1, 2)


def test_knn_targets_with_different_numbers_of_classes_share_a_mean() -> None:
    def measured(method: str, mean: float) -> RunResults:
        knn = {"protocol": "knn", "head": "knn", "k_asked": 200}
        greek = run(method, 0, {"greek": mean}, way=24, k=20, **knn)
        return both(greek, run(method, 0, {"thai": mean}, way=44, k=30, **knn))

    # Neighbors that were used where they are the same, as in the table of results; else those that were asked for.
    found = compare([measured("tc2", 0.6)], [measured("plain", 0.5)])
    assert [(d.target, d.way, d.k, d.interval) for d in found] == [
        ("greek", 24, 20, "images"),
        ("thai", 44, 30, "images"),
        (MEAN_TARGET, None, 200, "images"),
    ]


def test_rows_are_matched_by_protocol_and_features() -> None:
    a, b = run("tc2", 0, {"greek": 0.6}), run("plain", 0, {"greek": 0.5})
    calibrated = run("tc2", 0, {"greek": 0.9}, features="calibrated")
    other_shot = run("tc2", 0, {"greek": 0.8}, shot=5)
    mixed = both(calibrated, other_shot, a)
    (found,) = compare([mixed], [b])
    assert found.difference == pytest.approx(0.1)
    with pytest.raises(InputError, match="share no result of features 'calibrated'"):
        compare([mixed], [b], features="calibrated")


def test_json() -> None:
    found = compare([run("tc2", 0, {"greek": 0.6})], [run("plain", 0, {"greek": 0.5})])[0].to_json()
    assert json.loads(json.dumps(found))["per_seed"] == pytest.approx([0.1])


@pytest.mark.parametrize("change", [{"target_sha256": "x"}, {"episodes_seed": 2}, {"episodes": 60}, {"query": 14}])
def test_other_images_or_episodes_are_not_compared(change: dict[str, Any]) -> None:
    a = runs("tc2", {0: {"greek": 0.6}, 1: {"greek": 0.6}})
    b = runs("plain", {0: {"greek": 0.5}, 1: {"greek": 0.5}})
    name = next(iter(change))
    for side in (a, b):
        odd = [side[0], run(side[1].method, 1, {"greek": 0.5}, **change)]
        with pytest.raises(InputError, match=f"differ on greek in {name}"):
            compare(*((odd, b) if side is a else (a, odd)))


def test_the_same_images_at_two_sizes_are_paired_and_it_is_said() -> None:
    small = runs("tc2", {0: {"greek": 0.6}}, target_sha256="s", originals_sha256="o", image_shape="1 × 28 × 28")
    large = runs("resnet", {0: {"greek": 0.5}}, target_sha256="l", originals_sha256="o", image_shape="3 × 64 × 64")
    (found,) = compare(small, large)
    assert found.difference == pytest.approx(0.1)
    assert found.image_shapes == ("1 × 28 × 28", "3 × 64 × 64")
    said = shown(comparison_table([found]))
    assert "tc2 got images of 1 × 28 × 28, resnet the same images at 3 × 64 × 64." in said
    (alike,) = compare(small, runs("plain", {0: {"greek": 0.5}}, target_sha256="s", image_shape="1 × 28 × 28"))
    assert alike.image_shapes is None
    assert "the same images at" not in shown(comparison_table([alike]))
    others = runs("resnet", {0: {"greek": 0.5}}, target_sha256="l", originals_sha256="other")
    with pytest.raises(InputError, match="differ on greek in target_sha256"):
        compare(small, others)
    unknown = runs("resnet", {0: {"greek": 0.5}}, target_sha256="l")
    with pytest.raises(InputError, match="differ on greek in target_sha256"):
        compare(
            [dataclasses.replace(small[0], rows=[dataclasses.replace(small[0].rows[0], originals_sha256="")])], unknown
        )


def test_seeds_that_one_side_has_alone_are_said_to_be_left_out() -> None:
    three = runs("tc2", {seed: {"greek": 0.6, "thai": 0.7} for seed in range(3)})
    one = runs("plain", {0: {"greek": 0.5, "thai": 0.6}, 7: {"greek": 0.5, "thai": 0.6}})
    found = compare(three, one)
    assert {d.seeds for d in found} == {(0,)}
    assert {d.seeds_alone for d in found} == {((1, 2), (7,))}
    assert pair_remarks(found) == [
        "Seeds 1, 2 of tc2 are left out: plain has no such run.",
        "Seed 7 of plain is left out: tc2 has no such run.",
    ]
    assert "Seed 7 of plain is left out" in shown(comparison_table(found))
    assert pair_remarks(compare(three, runs("plain", {seed: {"greek": 0.5} for seed in range(3)}))) == []


def test_rows_of_other_options_of_an_unknown_protocol_are_not_compared() -> None:
    a, b = ([run(m, s, {"greek": x}, radius=3) for s in (0, 1)] for m, x in (("tc2", 0.6), ("plain", 0.5)))
    assert only(compare(a, b), "greek").difference == pytest.approx(0.1)
    other = [run("plain", s, {"greek": 0.5}, radius=4) for s in (0, 1)]
    with pytest.raises(InputError, match=r"differ on greek in radius \(3 and 4\)"):
        compare(a, other)


def test_settings_of_an_unknown_protocol_stand_side_by_side() -> None:
    a, b = (
        [
            both(run(m, s, {"greek": x}, radius=3), run(m, s, {"greek": x + 0.1 * (m == "tc2")}, radius=4))
            for s in (0, 1)
        ]
        for m, x in (("tc2", 0.6), ("plain", 0.5))
    )
    differences = compare(a, b)
    assert [(d.target, d.setting) for d in differences] == [("greek", "radius 3"), ("greek", "radius 4")]
    assert [d.difference for d in differences] == pytest.approx([0.1, 0.2])
    assert "radius 4" in shown(comparison_table(differences))
    assert [d.setting for d in compare(a, runs("plain", {s: {"greek": 0.5} for s in (0, 1)}, radius=4))] == ["radius 4"]
    assert [matrix.row.setting for matrix in transfer_matrices(a)] == ["radius 3", "radius 4"]


def test_bad_input() -> None:
    a, b = run("tc2", 0, {"greek": 0.6}), run("plain", 0, {"greek": 0.5})
    with pytest.raises(InputError, match=r"seeds \[0\].*seeds \[1\].* share no seed"):
        compare([a], [run("plain", 1, {"greek": 0.5})])
    with pytest.raises(InputError, match="share no result"):
        compare([a], [run("plain", 0, {"thai": 0.5})])
    with pytest.raises(InputError, match="plain-0 lacks the accuracies"):
        compare([a], [dataclasses.replace(b, accuracies={})])
    with pytest.raises(InputError, match="both 'tc2' with seed 0"):
        by_method([a, b, a])
    with pytest.raises(InputError, match="one method"):
        compare([a, b], [b])
    with pytest.raises(InputError, match="one method"):
        compare([], [b])
    twice = RunResults("x", "tc2", 0, [*a.rows, dataclasses.replace(a.rows[0], facts={**a.rows[0].facts, "query": 3})])
    with pytest.raises(InputError, match="twice"):
        compare([twice], [b])


def test_a_file_may_hold_several_numbers_of_episodes() -> None:
    few, many = {"greek": 0.6, "georgian": 0.5}, {"episodes": 2000, "query_asked": 10}
    a = both(run("tc2", 0, few), run("tc2", 0, {k: v + 0.05 for k, v in few.items()}, **many))
    b = both(run("plain", 0, few), run("plain", 0, few, **many))
    found = compare([a], [b])
    assert [(d.target, round(d.difference, 6)) for d in found] == [
        *(("greek", 0.0), ("georgian", 0.0), ("greek", 0.05), ("georgian", 0.05)),
        *((MEAN_TARGET, 0.0), (MEAN_TARGET, 0.05)),
    ]
    assert [d.target for d in compare([a], [run("plain", 0, few)])] == ["greek", "georgian", MEAN_TARGET]
    with pytest.raises(InputError, match=r"tc2-0 and plain-0 differ on greek in episodes \(2000 and 50\), query_asked"):
        compare([run("tc2", 0, few, **many)], [run("plain", 0, few)])


def step_down(p: list[float], level: float) -> set[int]:
    """Holm's procedure as he states it: reject from the smallest on until one p exceeds level / (tests left)."""
    rejected: set[int] = set()
    for i in sorted(range(len(p)), key=p.__getitem__):
        if p[i] > level / (len(p) - len(rejected)):
            break
        rejected.add(i)
    return rejected


def test_holm_rejects_what_the_procedure_rejects() -> None:
    g = torch.Generator().manual_seed(0)
    for n in (1, 2, 5, 9):
        p = (torch.rand(n, generator=g).double() ** 3).tolist()
        for level in (0.01, 0.05, 0.2):
            assert {i for i, adjusted in enumerate(holm(p)) if adjusted <= level} == step_down(p, level)


def test_the_verdict_on_several_targets_is_corrected() -> None:
    # The same difference is clear on one target alone, and not as the worst of five.
    deltas = [0.02, 0.005, 0.04]
    table = {seed: {"greek": 0.5 + d} for seed, d in enumerate(deltas)}
    plain = {seed: {"greek": 0.5} for seed in table}
    wide = [0.03, 0.035, 0.028, 0.032]
    alone = only(compare(runs("a", {s: {"x": 0.5 + d} for s, d in enumerate(wide)}),
                         runs("b", {s: {"x": 0.5} for s in range(4)})), "x")  # fmt: skip
    assert (alone.p, alone.verdict) == (alone.p_holm, "better")
    names = ["t", "tt", "ttt", "tttt"]
    middling = [0.03, 0.01, 0.02, 0.035]
    a = {s: dict.fromkeys(names, 0.5 + d) for s, d in enumerate(middling)}
    found = compare(runs("a", a), runs("b", {s: dict.fromkeys(names, 0.5) for s in a}))
    expected = stats.ttest_1samp(middling, 0.0)
    for name in names:
        d = only(found, name)
        assert d.p == pytest.approx(expected.pvalue)
        assert d.p_holm == pytest.approx(min(1.0, 4 * expected.pvalue))
        assert 0.0125 < d.p < 0.05 < d.p_holm, "the example must sit where the correction matters"
        assert abs(d.difference) > d.ci95
        assert d.verdict == "not distinguishable"
        assert d.effect == pytest.approx(expected.statistic / 2)
    assert only(found, MEAN_TARGET).verdict == "better"
    assert only(compare(runs("a", table), runs("b", plain)), "greek").verdict == "not distinguishable"


def test_differences_that_are_all_equal() -> None:
    a, b = ({s: {"x": value} for s in range(3)} for value in (0.75, 0.5))
    found = only(compare(runs("a", a), runs("b", b)), "x")
    assert (found.effect, found.p, found.verdict) == (float("inf"), 0.0, "better")
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["effect"] is None
    same = only(compare(runs("a", a), runs("b", a)), "x")
    assert (same.effect, same.p, same.verdict) == (0.0, 1.0, "not distinguishable")


def test_protocols_that_differ_are_named() -> None:
    a, b = runs("a", {0: {"x": 0.5}}), runs("b", {0: {"x": 0.5}}, protocol="linear", head="linear")
    with pytest.raises(InputError, match=r"'a' was measured by few-shot and 'b' by linear, which cannot be compared"):
        compare(a, b)


def test_transductive_results_are_not_compared_with_inductive_ones() -> None:
    a, b = runs("a", {0: {"x": 0.5}}), runs("b", {0: {"x": 0.5}}, inductive=False)
    with pytest.raises(InputError, match=r"differ on x in inductive \(True and False\)"):
        compare(a, b)


def test_runs_on_other_targets_share_nothing_and_these_are_named() -> None:
    a, b = run("tc2", 0, {"greek": 0.6}), run("plain", 0, {"thai": 0.5, "latin": 0.5})
    with pytest.raises(
        InputError, match="'tc2' was measured on greek and 'plain' on latin, thai, so they share no result"
    ):
        compare([a], [b])
