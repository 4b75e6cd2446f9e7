"""Photographs: what calibrating tasks is worth where no factor is known. CIFAR-10 to learn from, others to transfer to.

python benchmarks/photographs.py --data FOLDER --part search          # the plain recipe, on held-out training images
python benchmarks/photographs.py --data FOLDER --part main --seeds 3  # tasks that differ by nothing and by views; resumes
python benchmarks/photographs.py --collect --figure benchmarks/results/photographs.png

FOLDER holds ``cifar10/{train,test}/CLASS``, ``caltech101/CLASS`` and ``pacs/DOMAIN/CLASS``, unpacked. Figures are of JPEG at
32 px. Pre-training sees no label; classes that CIFAR-10 has are left out of Caltech-101 and PACS, and rows of CIFAR-10 itself
are marked as seen. Three further targets need what common views throw away: how far an image was turned, how its hue was
shifted, and in which of PACS' four styles it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from cells import (
    Cell,
    identity,
    in_parallel,
    keep,
    kept,
    missing,
    paired,
    quiet,
    read_controls,
    restore,
    rounded,
    study_parser,
    trained_run,
)
from common import refuse, write
from evidence import signed
from matplotlib import pyplot as plt
from torch import Tensor, nn

from metatc2.augment import color
from metatc2.data import load
from metatc2.diagnostics import probe_factors
from metatc2.experiment.build import build_fresh_encoder
from metatc2.training import TrainingDiverged
from metatc2.transfer import extract, few_shot, knn, sample_episodes
from metatc2.transfer.domain_episodes import leave_one_domain_out_few_shot

matplotlib.use("Agg")
RESULTS = Path(__file__).resolve().parent / "results" / "photographs.json"
SIZE = 32
STEPS = 500
LONGER = 6250  # 20 epochs
WIDTHS = {"conv4": 32, "resnet18": 16}
# Classes that CIFAR-10 has too, or nearly.
SEEN_IN_CALTECH = frozenset(
    {
        "airplanes",
        "car_side",
        "cougar_body",
        "cougar_face",
        "dalmatian",
        "emu",
        "ferry",
        "flamingo",
        "flamingo_head",
        "ibis",
        "ketch",
        "Leopards",
        "pigeon",
        "rooster",
        "schooner",
        "wild_cat",
    }
)
NEW_IN_PACS = ("elephant", "giraffe", "guitar", "house", "person")
MOST_A_CLASS = 40

#: Target, protocol, and what it is for.
TARGETS: dict[str, tuple[str, str]] = {
    "cifar10": ("knn", "its own classes, 20 neighbors"),
    "caltech101": ("few-shot", "85 other classes, 5-way 5-shot"),
    "pacs": ("few-shot", "5 other classes in 4 styles, 5-way 5-shot"),
    "unseen style": ("few-shot", "the same classes, labels from three styles and queries from the fourth"),
    "rotation": ("probe", "turned by 0, 90, 180 or 270 degrees"),
    "hue": ("probe", "hue shifted by 0, 1/4, 1/2 or 3/4 turn"),
    "style": ("probe", "photo, art, cartoon or sketch"),
}
USUAL = ("cifar10", "caltech101", "pacs", "unseen style")
THROWN_AWAY = ("rotation", "hue", "style")


@dataclass(frozen=True)
class Arm:
    """What is compared.

    Args:
        settings: keys that make it.
        tasks: how tasks differ: ``"nothing"`` or ``"views"``.
        told: whether it is given what each task is.
    """

    settings: tuple[str, ...]
    tasks: str = "nothing"
    told: bool = False


ISOTROPY = "regularizer.name=isotropy"
#: Searched on held-out training images beside the weight that is the regularizers' own, 0.03.
WEIGHTS = ("0.1", "0.3", "1")
CALIBRATED = ("calibration.name=tc2", "calibration.weights=linear")
ARMS: dict[str, Arm] = {
    "plain": Arm(("calibration.name=none",)),
    "plain + isotropy": Arm(("calibration.name=none", ISOTROPY)),
    "plain + SIGReg": Arm(("calibration.name=none", "regularizer.name=sigreg")),
    "plain + VISReg": Arm(("calibration.name=none", "regularizer.name=visreg")),
    **{
        f"plain + {name}, weight {weight}": Arm(
            ("calibration.name=none", f"regularizer.name={key}", f"regularizer.weight={weight}")
        )
        for name, key in (("isotropy", "isotropy"), ("SIGReg", "sigreg"), ("VISReg", "visreg"))
        for weight in WEIGHTS
    },
    "tasks": Arm(("calibration.name=tasks",)),
    "tasks + isotropy": Arm(("calibration.name=tasks", ISOTROPY)),
    "TC²": Arm(CALIBRATED),
    "TC² + isotropy": Arm((*CALIBRATED, ISOTROPY)),
    "views: plain": Arm(("calibration.name=none",), "views"),
    "views: tasks": Arm(("calibration.name=tasks",), "views"),
    "views: tasks + isotropy": Arm(("calibration.name=tasks", ISOTROPY), "views"),
    "views: TC²": Arm(CALIBRATED, "views"),
    "views: TC² + isotropy": Arm((*CALIBRATED, ISOTROPY), "views"),
    "views: told the recipe (FiLM)": Arm(("calibration.name=tasks", "head.told=film-conditions"), "views", told=True),
}
#: Where training is dearer: the plain recipe, the strongest one beside it, and TC² in both kinds of tasks.
SHORT = ("plain", "plain + isotropy", "TC² + isotropy", "views: tasks + isotropy", "views: TC² + isotropy")
PARTS = ("controls", "search", "weights", "main", "objectives", "resnet", "longer")
SEARCH = tuple((lr, temperature) for lr in ("0.002", "0.004") for temperature in ("0.2", "0.5"))
OBJECTIVES = {"simclr": (), "byol": ("objective.momentum=0.95",), "barlow": ()}


#: What names a point in a row.
AT = ("objective", "arm", "seed", "lr", "temperature", "encoder", "steps")


@dataclass(frozen=True)
class Point:
    """Where in the study a cell stands."""

    objective: str
    arm: str
    seed: int
    lr: str = "0.002"
    temperature: str = "0.2"
    encoder: str = "conv4"
    steps: int = STEPS

    def cell(self, folder: Path, data: Path) -> Cell:
        """Its run."""
        words = [self.objective, self.arm, f"lr{self.lr}", f"t{self.temperature}", f"s{self.seed}"]
        if (self.encoder, self.steps) != ("conv4", STEPS):
            words[2:2] = [self.encoder, str(self.steps)]
        name = "-".join(words)
        for old, new in ((" ", "-"), (":", ""), ("²", "2"), ("+", "and"), ("(", ""), (")", ""), (",", "")):
            name = name.replace(old, new)
        arm = ARMS[self.arm]
        options = (f"objective.temperature={self.temperature}",) if self.objective == "simclr" else ()
        settings = (
            f"data.source=npz:{data / 'learn.npz'}",
            "data.split=train",
            f"data.image_size={SIZE}",
            f"encoder.name={self.encoder}",
            f"encoder.width={WIDTHS[self.encoder]}",
            "episode.batch=128",
            "episode.tasks=4",
            f"episode.tasks_differ_by={arm.tasks}",
            f"trainer.steps={self.steps}",
            "trainer.optimizer=adamw",
            "trainer.weight_decay=1e-4",
            "trainer.checkpoint_every=250",
            f"objective.name={self.objective}",
            *options,
            *OBJECTIVES[self.objective],
            f"trainer.lr={self.lr}",
            f"trainer.seed={self.seed}",
            *arm.settings,
        )
        return Cell(folder / name, "cifar10", settings, ())


@dataclass(frozen=True)
class Sizes:
    """Images of CIFAR-10 for each purpose.

    Args:
        held_fit, held_asked: training images that choose the recipe and are not learned from.
        bank, asked: labeled training images, and test images that are classified by them.
        probe_fit, probe_asked: other test images, for what views throw away.
    """

    held_fit: int = 7_000
    held_asked: int = 3_000
    bank: int = 10_000
    asked: int = 5_000
    probe_fit: int = 2_000
    probe_asked: int = 1_000


def prepare(data: Path, made: Path, sizes: Sizes = Sizes()) -> None:
    """The archives that the study reads, from the folders of images; what is there stays."""
    made.mkdir(parents=True, exist_ok=True)
    if not (made / "style.npz").exists():
        if not (data / "cifar10").is_dir():
            refuse(f"{data} has no folder cifar10; give the folder that the three sets were unpacked into with --data")
        cifar = load(f"folder:{data / 'cifar10'}", image_size=SIZE)
        train, test = cifar.rows("train"), cifar.rows("test")
        mixed = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(0))]
        held, learned = mixed[: sizes.held_fit + sizes.held_asked], mixed[sizes.held_fit + sizes.held_asked :]
        _save(made / "learn.npz", cifar.images[learned], cifar.labels[learned], "train")
        words = ["train"] * sizes.held_fit + ["test"] * sizes.held_asked
        _save(made / "held-out.npz", cifar.images[held], cifar.labels[held], words)
        few = test[torch.randperm(len(test), generator=torch.Generator().manual_seed(1))]
        both = torch.cat([learned[: sizes.bank], few[: sizes.asked]])
        words = ["train"] * sizes.bank + ["test"] * sizes.asked
        _save(made / "cifar10.npz", cifar.images[both], cifar.labels[both], words)
        probed = few[sizes.asked : sizes.asked + sizes.probe_fit + sizes.probe_asked]
        split = ["train"] * sizes.probe_fit + ["test"] * sizes.probe_asked
        quarter = torch.arange(len(probed)) % 4
        turned = torch.stack(
            [image.rot90(int(k), (1, 2)) for image, k in zip(cifar.images[probed], quarter, strict=True)]
        )
        _save(made / "rotation.npz", turned, quarter, split)
        _save(made / "hue.npz", _shifted(cifar.images[probed], quarter), quarter, split)
        caltech = load(f"folder:{data / 'caltech101'}", image_size=SIZE)
        new = [i for i, name in enumerate(caltech.class_names) if name not in SEEN_IN_CALTECH]
        rows = _capped(caltech.labels, new)
        _save(made / "caltech101.npz", caltech.images[rows], caltech.labels[rows], "test")
        pacs = load(f"domains:{data / 'pacs'}", image_size=SIZE)
        new = [pacs.class_names.index(name) for name in NEW_IN_PACS]
        rows = torch.cat([r for c in new for d in range(4) for r in [_of(pacs.labels, pacs.domains, c, d)[:100]]])
        _save(made / "pacs.npz", pacs.images[rows], pacs.labels[rows], "test")
        np.save(made / "pacs-styles.npy", pacs.domains[rows].numpy())
        order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(2))]
        cut = round(2 / 3 * len(order))
        words = ["train"] * cut + ["test"] * (len(order) - cut)
        _save(made / "style.npz", pacs.images[order], pacs.domains[order], words)


def _save(file: Path, images: Tensor, labels: Tensor, split: str | Sequence[str]) -> None:
    words = [split] * len(images) if isinstance(split, str) else list(split)
    aside = file.with_name(f"aside-{file.name}")
    np.savez(aside, images=images.numpy(), labels=labels.numpy(), split=np.array(words))
    aside.replace(file)


def _shifted(images: Tensor, quarter: Tensor) -> Tensor:
    found = images.float() / 255
    one = torch.ones(len(images))
    turns = quarter.float() / 4
    return (color.jitter(found, one, one, one, (turns + 0.5) % 1 - 0.5).clamp(0, 1) * 255).round().byte()


def _capped(labels: Tensor, classes: Sequence[int]) -> Tensor:
    return torch.cat([(labels == c).nonzero().flatten()[:MOST_A_CLASS] for c in classes])


def _of(labels: Tensor, domains: Tensor, label: int, domain: int) -> Tensor:
    return ((labels == label) & (domains == domain)).nonzero().flatten()


def measure(cell: Cell, path: Path) -> str:
    """Train a cell and transfer it; its row to `path`."""
    quiet()
    try:
        run = trained_run(cell)
    except TrainingDiverged as error:
        keep(cell, path, {"diverged": True})
        return f"diverged: {error}"
    data = Path(cell.config.data.source.removeprefix("npz:")).parent
    accuracy = transferred(run.encoder, data)
    keep(cell, path, {"seconds": run.seconds, "accuracy": accuracy})
    shown = ", ".join(f"{name} {100 * value:.1f}" for name, value in accuracy.items())
    return f"{run.seconds:.0f} s; {shown}"


def transferred(encoder: nn.Module, data: Path) -> dict[str, float]:
    """Accuracy on every target, of frozen features.

    Args:
        encoder: images ``(N, 3, 32, 32)`` in [0, 1] to ``(N, d)``.
        data: folder of the archives.
    """
    found = {}
    for target, (protocol, _) in {**TARGETS, "held-out": ("knn", "")}.items():
        store = load(f"npz:{data / ('pacs' if target == 'unseen style' else target)}.npz")
        features = extract(encoder, store.images)
        if target == "unseen style":
            styles = torch.from_numpy(np.load(data / "pacs-styles.npy"))
            found[target] = leave_one_domain_out_few_shot(features, store.labels, styles, way=5, shot=5, seed=0).mean
            continue
        if protocol == "few-shot":
            drawn = sample_episodes(
                store.labels, way=5, shot=5, query=15, episodes=600, generator=torch.Generator().manual_seed(0)
            )
            found[target] = float(few_shot(features, drawn, "cosine").mean())
            continue
        train, test = store.rows("train"), store.rows("test")
        if protocol == "knn":
            answers = knn(features[train], store.labels[train], features[test], store.labels[test], k=20)
            found[target] = float(answers.double().mean())
            continue
        probes = probe_factors(
            features[train],
            store.labels[train, None].double(),
            features[test],
            store.labels[test, None].double(),
            (target,),
            ("categorical",),
            generator=torch.Generator().manual_seed(0),
        )
        found[target] = probes.mean
    return found


def untrained(folder: Path, data: Path, seeds: int) -> None:
    """The same of pixels and of encoders before any step; to ``controls.json``."""
    quiet()
    rows: list[dict[str, Any]] = [{"control": "raw pixels", "seed": 0, "accuracy": transferred(nn.Flatten(), data)}]
    for seed in range(seeds):
        encoder = build_fresh_encoder(Point("simclr", "plain", seed).cell(folder, data).config, 3, SIZE)
        rows.append({"control": "random encoder", "seed": seed, "accuracy": transferred(encoder, data)})
    (folder / "controls.json").write_text(json.dumps(rows))


def points(part: str, seeds: int, recipe: tuple[str, str], tuned: Sequence[str] = ()) -> list[Point]:
    """What a part of the study asks for, seed by seed; `tuned` are arms with the best weight of their regularizer."""
    if part == "controls":
        return []
    if part == "search":
        return [Point("simclr", "plain", 100, lr, temperature) for lr, temperature in SEARCH]
    if part == "weights":
        return [Point("simclr", arm, 100, *recipe) for arm in ARMS if arm.startswith("plain +")]
    every = range(seeds)
    if part == "resnet":
        return [Point("simclr", arm, seed, *recipe, encoder="resnet18") for seed in every for arm in SHORT]
    if part == "longer":
        return [Point("simclr", arm, seed, *recipe, steps=LONGER) for seed in every for arm in SHORT]
    objectives = ("simclr",) if part == "main" else tuple(name for name in OBJECTIVES if name != "simclr")
    factorial = tuple(arm for design in PAIRS.values() for pair in design for arm in pair)
    # Regularizers at the weight that is their own, and at the best of those that were searched.
    main = tuple(arm for arm in ARMS if ", weight " not in arm or arm in tuned)
    arms = main if part == "main" else factorial
    return [Point(o, arm, seed, *recipe) for seed in every for o in objectives for arm in arms]


def best(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Learning rate and temperature that were best for the plain objective on held-out training images."""
    own = [r for r in rows if r.get("seed") == 100 and r.get("arm") == "plain"]
    if not own:
        return SEARCH[0]
    chosen = max(own, key=lambda r: r["accuracy"]["held-out"])
    return chosen["lr"], chosen["temperature"]


