"""`metatc2 doctor`: what is installed here, on what it can run, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import asdict
from typing import Annotated, Any

from metatc2 import __version__
from metatc2.cli._args import option
from metatc2.cli._installation import PURPOSES, Package, packages
from metatc2.cli._json_file import json_target, write_json
from metatc2.errors import InputError
from metatc2.io.terminal import Group, PlainTable, bold, show_table


def doctor(*, json: Annotated[str | None, option("FILE")] = None) -> None:
    """Say what is installed, on which devices it can run, and what is missing, with the command that installs it.

    The exit status is 0 where everything that metatc2 needs is there and can be imported, and 2 where not; optional packages
    do not count.

    For example:
        metatc2 doctor
        metatc2 doctor --json doctor.json

    Args:
        json: Write it to a file too.
    """
    target = json_target(json)
    known = packages()
    here, devices = _here(), _devices()
    show_table(Group(_facts({**here, **devices}), _table("needed", known), _table("optional", known)))
    content = {**here, **devices, "packages": [asdict(package) for package in known]}
    write_json(target, content)
    wrong = [package for package in known if package.problem and not package.extra]
    if wrong:
        said = "; ".join(f"{package.name} {package.problem}: {package.install}" for package in wrong)
        raise InputError(f"metatc2 cannot work here: {said}")


def _here() -> dict[str, Any]:
    free = shutil.disk_usage(os.getcwd()).free
    return {
        "metatc2": __version__,
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "free disk space": f"{free / 2**30:.1f} GiB in {os.getcwd()}",
    }


def _devices() -> dict[str, Any]:
    """Where encoders can run; what is said of torch itself stands among the packages."""
    cpus = f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"
    try:
        import torch
    except Exception:  # whatever a broken installation raises
        return {"CPU": cpus}
    devices = {"CPU": f"{cpus}, {torch.get_num_threads()} threads of torch"}
    for i in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(i)
        devices[f"GPU {i}"] = f"{device.name}, {device.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        devices["GPU"] = "Apple (mps)"
    if len(devices) == 1:
        built = "torch is built without CUDA" if torch.version.cuda is None else "torch finds none"
        devices["GPU"] = f"none: {built}"
    return devices


def _facts(facts: dict[str, Any]) -> PlainTable:
    table = PlainTable(heading=False)
    for name, value in facts.items():
        table.add_row(bold(name), str(value))
    return table


def _table(kind: str, known: list[Package]) -> PlainTable:
    optional = kind == "optional"
    table = PlainTable()
    for heading in (kind, "version", "at least", *(["for"] if optional else []), ""):
        table.add_column(heading)
    for package in known:
        if bool(package.extra) == optional:
            purpose = [PURPOSES.get(package.extra, package.extra)] if optional else []
            said = "" if optional and not package.installed else package.problem
            how = f"{said}: {package.install}" if said else package.install
            table.add_row(package.name, package.installed or "–", package.least, *purpose, how)
    return table
