"""The files that a trained learner becomes."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from metatc2.data import ImageStore
from metatc2.experiment.config import Config, fingerprint
from metatc2.io.run_files import ENCODER, HEADS
from metatc2.io.safetensors_file import tensors_sha256
from metatc2.io.weights_file import encode_module, encode_tensors, module_tensors, own_tensors
from metatc2.learners import Learner
from metatc2.transfer import SeenClasses


def trained_files(
    learner: Learner,
    config: Config,
    store: ImageStore,
    *,
    steps: int,
    seconds: float,
    encoder: nn.Module | None = None,
    earlier: SeenClasses | None = None,
) -> dict[str, bytes]:
    """Files by name; the encoder comes last, since a folder that has it is a finished run.

    Args:
        learner: trained.
        config: that it was trained with.
        store: that it was trained on.
        steps, seconds: what training cost.
        encoder: in place of the learner's own: its average over training.
        earlier: what the weights that training started from had seen.

    Raises:
        InputError: if a part cannot be written.
    """
    exports = learner.exports()
    own, heads = exports.pop("encoder"), learner.heads()
    encoder = own if encoder is None else encoder
    facts = {
        "format": "metatc2",
        "channels": store.channels,
        "image_size": store.image_size,
        "steps": steps,
        "seconds": round(seconds, 2),
        "fingerprint": fingerprint(config),
        "data": store.checksum(),
        "classes": len(store.class_names),
        **replace(SeenClasses.of(store, config.data.split), earlier=earlier).to_facts(),
        "splits": {name: len(rows) for name, rows in store.splits.items()},
    }
    files = {f"{name}.safetensors": encode_module(module, facts) for name, module in exports.items()}
    beside = {name: tensors_sha256(module_tensors(module)) for name, module in exports.items()}
    if heads:
        files[HEADS] = encode_tensors(heads, facts, f"the heads of {type(learner).__name__}")
        beside[HEADS.partition(".")[0]] = tensors_sha256(own_tensors(heads))
    return {**files, ENCODER: encode_module(encoder, {**facts, "beside": beside})}
