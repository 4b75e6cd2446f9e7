"""The page as a reader's machine sees it: complete, self-contained, accessible, and its numbers those of the files."""

from __future__ import annotations

import csv
import json
import re
import statistics
import tomllib
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from scipy import stats

SECTIONS = [
    "summary",
    "configuration",
    "training",
    "transfer",
    "comparison",
    "matrix",
    "conflict",
    "embedding",
    "neighbors",
    "failures",
]
FIGURES = {
    "accuracy",
    "learning-curves",
    "paired-differences",
    "transfer-matrix",
    "task-conflict",
    "embedding-map",
    "neighbors-1",
    "neighbors-2",
    "failures-1",
    "failures-2",
}
VOID = {"meta", "link", "br", "img", "input", "hr"}


@dataclass
class Node:
    tag: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    children: list[Node | str] = field(default_factory=list)

    def all(self, *tags: str) -> list[Node]:
        found = []
        for child in self.children:
            if isinstance(child, Node):
                found += [child] * (not tags or child.tag in tags) + child.all(*tags)
        return found

    def text(self) -> str:
        return "".join(c if isinstance(c, str) else c.text() for c in self.children)


class Tree(HTMLParser):
    """A strict reader: every tag must be closed, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = Node("root")
        self.open = [self.root]
        self.feed(html)
        self.close()
        assert self.open == [self.root], f"never closed: {[node.tag for node in self.open[1:]]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Node(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


@pytest.fixture(scope="session")
def tree(page: Path) -> Node:
    return Tree(page.read_text(encoding="utf-8")).root


def tables(node: Node) -> dict[str, tuple[list[str], list[list[str]]]]:
    """By caption: headings and rows."""
    found = {}
    for table in node.all("table"):
        rows = [[cell.text().strip() for cell in row.all("th", "td")] for row in table.all("tr")]
        found[table.all("caption")[0].text()] = rows[0], rows[1:]
    return found


def by_id(tree: Node, name: str) -> Node:
    (node,) = [node for node in tree.all() if node.attributes.get("id") == name]
    return node


def test_every_section_and_figure_is_there(tree: Node) -> None:
    assert [node.attributes["id"] for node in tree.all("section")] == SECTIONS
    assert {node.attributes["id"] for node in tree.all("figure")} == FIGURES
    linked = [a.attributes["href"] for a in tree.all("nav")[0].all("a")]
    assert linked == [f"#{name}" for name in SECTIONS]
    assert len(tree.all("h1")) == 1
    assert len(tree.all("h2")) == len(SECTIONS)


def test_the_page_opens_with_one_sentence_and_one_chart_and_the_rest_is_folded(tree: Node, folders: list[Path]) -> None:
    first, *others = tree.all("section")
    assert [len(first.all(tag)) for tag in ("h2", "p", "figure")] == [1, 1, 1]
    assert all(node.text().startswith("The numbers") for node in first.all("details"))
    for section in others:
        (fold,) = [node for node in section.all("details") if node.attributes.get("class") == "part"]
        assert "open" not in fold.attributes
        assert [child for child in section.children if isinstance(child, Node)] == [fold]
        assert fold.all("summary")[0].all("h2")
    # By the files: 2-way 1-shot with cosine on the mean over two targets, three seeds.
    rows = {f: json.loads((f / "transfer.json").read_text()) for f in folders}

    def means(paths: list[Path], features: str) -> list[float]:
        return [100 * statistics.fmean(r["mean"] for r in rows[f] if r["features"] == features) for f in paths]

    ours, theirs = means(folders[:3], "encoder"), means(folders[3:], "encoder")
    half = float(stats.t.ppf(0.975, 2)) * statistics.stdev(ours) / 3**0.5
    sentence = first.all("p")[0].text()
    assert sentence.startswith(
        f"simclr+tc2(shared) reaches {statistics.fmean(ours):.1f} ± {half:.1f} % on the mean over 2 targets "
        "(2-way 1-shot, cosine), "
    )
    difference = statistics.fmean(a - b for a, b in zip(ours, theirs, strict=True))
    assert f"{difference:+.1f}".replace("-", "−") + " ± " in sentence
    assert " points against simclr (" in sentence
    assert f"a random encoder reaches {statistics.fmean(means(folders[:3], 'random encoder')):.1f} %" in sentence
    assert f"raw pixels reach {means(folders[:1], 'raw pixels')[0]:.1f} %." in sentence
    assert "chance" in first.all("svg")[0].text()


def test_nothing_is_loaded_from_anywhere(tree: Node, page: Path) -> None:
    for node in tree.all():
        for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            value = node.attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (node.tag, name, value)
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"url\(([^)]*)\)", text):
        assert target.strip("\"'").startswith(("#", "data:", "${data.sprite}")), target
    assert "@import" not in text
    assert "default-src 'none'" in text
    addresses = set(re.findall(r"https?://[^\"'\s<>)]*", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, not addresses


def test_every_figure_says_in_words_what_it_shows(tree: Node) -> None:
    for figure in tree.all("figure"):
        drawings = [node for node in figure.all("svg") if node.attributes.get("role") in ("img", "application")]
        assert len(drawings) == 1, figure.attributes
        assert len(drawings[0].attributes["aria-label"] or "") > 60
        assert len(figure.all("figcaption")[0].text()) > 40
        others = [node for node in figure.all("svg") if node not in drawings]
        assert all(node.attributes.get("aria-hidden") == "true" for node in others)


def test_ids_are_unique_and_what_is_referred_to_exists(tree: Node) -> None:
    ids = [node.attributes["id"] for node in tree.all() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for node in tree.all():
        for name in ("href", "xlink:href", "aria-labelledby", "aria-describedby", "for"):
            value = node.attributes.get(name)
            if value and not value.startswith("data:"):
                assert value.removeprefix("#") in ids, (node.tag, name, value)


def test_tables_have_captions_and_scopes_and_boxes_that_scroll_are_reached_by_keyboard(tree: Node) -> None:
    assert tree.all("table")
    for table in tree.all("table"):
        assert table.all("caption")
        assert all(th.attributes.get("scope") in ("col", "row") for th in table.all("th"))
        width = len(table.all("tr")[0].all("th", "td"))
        assert all(len(row.all("th", "td")) == width for row in table.all("tr"))
    scrolling = [node for node in tree.all("div") if node.attributes.get("class") == "scroll"]
    for node in scrolling:
        assert node.attributes["tabindex"] == "0"
        assert node.attributes["aria-label"]
    assert all(any(table in node.all("table") for node in scrolling) for table in tree.all("table"))


def test_the_skip_link_comes_first(tree: Node) -> None:
    first = tree.all("a")[0]
    assert first.attributes["class"] == "skip"
    assert first.attributes["href"] == "#main"


def test_every_row_of_the_files_stands_in_the_page_and_in_the_csv(tree: Node, page: Path, folders: list[Path]) -> None:
    expected = []
    for folder in folders:
        for row in json.loads((folder / "transfer.json").read_text()):
            expected.append(
                (str(folder), row["target"], row["features"], row["facts"]["head"], row["mean"], row["ci95"])
            )
    headings, shown = tables(by_id(tree, "transfer"))["Every row that was measured"]
    with (page.parent / "report_assets" / "transfer.csv").open(newline="") as file:
        kept = list(csv.DictReader(file))
    for found in ([dict(zip(headings, row, strict=True)) for row in shown], kept):
        told = [(r["run"], r["target"], r["features"], r["head"], float(r["mean"]), float(r["ci95"])) for r in found]
        assert len(told) == len(expected)
        for row, truth in zip(told, expected, strict=True):
            assert row[:4] == truth[:4]
            assert row[4:] == pytest.approx(truth[4:], abs=5.1e-7)


def test_the_transfer_table_is_the_mean_and_interval_over_seeds_of_the_files(tree: Node, folders: list[Path]) -> None:
    rows = {folder: json.loads((folder / "transfer.json").read_text()) for folder in folders}
    found = tables(by_id(tree, "transfer"))
    headings, lines = next(found[caption] for caption in found if caption.startswith("Accuracy in %"))
    assert headings[1:] == [
        "simclr+tc2(shared): encoder",
        "simclr+tc2(shared): calibrated",
        "simclr: encoder",
        "random encoder",
        "raw pixels",
    ]
    assert len(lines) == 2
    for line in lines:
        target = next(t for t in ("digits:meta-test", "digits:meta-validation") if line[0].startswith(t))
        assert "2-way 1-shot, cosine, 8 episodes" in line[0]
        for heading, cell in zip(headings[1:], line[1:], strict=True):
            method, _, features = heading.partition(": ") if ":" in heading else ("simclr+tc2(shared)", "", heading)
            which = [f for f in folders if f.name.startswith("tc2" if method == "simclr+tc2(shared)" else "none")]
            measured = [r for f in which for r in rows[f] if (r["target"], r["features"]) == (target, features)]
            means = [100 * r["mean"] for r in measured]
            text = f"{statistics.fmean(means):.1f} ± {statistics.fmean(100 * r['ci95'] for r in measured):.1f}"
            if features != "raw pixels":
                half = float(stats.t.ppf(0.975, 2)) * statistics.stdev(means) / 3**0.5
                text += f"± {half:.1f} over 3 seeds"
            assert cell == text, heading


def test_the_settings_that_differ_are_those_of_the_files(tree: Node, folders: list[Path]) -> None:
    def flat(path: Path) -> dict[str, object]:
        content = tomllib.loads((path / "config.toml").read_text())
        return {f"{s}.{k}": v for s, keys in content.items() if isinstance(keys, dict) for k, v in keys.items()}

    tc2, plain = flat(folders[0]), flat(folders[3])
    # Settings that one of them alone has follow from its calibration.
    differing = {key for key in tc2.keys() & plain.keys() if tc2[key] != plain[key]}
    _, lines = tables(by_id(tree, "configuration"))["Settings in which the methods differ"]
    assert {line[0] for line in lines} == differing == {"calibration.name"}
    assert lines[0][1:3] == ['"tc2"', '"none"']
    words = by_id(tree, "configuration").text()
    assert "4 steps of 16 images, each batch cut into 2 tasks" in words
    assert "Seeds 0, 1 and 2." in words


def test_the_verdicts_are_those_of_compare(tree: Node, folders: list[Path]) -> None:
    from metatc2.experiment.run import compare

    text = by_id(tree, "comparison").text()
    for d in compare(folders):
        assert d.verdict in text
        if d.targets > 1:
            assert f"{abs(100 * d.difference):.1f} ± {100 * d.ci95:.1f} points over 3 seeds" in text


def test_conflict_is_shown_where_it_was_measured_and_asked_for_where_not(tree: Node, folders: list[Path]) -> None:
    section = by_id(tree, "conflict")
    _, lines = next(iter(tables(section).values()))
    assert [(line[1], line[2], line[-1]) for line in lines] == [
        ("C, <b>rate</b>", "0.5", "outside"),
        ("T", "0.15", "inside"),
    ]
    (asked,) = [p.text() for p in section.all("p") if p.attributes.get("class") == "missing"]
    assert "metatc2 diagnose DIR" in asked
    assert [str(folder) in asked for folder in folders] == [False, True, True, True, True, True]


def test_the_map_holds_a_thumbnail_of_every_image_on_it(tree: Node) -> None:
    data = json.loads(by_id(tree, "map-data").text())
    n = len(data["points"])
    assert n == 180  # three classes of meta-test, 60 images each
    assert len(by_id(tree, "map").all("use")) == n
    views = [(view["encoder"], view["projection"]) for view in data["views"]]
    assert {("simclr+tc2(shared), seed 0", "PCA"), ("simclr, seed 0", "t-SNE")} <= set(views)
    for view in data["views"]:
        assert len(view["xy"]) == n
        assert all(0 <= x <= data["width"] and 0 <= y <= data["height"] for x, y in view["xy"])
    assert data["tile"] == 16


def test_assets_are_a_png_and_a_csv_of_every_figure(page: Path) -> None:
    folder = page.parent / "report_assets"
    assert {f.stem for f in folder.glob("*.png")} == FIGURES
    assert {f.stem for f in folder.glob("*.csv")} == FIGURES | {"transfer"}
    for file in folder.glob("*.png"):
        with Image.open(file) as image:
            assert min(image.size) > 150
    for file in folder.glob("*.csv"):
        with file.open(newline="") as content:
            head, *rows = csv.reader(content)
        assert rows
        assert all(len(row) == len(head) for row in rows)
    assert sorted(p.name for p in page.parent.iterdir()) == ["report.html", "report_assets"]
