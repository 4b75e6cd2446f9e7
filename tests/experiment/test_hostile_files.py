"""Files of a run that were changed: each is right, or one sentence; what a checksum covers is never believed when it is not."""

from __future__ import annotations

import copy
import json
import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from metatc2.errors import InputError
from metatc2.experiment import run as runs
from metatc2.experiment.config import Config
from metatc2.experiment.results_folder import read_identity
from metatc2.experiment.weights_header import Header
from metatc2.io.weights_file import encode_module
from metatc2.report.conflict_file import read_conflict
from metatc2.training import Trainer, TrainerOptions
from metatc2.training.checkpoint import load_checkpoint, save_checkpoint
from metatc2.training.metrics_file import read_metrics
from metatc2.training.run_folder import RunFolder
from metatc2.transfer import read_results, write_results

from ..transfer.test_results import row
from .test_cut_at_any_write import Numbers, Walk

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")

ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    2,
    2**31,
    2**63,
    10**400,
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "nan",
    "1" * 5000,
]
ODD += ["\udcff", "\x00", [], [1], ["a"], {}, {"a": 1}, [[[[]]]], {"tensor": "nowhere"}, {"list": 3}, {"dict": [1]}]


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*at, key))


def mutated(value: Any, chance: random.Random) -> Any:
    """The value with something in it replaced, removed, doubled or renamed."""
    changed = copy.deepcopy(value)
    *way, last = chance.choice(list(places(changed)))
    inside = changed
    for key in way:
        inside = inside[key]
    how = chance.randrange(4)
    if how == 0:
        del inside[last]
    elif how == 1 and isinstance(inside, dict):
        inside[str(chance.choice(ODD))[:20]] = inside.pop(last)
    elif how == 2 and isinstance(inside, list):
        inside.append(inside[last])
    else:
        inside[last] = copy.deepcopy(chance.choice(ODD))
    return changed


def encoded(value: Any) -> bytes:
    # Python refuses to write numbers of over 4 300 digits, and to nest as deep as a file can.
    return json.dumps(value).encode()


def spoiled(content: bytes, chance: random.Random) -> bytes:
    """The bytes cut, with a bit flipped, some in the middle gone, or something put in front."""
    at = chance.randrange(len(content))
    flipped = bytearray(content)
    flipped[at] ^= 1 << chance.randrange(8)
    deep = b"[" * 100_000 + b"]" * 100_000
    digits = b'{"step": ' + b"9" * 5000 + b"}"
    whole = [content[:at], bytes(flipped), content[:at] + content[at + 9 :], b"\xff\xfe" + content, b"", deep, digits]
    return chance.choice(whole)


def right_or_refused(read: Callable[[], Any], right: Callable[[Any], bool], what: str) -> None:
    try:
        found = read()
    except InputError as error:
        sentence = str(error)
    else:
        sentence = None
    if sentence is not None:
        assert "\n" not in sentence, what
        assert len(sentence) < 2000, what
        return
    assert right(found), what


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    Trainer(Walk(), Numbers(), TrainerOptions(steps=8, checkpoint_every=8), run=tmp_path).fit()
    return tmp_path / "checkpoint" / "step-00000008"


def test_no_change_of_a_checkpoint_is_believed(checkpoint: Path) -> None:
    chance = random.Random(0)
    file, tensors = checkpoint / "state.json", checkpoint / "state.safetensors"
    text, blob = file.read_bytes(), tensors.read_bytes()
    facts = json.loads(text)
    right = load_checkpoint(checkpoint)
    for i in range(150):
        file.write_bytes(encoded(mutated(facts, chance)) if i % 3 else spoiled(text, chance))
        right_or_refused(lambda: load_checkpoint(checkpoint), lambda found: repr(found) == repr(right), f"{i}")
    file.write_bytes(text)
    for i in range(60):
        tensors.write_bytes(spoiled(blob, chance))
        right_or_refused(lambda: load_checkpoint(checkpoint), lambda found: repr(found) == repr(right), f"{i}")
    tensors.write_bytes(blob)
    file.write_text(text.decode().replace('"step": 8', '"step": 2'))
    with pytest.raises(InputError, match=r"state\.json is not what was written"):
        load_checkpoint(checkpoint)


