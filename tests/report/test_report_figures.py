"""The figures draw the numbers they are given, read back from the axes."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from metatc2.report.figures import (
    ConflictMeasure,
    Drawn,
    Grid,
    Misclassified,
    Neighborhood,
    Picture,
    View,
    conflict,
    embedding_map,
    failures,
    forest,
    learning_curves,
    matrix,
    neighbors,
    thinned,
    to_png,
    to_svg,
)
from metatc2.report.figures.demo import MethodCurve
from metatc2.transfer import MEAN_TARGET, Difference


def difference(target: str, value: float, ci95: float, verdict: str) -> Difference:
    return Difference(
        a="tc2", b="plain", protocol="few-shot", target=target, split="", way=5, shot=1, head="cosine", features="encoder",
        k=None, targets=1, seeds=(0, 1, 2), per_seed=(value - 0.01, value, value + 0.01), mean_a=0.5 + value, mean_b=0.5,
        difference=value, ci95=ci95, interval="seeds", verdict=verdict,
    )  # fmt: skip


def test_forest_draws_each_interval_where_it_is() -> None:
    given = [
        difference("greek", 0.05, 0.02, "better"),
        difference("digits", -0.01, 0.03, "not distinguishable"),
        difference(MEAN_TARGET, 0.02, 0.01, "better"),
    ]
    drawn = forest(given)
    (axis,) = [a for a in drawn.figure.axes if a.containers]
    for container, d in zip(axis.containers, given, strict=True):
        point, caps, (bar,) = container.lines
        assert point.get_xdata()[0] == pytest.approx(100 * d.difference)
        (start, end) = bar.get_segments()[0][:, 0]
        assert (start, end) == pytest.approx((100 * (d.difference - d.ci95), 100 * (d.difference + d.ci95)))
        assert (point.get_markerfacecolor() == "white") == (d.verdict == "not distinguishable")
        assert point.get_marker() == ("D" if d.target == MEAN_TARGET else "o")
        assert len(caps) == 2
    heights = [container.lines[0].get_ydata()[0] for container in axis.containers]
    assert heights == sorted(heights, reverse=True)  # the first on top
    assert [row[7] for row in drawn.rows] == [0.05, -0.01, 0.02]


def test_curves_draw_mean_and_range() -> None:
    losses = np.array([[3.0, 2.0, 1.0], [5.0, 2.5, 0.0]])
    drawn = learning_curves([MethodCurve("tc2", [1, 5, 9], losses), MethodCurve("plain", [1], losses[:, :1])])
    first = drawn.figure.axes[0]
    assert first.lines[0].get_ydata().tolist() == [4.0, 2.25, 0.5]
    band = first.collections[0].get_paths()[0].vertices
    assert {(x, y) for x, y in band.tolist()} >= {(1.0, 3.0), (1.0, 5.0), (9.0, 0.0), (9.0, 1.0)}
    assert "tc2, 2 seeds: 4 at step 1, 0.5 at step 9" in drawn.alt


def test_thinning_keeps_the_mean_and_the_ends_in_order() -> None:
    curve = MethodCurve("m", list(range(1000)), np.random.default_rng(0).normal(size=(2, 1000)))
    thin = thinned(curve, 100)
    assert thin.losses.shape == (2, 100)
    assert thin.losses.mean() == pytest.approx(curve.losses.mean())
    assert np.all(np.diff(thin.steps) > 0)
    assert thinned(thin, 100) is thin


def test_matrix_writes_every_number_and_leaves_gaps_empty() -> None:
    drawn = matrix([Grid("1-shot", ["a\nfrom x", "raw"], ["t", "u"], np.array([[0.123, 0.5], [np.nan, 0.9]]))])
    assert [t.get_text() for t in drawn.figure.axes[0].texts] == ["12.3", "50.0", "–", "90.0"]
    assert [row[1:] for row in drawn.rows] == [("a, from x", "t", 0.123), ("a, from x", "u", 0.5), ("raw", "u", 0.9)]
    assert "raw on u" in drawn.alt


def test_conflict_fills_what_is_outside_its_null() -> None:
    drawn = conflict([ConflictMeasure("r", "C", 0.5, 0.2, 0.1, 0.3), ConflictMeasure("s", "C", 0.3, 0.2, 0.1, 0.3)])
    diamonds = [line for line in drawn.figure.axes[0].lines if line.get_marker() == "D"]
    assert [line.get_xdata()[0] for line in diamonds] == [0.5, 0.3]
    assert [line.get_markerfacecolor() == "white" for line in diamonds] == [False, True]  # the edge is inside
    bars = [line.get_xdata() for line in drawn.figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert [list(bar) for bar in bars] == [[0.1, 0.3], [0.1, 0.3]]


def picture(name: str, channels: int = 1) -> Picture:
    return Picture(torch.full((channels, 4, 4), 100, dtype=torch.uint8), name)


def test_right_and_wrong_are_told_without_color() -> None:
    rows = [Neighborhood(picture("a"), [picture("a", 3), picture("b", 3)], [0.9, 0.8])]
    drawn = neighbors("n", "tc2", rows, "About.")
    assert [axis.get_title() for axis in drawn.figure.axes] == ["a", "✓ a", "✗ b"]
    styles = [axis.spines["left"].get_linestyle() for axis in drawn.figure.axes[1:]]
    assert styles[0] != styles[1]
    assert "1 of 2 are right" in drawn.caption
    assert [row[3] for row in drawn.rows] == ["right", "wrong"]


@pytest.mark.parametrize("channels", [2, 5, 13])
def test_images_of_other_channels_are_drawn_by_their_first(channels: int) -> None:
    drawn = neighbors("n", "sat", [Neighborhood(picture("a", channels), [picture("a", channels)], [0.9])], "About.")
    shapes = {axis.images[0].get_array().shape for axis in drawn.figure.axes}
    assert shapes == {(4, 4) if channels == 2 else (4, 4, 3)}


def test_failures_show_query_and_choice() -> None:
    drawn = failures("f", "tc2", [Misclassified(picture("a"), picture("b"), 0.75)], "About.")
    titles = [axis.get_title() for part in drawn.figure.subfigs for axis in part.axes]
    assert titles == ["a", "✗ b"]
    assert "a taken for b (75 %)" in drawn.alt


def test_the_map_draws_each_class_apart() -> None:
    xy = np.arange(8.0).reshape(4, 2)
    drawn = embedding_map([View("e", "PCA", xy)], [0, 1, 1, 0], ["x", "y"], "toy")
    clouds = drawn.figure.axes[0].collections
    assert [cloud.get_offsets().tolist() for cloud in clouds] == [xy[[0, 3]].tolist(), xy[[1, 2]].tolist()]
    assert len({cloud.get_paths()[0].vertices.tobytes() for cloud in clouds}) == 2  # shapes differ
    assert drawn.rows[1] == ("e", "PCA", 1, "y", 2.0, 3.0)


def simple(name: str, title: str, alt: str) -> Drawn:
    figure = Figure(figsize=(3, 2))
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1])
    axis.set_title(title)
    return Drawn(name, "", alt, figure, (), ())


def test_svg_is_whole_and_its_ids_are_its_own() -> None:
    first, second = (to_svg(simple(name, "t", 'a "quote" & <tag>')) for name in ("one", "two"))
    root = ElementTree.fromstring(first)
    assert root.attrib["aria-label"] == 'a "quote" & <tag>'
    assert root.attrib["role"] == "img"
    assert (root.attrib["width"], root.attrib["height"]) == ("288px", "192px")
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for svg, known in zip((first, second), ids, strict=True):
        assert set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg)) <= known
    assert "<style" not in first
    assert first == to_svg(simple("one", "t", 'a "quote" & <tag>'))  # the same each time
    assert to_png(simple("one", "t", "alt"))[:8] == b"\x89PNG\r\n\x1a\n"


def test_names_with_dollars_and_unknown_letters_are_drawn_as_text() -> None:
    # A formula that does not close, and a letter that the font lacks: neither an error nor a warning.
    odd = Picture(torch.zeros(1, 4, 4, dtype=torch.uint8), "$\\frac{$ 漢")
    drawn = neighbors("n", "e", [Neighborhood(odd, [odd], [1.0])], "")
    assert "$\\frac{$ 漢" in "".join(ElementTree.fromstring(to_svg(drawn)).itertext())
    assert to_png(drawn)


def test_files_of_a_figure_do_not_depend_on_their_order() -> None:
    """Its parts lie where matplotlib's own `savefig` puts them, which arranges the figure anew for each file."""

    def made() -> Drawn:
        figure = Figure(figsize=(2, 1), layout="constrained", facecolor="#eeeeee")
        figure.subplots().set_ylabel("of\ntwo lines")
        return Drawn("line", "", "", figure, (), ())

    saved, one, other = made(), made(), made()
    saved.figure.savefig(io.BytesIO(), format="png", dpi=150)
    png, svg = to_png(one), to_svg(one)
    assert (to_svg(other), to_png(other)) == (svg, png)
    assert "#eeeeee" not in svg
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (300, 150)
        assert image.getpixel((0, 0)) == (0xEE, 0xEE, 0xEE, 0xFF)
    expected, found = (drawn.figure.axes[0].get_position().bounds for drawn in (saved, one))
    assert found == pytest.approx(expected, abs=0.02)
