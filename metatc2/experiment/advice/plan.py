"""What was asked for and derived, kept in the folder of the advice so that a later call does the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from metatc2.errors import InputError, nearest
from metatc2.experiment.advice.budget import Budget
from metatc2.experiment.advice.settings import Asked
from metatc2.io.files import is_leftover, write_atomically, writing
from metatc2.io.reading import read_json
from metatc2.io.run_files import LOCK
from metatc2.io.writing import json_text

PLAN = "plan.json"
CELLS, TIMED = "measured", "timed"


@dataclass(frozen=True)
class Plan:
    """A plan.

    Args:
        asked: as `Asked.to_json` gives it.
        data: checksum of the images, labels and parts.
        encoders: checksum of each further encoder, by name.
        budget: steps of every arm.
    """

    asked: Mapping[str, Any]
    data: str
    encoders: Mapping[str, str]
    budget: Budget

    def without(self, encoders: Sequence[str]) -> Plan:
        """The plan with some further encoders left out."""
        return replace(self, encoders={name: one for name, one in self.encoders.items() if name not in encoders})

    def write(self, folder: Path) -> None:
        """Keep it.

        Raises:
            InputError: if it cannot be written.
        """
        with writing(folder / PLAN):
            write_atomically(folder / PLAN, json_text(asdict(self)).encode())


def read_plan(folder: Path) -> Plan | None:
    """The plan of a folder; None where there is none yet.

    Raises:
        InputError: if there are other files, or the plan is damaged.
    """
    file = folder / PLAN
    if file.exists():
        held = read_json(file)
        try:
            return Plan(held["asked"], held["data"], held["encoders"], Budget(**held["budget"]))
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{file} is damaged: {error} is missing or wrong; name another folder with --folder"
            ) from error
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder with --folder")
    own = {LOCK, TIMED}
    others = [e.name for e in folder.iterdir() if e.name not in own and not is_leftover(e)] if folder.exists() else []
    if others:
        raise InputError(
            f"{folder} holds {sorted(others)[0]}, which is not of advice; name another folder with --folder"
        )
    return None


def joined(plan: Plan, asked: Asked, folder: Path, without: Sequence[str] = ()) -> Asked:
    """What is asked for together with what was: further encoders stand beside the arms that are there.

    Args:
        plan: of the folder.
        asked: this time.
        folder: of the advice, for errors.
        without: encoders of earlier calls that are left out from now on.

    Raises:
        InputError: if another option differs, since figures under different ones are not to be compared; or if an encoder to
            leave out is not there.
    """
    there = plan.asked["encoders"]
    for name in without:
        if name not in there:
            raise InputError(f"advise: --without: {folder} compares no encoder {name!r}; {nearest(name, there)}")
    now = asked.to_json()
    differ = [key for key in now if key != "encoders" and now[key] != plan.asked.get(key)]
    if differ:
        words = "; ".join(f"{key.replace('_', ' ')} {plan.asked.get(key)} and now {now[key]}" for key in differ)
        raise InputError(
            f"{folder} holds advice for other options ({words}); give those (further --encoder are measured beside what is "
            "there), or name another folder with --folder"
        )
    return replace(
        asked, encoders=tuple(dict.fromkeys((*(name for name in there if name not in without), *asked.encoders)))
    )


def require_same(plan: Plan, asked: Asked, data: str, encoders: Mapping[str, str], folder: Path) -> None:
    """Refuse to go on with other images, or with an encoder that has changed.

    Raises:
        InputError: if one has.
    """
    if plan.data != data:
        raise InputError(
            f"the images of {asked.source} have changed since {folder} was begun; name another folder with --folder"
        )
    changed = [name for name, sha256 in encoders.items() if plan.encoders.get(name, sha256) != sha256]
    if changed:
        raise InputError(
            f"{changed[0]} has changed since {folder} was begun; leave it out (--without {changed[0]}), after which it can be "
            "given anew, or name another folder with --folder"
        )