def test_checkpoints_without_a_checksum_of_their_facts_are_read_and_never_end_in_a_traceback(checkpoint: Path) -> None:
    """As older versions wrote them."""
    chance = random.Random(1)
    file = checkpoint / "state.json"
    facts = json.loads(file.read_bytes())
    del facts["facts_sha256"]
    file.write_bytes(encoded(facts))
    trainer = Trainer(Walk(), Numbers(), TrainerOptions(steps=8), run=checkpoint.parents[1])
    assert trainer.resume() == 8
    file.write_bytes(encoded({**facts, "step": 2}))
    with pytest.raises(InputError, match="says step 2"):
        load_checkpoint(checkpoint)
    for i in range(90):
        file.write_bytes(encoded(mutated(facts, chance)))
        right_or_refused(trainer.resume, lambda step: step == 8, f"{i}: {file.read_text()[:3000]}")


def test_states_that_would_not_come_back_are_refused_when_they_are_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="keys are texts, numbers and None"):
        save_checkpoint(tmp_path, 1, {"a": {(1, 2): 3}}, {})
    one, two = torch.zeros(1), torch.ones(1)
    state = {"a/b": one, "a": {"b": two}, "\udcff": one}
    found = load_checkpoint(save_checkpoint(tmp_path, 1, state, {}))[1]
    assert torch.equal(found["a/b"], one)
    assert torch.equal(found["a"]["b"], two)
    assert "\udcff" in found


def test_headers_of_weights_are_checked(config: Config, tmp_path: Path) -> None:
    chance = random.Random(2)
    path = tmp_path / "run"
    done = runs.pretrain(config, path)
    file = path / "encoder.safetensors"
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    facts, tensors = json.loads(content[8 : 8 + length])["__metadata__"], load(content)
    texts = ["nan", "1", "-1", "inf", "1e400", "9" * 5000, "", "[1]", "[" * 9999, '["a"', "{}", "\x00", "null", "1.5"]
    for i in range(60):
        odd = {**facts, chance.choice(list(facts)): chance.choice(texts)}
        if i % 2:
            odd.pop("sha256")  # as older versions wrote it: each fact must be of its kind
        file.write_bytes(save(tensors, odd))
        right_or_refused(
            partial(Header.of, odd, tensors, file),
            lambda header, odd=odd, i=i: bool(i % 2) or odd == facts,
            f"{i}: {odd}"[:900],
        )
    for key, text in (("steps", "nan"), ("class_names", "1"), ("seconds", "nan"), ("beside", "[]")):
        old = {name: value for name, value in facts.items() if name != "sha256"}
        file.write_bytes(save(tensors, {**old, key: text}))
        with pytest.raises(InputError, match="encoder.safetensors has a damaged header"):
            runs.load_run(path)
    # One weight.
    flipped = bytearray(content)
    flipped[-1] ^= 1
    file.write_bytes(flipped)
    with pytest.raises(InputError, match="encoder.safetensors is damaged"):
        runs.load_run(path)
    file.write_bytes(content)
    # A calibrator of another training, or none.
    other = path / "calibrator.safetensors"
    good = other.read_bytes()
    other.write_bytes(save({name: tensor + 1 for name, tensor in load(good).items()}))
    with pytest.raises(InputError, match="of another training than the encoder"):
        runs.load_run(path)
    other.unlink()
    with pytest.raises(InputError, match="no such file"):
        runs.load_run(path)
    other.write_bytes(good)
    assert runs.load_run(path).encoder_sha256 == done.encoder_sha256


def test_a_state_that_is_no_tensor_is_named() -> None:
    class Odd(torch.nn.Linear):
        def get_extra_state(self) -> Any:
            return {"a": 1}

        def set_extra_state(self, state: Any) -> None: ...

    with pytest.raises(InputError, match="'_extra_state' is a dict and no tensor"):
        encode_module(Odd(1, 1), {})


