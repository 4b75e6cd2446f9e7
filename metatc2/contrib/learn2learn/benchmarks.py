"""learn2learn's benchmarks as samplers of episodes."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import torch

from metatc2.contrib.learn2learn._rng import GlobalRandomState
from metatc2.contrib.learn2learn.missing_files import FILES, missing_files
from metatc2.contrib.learn2learn.package import require_learn2learn
from metatc2.contrib.learn2learn.taskset_sampler import TasksetSampler
from metatc2.errors import InputError, nearest

Augmentation = Literal["normalize", "lee2019"]
BENCHMARKS: tuple[str, ...] = tuple(FILES)
SPLITS = ("train", "validation", "test")
_AUGMENTED = ("mini-imagenet", "tiered-imagenet")

# What reading a truncated archive or pickle may raise, depending on where it was cut.
_DAMAGED = (
    *(OSError, RuntimeError, ValueError, LookupError, EOFError, AttributeError, ImportError),
    *(pickle.UnpicklingError, struct.error),
)


def benchmark_tasksets(
    name: str,
    *,
    way: int,
    shot: int,
    query: int,
    tasks: int = 4,
    root: Path | str = "~/data",
    download: bool = False,
    seed: int = 0,
    num_tasks: int = -1,
    data_augmentation: Augmentation | None = None,
    device: torch.device | str | None = None,
) -> tuple[TasksetSampler, TasksetSampler, TasksetSampler]:
    """The train, validation and test tasks of ``learn2learn.vision.benchmarks.get_tasksets`` as samplers.

    Values are what learn2learn delivers:

    ==================  =====================  ==================================================================
    benchmark           image                  values
    ==================  =====================  ==================================================================
    ``omniglot``        ``(1, 28, 28)``        [0, 1], strokes are 1
    ``mini-imagenet``   ``(3, 84, 84)``        **[0, 255]**; [0, 1] with ``data_augmentation="normalize"``
    ``tiered-imagenet`` ``(3, 84, 84)``        [0, 1]
    ``cifarfs``         ``(3, 32, 32)``        [0, 1]
    ``fc100``           ``(3, 32, 32)``        [0, 1]
    ==================  =====================  ==================================================================

    Three faults of learn2learn 0.2.0 to know of. Its omniglot draws the tasks of *all three* splits from all 1623 classes,
    so that test classes are trained on; here each split draws from its own classes, those that learn2learn assigned to it. Its
    random rotation of omniglot's classes turns all classes of a task alike; that is left as it is. And on mini-imagenet
    ``"lee2019"`` treats values up to 255 as if they ended at 1, so it is refused here.

    Omniglot's classes are assigned to the splits at random, by `seed`; they are numbered in the order in which the file system
    lists their folders, so other machines may assign other classes. learn2learn writes a small file of bookkeeping beside the
    data, and unpickles what it reads there: give it only files that you trust.

    Args:
        name: one of `BENCHMARKS`.
        way: classes a task.
        shot: support samples a class.
        query: queries a class.
        tasks: in an episode.
        root: folder of the data.
        download: let learn2learn fetch what is missing; without it nothing touches the network.
        seed: of the tasks, and of omniglot's splits.
        num_tasks: size of a fixed set of tasks; −1 draws new ones without end.
        data_augmentation: of mini- and tiered-imagenet, as learn2learn names them.
        device: where to hold all images as tensors (not omniglot); by default they are read anew for every task.

    Raises:
        InputError: if the name is unknown, files are missing or cannot be read, or a split has too few classes or samples.
        MissingPackage: if learn2learn is not installed.
    """
    if name not in FILES:
        raise InputError(f"unknown learn2learn benchmark {name!r}; {nearest(name, FILES)}")
    if data_augmentation is not None and name not in _AUGMENTED:
        raise InputError(f"{name}: data_augmentation is of {' and '.join(_AUGMENTED)} only; leave it out")
    if data_augmentation is not None and data_augmentation not in get_args(Augmentation):
        raise InputError(
            f"{name}: unknown data_augmentation {data_augmentation!r}; {nearest(data_augmentation, get_args(Augmentation))}"
        )
    if (name, data_augmentation) == ("mini-imagenet", "lee2019"):
        raise InputError(
            "mini-imagenet: data_augmentation='lee2019' is wrong in learn2learn, where bright pixels wrap around to dark "
            "ones; use 'normalize'"
        )
    folder = Path(os.path.expanduser(root))
    if not download and (lacking := missing_files(name, folder)):
        raise InputError(
            f"{name}: {folder} lacks {', '.join(lacking)}; set download=True to let learn2learn fetch them, or root to "
            "the folder that holds them"
        )
    l2l, samples = require_learn2learn(), shot + query
    options: dict[str, Any] = {"data_augmentation": data_augmentation} if name in _AUGMENTED else {}
    try:
        with GlobalRandomState(seed).installed():
            sets = l2l.vision.benchmarks.get_tasksets(
                name,
                train_ways=way,
                train_samples=samples,
                test_ways=way,
                test_samples=samples,
                num_tasks=num_tasks,
                root=str(folder),
                device=device,
                **options,
            )
    except _DAMAGED as error:
        raise InputError(
            f"{name}: learn2learn cannot read its files in {folder} ({type(error).__name__}: {error}); delete what is damaged "
            "there, its bookkeeping files too, and fetch it again"
        ) from error
    samplers = []
    for i, (split, taskset) in enumerate(zip(SPLITS, sets, strict=True)):
        _check(f"{name} ({split})", taskset, way, samples)
        own = _omniglot(l2l, taskset, way, samples) if name == "omniglot" else taskset
        own_seed = len(SPLITS) * seed + i
        sampler = TasksetSampler(
            own, shot=shot, query=query, tasks=tasks, way=way, seed=own_seed, name=f"{name} ({split})"
        )
        samplers.append(sampler)
    return samplers[0], samplers[1], samplers[2]


def _check(name: str, taskset: Any, way: int, samples: int) -> None:
    rows_of = taskset.dataset.labels_to_indices
    smallest = min((len(rows) for rows in rows_of.values()), default=0)
    if len(rows_of) < way or smallest < samples:
        raise InputError(
            f"{name}: tasks of {way} classes with {samples} samples (shot + query) cannot be drawn from {len(rows_of)} classes "
            f"of {smallest} samples or more; lower way, shot or query"
        )


def _omniglot(l2l: ModuleType, taskset: Any, way: int, samples: int) -> Any:
    """learn2learn's own transforms, bound to the classes of the split and not to all."""
    classes, transforms = taskset.dataset, l2l.data.transforms
    return l2l.data.Taskset(
        classes,
        [
            transforms.FusedNWaysKShots(classes, n=way, k=samples),
            transforms.LoadData(classes),
            transforms.RemapLabels(classes),
            transforms.ConsecutiveLabels(classes),
            l2l.vision.transforms.RandomClassRotation(classes, [0.0, 90.0, 180.0, 270.0]),
        ],
        num_tasks=taskset.num_tasks,
    )
