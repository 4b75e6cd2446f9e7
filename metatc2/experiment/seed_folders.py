"""Runs of one method that differ in their seed: ``DIR-s0``, ``DIR-s1``, ..., which ``DIR`` stands for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from metatc2.errors import InputError
from metatc2.io.suggest import command


def seed_folder(base: Path, seed: int) -> Path:
    """Where the run of a seed goes.

    >>> seed_folder(Path("runs/tc2"), 1).as_posix()
    'runs/tc2-s1'
    """
    return base.with_name(f"{base.name}-s{seed}")


def run_folders(names: Sequence[str], seeds: Sequence[int] = ()) -> list[Path]:
    """The folders that names stand for: a name that is none itself stands for those of its seeds, in their order.

    Args:
        names: as they were typed.
        seeds: those to take of names that stand for several; by default all that are there.

    Raises:
        InputError: if a seed that was named is not there.

    >>> [path.as_posix() for path in run_folders(["no/such"])]
    ['no/such']
    """
    paths: list[Path] = []
    several = False
    for name in names:
        path = Path(name)
        there = {} if path.exists() or not path.name else _seeds_of(path)
        if missing := [seed for seed in seeds if there and seed not in there]:
            raise InputError(
                f"--seeds {missing[0]}: there is no {seed_folder(path, missing[0])}; of {path} there are the seeds "
                f"{', '.join(map(str, there))}"
            )
        several |= bool(there)
        paths += [there[seed] for seed in seeds or there] if there else [path]
    if seeds and not several:
        raise InputError(
            f"--seeds {seeds[0]}: {', '.join(map(str, paths))} stands for no runs of several seeds; leave --seeds out, or name "
            f"the folder without its seed, DIR for {seed_folder(Path('DIR'), seeds[0])}"
        )
    return paths


def named_runs(name: str, seeds: Sequence[int] = ()) -> list[str]:
    """As `run_folders`, of one name that may be no path, such as ``timm:resnet18``.

    >>> named_runs("timm:resnet18")
    ['timm:resnet18']
    """
    paths = run_folders([name], seeds)
    return [name] if paths == [Path(name)] else [str(path) for path in paths]


def require_one(name: str, before: Sequence[str], after: Sequence[str] = ()) -> None:
    """Refuse a name that stands for runs of several seeds where a command takes one run.

    Args:
        name: as it was typed.
        before: words of the command that stand before it.
        after: and behind it.

    Raises:
        InputError: with the command on the first of the seeds.

    >>> require_one("no/such", ["export"])
    """
    paths = run_folders([name])
    if paths != [Path(name)]:
        held = ", ".join(path.name for path in paths)
        raise InputError(
            f"{name} is no folder and stands for the runs of seeds ({held}), and {before[0]} takes one run: "
            f"{command(*before, paths[0], *after)}"
        )


def _seeds_of(base: Path) -> dict[int, Path]:
    try:
        beside = [path for path in base.parent.iterdir() if path.is_dir()]
    except OSError:  # whoever reads the folder says so
        return {}
    form = re.compile(rf"{re.escape(base.name)}-s(0|[1-9]\d{{0,18}})")
    numbered = {int(match[1]): path for path in beside if (match := form.fullmatch(path.name))}
    return dict(sorted(numbered.items()))
