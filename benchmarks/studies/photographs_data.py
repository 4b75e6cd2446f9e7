"""The archives that the study of photographs reads, made of folders of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from photographs_points import SIZE
from shared import refuse
from torch import Tensor

from metatc2.augment import color
from metatc2.data import load

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
    result = images.float() / 255
    one = torch.ones(len(images))
    turns = quarter.float() / 4
    return (color.jitter(result, one, one, one, (turns + 0.5) % 1 - 0.5).clamp(0, 1) * 255).round().byte()


def _capped(labels: Tensor, classes: Sequence[int]) -> Tensor:
    return torch.cat([(labels == c).nonzero().flatten()[:MOST_A_CLASS] for c in classes])


def _of(labels: Tensor, domains: Tensor, label: int, domain: int) -> Tensor:
    return ((labels == label) & (domains == domain)).nonzero().flatten()