def test_results_are_checked(tmp_path: Path) -> None:
    chance = random.Random(3)
    path = tmp_path / "transfer.json"
    rows = [row(compute={"seconds": 1.5}, temperature=0.1, note="é"), row(head="euclidean", chosen={"l2": 1.0})]
    write_results(path, rows, {rows[0].key: torch.tensor([0.25, 0.75]).double()})
    text, items = path.read_bytes(), json.loads(path.read_bytes())
    for i in range(90):
        path.write_bytes(encoded(mutated(items, chance)) if i % 3 else spoiled(text, chance))
        right_or_refused(lambda: read_results(path), lambda found: found[0] == rows, f"{i}")
    # Without the file beside it there is no checksum: each value must be of its kind, and can be written again.
    path.with_suffix(".safetensors").unlink()
    for i in range(90):
        path.write_bytes(encoded(mutated(items, chance)))

        def again() -> bool:
            found = read_results(path)[0]
            if len({r.key for r in found}) == len(found):
                write_results(tmp_path / "again.json", found, {})
            return True

        right_or_refused(again, bool, f"{i}: {path.read_text()[:2000]}")
    path.write_text(text.decode().replace('"ci95": 0.1', f'"ci95": {10**400}', 1))
    with pytest.raises(InputError, match="ci95"):
        read_results(path)


def test_results_cut_between_their_two_files_are_the_earlier_ones(tmp_path: Path) -> None:
    path = tmp_path / "transfer.json"
    write_results(path, [row()], {row().key: torch.tensor([0.25, 0.75]).double()})
    earlier = path.read_bytes()
    changed = [row(mean=0.75), row(head="euclidean")]
    write_results(path, changed, {changed[0].key: torch.tensor([0.5, 1.0]).double()})
    path.write_bytes(earlier)
    assert read_results(path) == ([row()], {})
    path.write_bytes(earlier.replace(b'"seed": 0', b'"seed": 1'))
    with pytest.raises(InputError, match="do not belong together"):
        read_results(path)


def test_logs_and_diagnoses_and_identities(tmp_path: Path) -> None:
    chance = random.Random(4)
    log, diagnosis, identity = tmp_path / "metrics.jsonl", tmp_path / "diagnose.json", tmp_path / "encoder.json"
    record = {"step": 2, "loss": 1.5, "ssl": 1.0, "alarms": {"collapse": "so"}}
    numbers = {"name": "T", "value": 0.5, "null_mean": 0.2, "null_low": 0.1, "null_high": 0.3}
    for _ in range(90):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            log.write_bytes(encoded(mutated(record, chance)) + b"\n" + spoiled(encoded(record), chance) + b"\n")
            for found in read_metrics(log):
                assert type(found["step"]) is int
                assert isinstance(found["loss"], float)
        diagnosis.write_bytes(encoded(mutated({"conflict": [numbers]}, chance)))
        right_or_refused(lambda: read_conflict(tmp_path), lambda found: True, diagnosis.read_text()[:500])
        identity.write_bytes(encoded(mutated({"name": "a", "sha256": "b", "seed": 0}, chance)))
        right_or_refused(lambda: read_identity(tmp_path), lambda found: True, identity.read_text()[:500])


def test_a_folder_of_hostile_files_is_one_sentence(config: Config, tmp_path: Path) -> None:
    """Every file of a run by a folder, an empty file or noise: all that reads a run folder."""
    path = tmp_path / "run"
    runs.pretrain(config, path)
    for name in ("config.toml", "encoder.safetensors", "calibrator.safetensors"):
        kept = (path / name).read_bytes()
        for spoil in (lambda p: p.mkdir(), lambda p: p.write_bytes(b""), lambda p: p.write_bytes(b"\xff" * 99)):
            (path / name).unlink()
            spoil(path / name)
            right_or_refused(lambda: runs.load_run(path), lambda found: False, name)
            right_or_refused(lambda: runs.resume(path), lambda found: False, name)
            right_or_refused(lambda: runs.pretrain(config, path), lambda found: False, name)
            shutil.rmtree(path / name) if (path / name).is_dir() else (path / name).unlink()
            (path / name).write_bytes(kept)
    assert RunFolder(path).latest is not None
