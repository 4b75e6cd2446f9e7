"""Hostile inputs by the million: each is read, or refused in one sentence; none crashes, hangs, writes outside or runs code.

    python benchmarks/fuzz.py --json benchmarks/results/fuzz.json --crashes build/crashes

Inputs are valid contents whose bytes were changed in a few places by a generator, and values, texts and names that Hypothesis
draws ("odd", "name", "words"). Batch n of a kind has a seed of its own, so the script goes on where its results end, and
a batch can be drawn again. Parsers are called in this process; an input counts as

* read, or refused: an `InputError` of one line,
* a crash: any other exception; it is written to --crashes, with where it was raised,
* a hang: more than 10 s of processor time, or 120 s in all.

Python's audit events tell of files that are written outside of the folder of the kind, of programs that are started, and of
classes that pickle looks up. Shares are by cost: most inputs go to parsers that take thousands a second.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import logging
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from common import positive, write, write_or_print
from hostile import KINDS, Kind
from hostile.kind import Prepared, Reader, ending, limit_process
from hostile.watch import Watch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.strategies import SearchStrategy

BATCH = 1000
COUNTED = ("read", "refused", "crash", "hang")
Row = dict[str, Any]


class Folder:
    """The place of a kind, made when it is first needed.

    Args:
        kind: whose.
        path: its folder.
        watch: sees what is done meanwhile.
        crashes: where inputs that were not read or refused are kept; None keeps none.
    """

    def __init__(self, kind: Kind, path: Path, watch: Watch, crashes: Path | None) -> None:
        self.kind, self.path, self.watch, self.crashes = kind, path, watch, crashes
        self._ready: Prepared | None = None

    def batch(self, number: int, inputs: int) -> Counter[str]:
        """Read a batch of inputs; how many ended how."""
        if self._ready is None:
            self.path.mkdir()
            self._ready = self.kind.prepare(self.path)
        drawn, read = self._ready
        result: Counter[str] = Counter()
        start = int.from_bytes(hashlib.sha256(f"{self.kind.name} {number}".encode()).digest()[:8], "big")
        if not isinstance(drawn, SearchStrategy):
            rng = Random(start)
            for _ in range(inputs):
                self._each(drawn(rng), read, result)
            return result

        @seed(start)
        @settings(
            max_examples=inputs,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(drawn)
        def each(value: Any) -> None:
            self._each(value, read, result)

        each()
        return result

    def _each(self, value: Any, read: Reader, result: Counter[str]) -> None:
        before, self.watch.on = (len(self.watch.outside), len(self.watch.ran)), True
        end = ending(read, value)
        self.watch.on = False
        result["inputs"] += 1
        result[end.how] += 1
        told = [*self.watch.outside[before[0] :], *self.watch.ran[before[1] :]]
        if end.how in ("crash", "hang") or told:
            self._keep(value, " ".join([end.how, end.where, *told[:1]]))

    def _keep(self, value: Any, why: str) -> None:
        print(f"{self.kind.name}: {why}", file=sys.stderr, flush=True)
        if self.crashes is not None:
            self.crashes.mkdir(parents=True, exist_ok=True)
            text = base64.b64encode(value).decode() if isinstance(value, bytes) else repr(value)
            named = hashlib.sha256(text.encode()).hexdigest()[:12]
            content = {"kind": self.kind.name, "why": why, "value": text}
            (self.crashes / f"{named}.json").write_text(json.dumps(content))


def fuzz(
    kinds: Sequence[Kind], inputs: int, rows: list[Row], json_file: Path | None, crashes: Path | None
) -> list[Row]:
    """Go on from `rows` until every kind has its share of `inputs`, writing as it goes."""
    known = {row["kind"]: row for row in rows}
    whole = sum(kind.share for kind in kinds)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        set_hypothesis_home_dir(place)
        watch = Watch(Path(place))
        folders = {kind.name: Folder(kind, Path(place) / f"kind-{i}", watch, crashes) for i, kind in enumerate(kinds)}
        while open_kinds := [kind for kind in kinds if _done(known, kind) < _asked(kind, inputs, whole)]:
            for kind in open_kinds:
                row = known.setdefault(kind.name, _new(kind))
                began, before = time.process_time(), (len(watch.outside), len(watch.ran))
                result = folders[kind.name].batch(
                    row["batches"], min(BATCH, _asked(kind, inputs, whole) - row["inputs"])
                )
                row["batches"] += 1
                row["inputs"] += result["inputs"]
                for name in COUNTED:
                    row[name] += result[name]
                row["written outside"] += len(watch.outside) - before[0]
                row["ran code"] += len(watch.ran) - before[1]
                row["cpu_seconds"] = round(row["cpu_seconds"] + time.process_time() - began, 1)
            if json_file is not None:
                write(json_file, list(known.values()))
    return [known[kind.name] for kind in kinds if kind.name in known]


def _done(known: dict[str, Row], kind: Kind) -> int:
    return int(known[kind.name]["inputs"]) if kind.name in known else 0


def _asked(kind: Kind, inputs: int, whole: int) -> int:
    return -(-inputs * kind.share // whole)


def _new(kind: Kind) -> Row:
    zero = dict.fromkeys(("inputs", *COUNTED, "written outside", "ran code", "batches"), 0)
    return {"kind": kind.name, "what": kind.what, **zero, "cpu_seconds": 0.0}


def main() -> None:
    """Read what is asked for; exit status 1 if an input crashed, hung, wrote outside or ran code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [kind.name for kind in KINDS]
    parser.add_argument("--inputs", type=positive, default=1_000_000, help="in all; %(default)s by default")
    parser.add_argument("--only", nargs="+", choices=names, help="these kinds")
    parser.add_argument("--json", type=Path, help="where to write the counts; what is there is gone on from")
    parser.add_argument("--crashes", type=Path, help="folder for inputs that crash or hang")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    limit_process()
    rows: list[Row] = []
    if arguments.json and arguments.json.exists():
        rows = json.loads(arguments.json.read_text())["rows"]
    kinds = [kind for kind in KINDS if arguments.only is None or kind.name in arguments.only]
    made = fuzz(kinds, arguments.inputs, rows, arguments.json, arguments.crashes)
    if arguments.json is None:
        write_or_print(None, made)
    bad = sum(row[name] for row in made for name in ("crash", "hang", "written outside", "ran code"))
    print(f"{sum(row['inputs'] for row in made)} inputs, {bad} that were neither read nor refused", file=sys.stderr)
    sys.exit(int(bad > 0))


if __name__ == "__main__":
    main()