def tuned_arms(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each regularizer at the weight that was best on held-out training images."""
    searched: dict[str, Mapping[str, Any]] = {}
    for r in rows:
        if r.get("seed") == 100 and str(r.get("arm")).startswith("plain +"):
            name = r["arm"].split(", weight")[0]
            if name not in searched or r["accuracy"]["held-out"] > searched[name]["accuracy"]["held-out"]:
                searched[name] = r
    return [r["arm"] for r in searched.values()]


def gather(folder: Path, data: Path) -> list[dict[str, Any]]:
    """Rows of all cells that are done."""
    every = points("search", 1, SEARCH[0])
    for recipe in SEARCH:
        every += [point for part in PARTS[2:] for point in points(part, 10, recipe, tuple(ARMS))]
    rows = []
    for point in every:
        found = kept(point.cell(folder, data))
        if found is not None:
            at = {key: getattr(point, key) for key in AT}
            rows.append({**at, "identity": identity(point.cell(folder, data).config), **rounded(found)})
    return rows + read_controls(folder)


#: Objective, encoder and steps of each design.
DESIGNS = {
    "SimCLR": ("simclr", "conv4", STEPS),
    "BYOL": ("byol", "conv4", STEPS),
    "Barlow Twins": ("barlow", "conv4", STEPS),
    "SimCLR, ResNet-18": ("simclr", "resnet18", STEPS),
    "SimCLR, 20 epochs": ("simclr", "conv4", LONGER),
}


def select(rows: Sequence[Mapping[str, Any]], arm: str, design: str = "SimCLR") -> dict[int, Mapping[str, Any]]:
    """Rows of an arm by seed; those of the search are left out."""
    return {
        r["seed"]: r
        for r in rows
        if r.get("arm") == arm
        and (r["objective"], r["encoder"], r["steps"]) == DESIGNS[design]
        and r["seed"] != 100
        and "accuracy" in r
    }


def score(row: Mapping[str, Any], targets: Sequence[str]) -> float:
    """Mean accuracy over targets."""
    return float(np.mean([row["accuracy"][target] for target in targets]))


GROUPS = {"usual": USUAL, "thrown away": THROWN_AWAY}
# The main effect of TC² is over both regularizers; each of them alone stands beside.
PAIRS = {
    "tasks that differ by nothing": (("TC²", "tasks"), ("TC² + isotropy", "tasks + isotropy")),
    "tasks that differ by views": (
        ("views: TC²", "views: tasks"),
        ("views: TC² + isotropy", "views: tasks + isotropy"),
    ),
}


def effects(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Effects of TC² in the 2 × 2 design and against the best plain recipe, over the seeds that both have."""
    found = []
    for design in DESIGNS:
        contrasts: dict[str, list[tuple[str, str]]] = {}
        for tasks, pairs in PAIRS.items():
            contrasts |= {f"{tasks}: {a} − {b}": [(a, b)] for a, b in pairs}
            contrasts[f"{tasks}: main effect of TC²"] = list(pairs)
            contrasts[f"{tasks}: main effect of isotropy"] = [
                (pairs[1][0], pairs[0][0]),
                (pairs[1][1], pairs[0][1]),
            ]
        contrasts |= {f"{a} − plain": [(a, "plain")] for a in ARMS if a != "plain"}
        contrasts |= {
            f"{a} − {b}": [(a, b)]
            for a in ("TC²", "TC² + isotropy", "views: TC²", "views: TC² + isotropy")
            for b in ("plain + isotropy", *tuned_arms(rows))
        }
        for name, pairs_of in contrasts.items():
            sides = [(select(rows, a, design), select(rows, b, design)) for a, b in pairs_of]
            seeds = sorted(set.intersection(*(set(side) for both in sides for side in both)))
            if not seeds:
                continue
            for group, targets in {**GROUPS, **{t: (t,) for t in TARGETS}}.items():
                values = [
                    float(np.mean([score(a[s], targets) - score(b[s], targets) for a, b in sides])) for s in seeds
                ]
                found.append({"contrast": name, "design": design, "targets": group, **paired(values, seeds)})
    return found


def table(rows: Sequence[Mapping[str, Any]], design: str = "SimCLR") -> str:
    """Each arm on each target."""
    lines = [
        f"| {design} | told | {' | '.join(TARGETS)} | usual | thrown away | seeds |",
        "|---|---|" + "---|" * (len(TARGETS) + 3),
    ]
    for arm in ARMS:
        own = list(select(rows, arm, design).values())
        if own:
            means = [f"{100 * np.mean([score(r, (t,)) for r in own]):.1f}" for t in TARGETS]
            groups = [f"{100 * np.mean([score(r, targets) for r in own]):.1f}" for targets in GROUPS.values()]
            told = "yes" if ARMS[arm].told else ""
            lines.append(f"| {arm} | {told} | {' | '.join([*means, *groups])} | {len(own)} |")
    for name in ("random encoder", "raw pixels"):
        own = [r for r in rows if r.get("control") == name]
        if own:
            means = [f"{100 * np.mean([score(r, (t,)) for r in own]):.1f}" for t in TARGETS]
            groups = [f"{100 * np.mean([score(r, targets) for r in own]):.1f}" for targets in GROUPS.values()]
            lines.append(f"| {name} | | {' | '.join([*means, *groups])} | {len(own)} |")
    return "\n".join(lines)


def weights_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The search of regularizers' weights, on held-out training images: 20 neighbors."""
    searched = [r for r in rows if r.get("seed") == 100 and "arm" in r]
    own = {r["arm"]: 100 * r["accuracy"]["held-out"] for r in searched}
    plain = max((100 * r["accuracy"]["held-out"] for r in searched if r["arm"] == "plain"), default=float("nan"))
    lines = [
        f"| held-out training images, one seed | without | 0.03 | {' | '.join(WEIGHTS)} |",
        "|---|---|---|" + "---|" * len(WEIGHTS),
    ]
    for name in ("isotropy", "SIGReg", "VISReg"):
        arms = (f"plain + {name}", *(f"plain + {name}, weight {weight}" for weight in WEIGHTS))
        cells = [f"{own[arm]:.1f}" if arm in own else "–" for arm in arms]
        lines.append(f"| {name} | {plain:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def effects_table(rows: Sequence[Mapping[str, Any]], design: str = "SimCLR") -> str:
    """Effects, in points, with their intervals."""
    own = [r for r in rows if r.get("design") == design and "contrast" in r]
    lines = [
        f"| {design} | usual | thrown away | {' | '.join(TARGETS)} | seeds |",
        "|---|" + "---|" * (len(TARGETS) + 3),
    ]
    for name in dict.fromkeys(r["contrast"] for r in own):
        by = {r["targets"]: r for r in own if r["contrast"] == name}
        cells = " | ".join(signed(by[t]) for t in (*GROUPS, *TARGETS))
        lines.append(f"| {name} | {cells} | {len(by['usual']['seeds'])} |")
    return "\n".join(lines)


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Usual targets against those that need what views throw away, one mark an arm."""
    figure, panel = plt.subplots(figsize=(6.4, 4.8), constrained_layout=True)
    for arm in ARMS:
        own = list(select(rows, arm).values())
        if not own:
            continue
        x, y = ([100 * score(r, targets) for r in own] for targets in (USUAL, THROWN_AWAY))
        color_ = "#c1272d" if "TC²" in arm else "#3477b5" if ARMS[arm].told else "#707070"
        panel.errorbar(
            np.mean(x),
            np.mean(y),
            np.std(y),
            np.std(x),
            "s" if ARMS[arm].tasks == "views" else "o",
            color=color_,
            markersize=5,
        )
        panel.annotate(arm, (np.mean(x), np.mean(y)), fontsize=7, xytext=(4, 3), textcoords="offset points")
    panel.set_xlabel("usual targets, mean accuracy, %")
    panel.set_ylabel("targets that need what views throw away, %")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Make the cells that are asked for, gather all that are done, draw."""
    parser = study_parser(__doc__, runs="runs/photographs", results=RESULTS, seeds=3)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of cifar10, caltech101 and pacs")
    parser.add_argument("--part", choices=PARTS, default="main")
    parser.add_argument("--figure", type=Path, help="PNG file")
    given = parser.parse_args()
    made = (given.runs / "archives").resolve()
    restore(
        given.json, lambda r: Point(*(r[key] for key in AT)).cell(given.runs, made) if r.get("arm") in ARMS else None
    )
    if not given.collect:
        prepare(given.data, made)
        if given.part == "controls":
            untrained(given.runs, made, given.seeds)
        found = gather(given.runs, made)
        asked = [
            point.cell(given.runs, made) for point in points(given.part, given.seeds, best(found), tuned_arms(found))
        ]
        in_parallel(measure, missing(asked), workers=given.workers)
    rows = gather(given.runs, made)
    write(given.json, [*rows, *effects(rows)])
    if given.figure:
        draw(rows, given.figure)


if __name__ == "__main__":
    main()
