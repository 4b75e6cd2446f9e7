"""From encoders and targets to result rows: the same episodes for every encoder, controls included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metatc2.data.pairs import Pairs
from metatc2.errors import InputError, nearest
from metatc2.metrics.intervals import mean_interval, stratified_half_width
from metatc2.models.encoding import check_encoder, rows_from
from metatc2.models.stages import OUTPUT
from metatc2.ops.numbers import whole
from metatc2.transfer.adaptation import Adapts
from metatc2.transfer.feature_table import FeatureFunction, FeatureTable
from metatc2.transfer.heads.prototype import HEADS
from metatc2.transfer.protocols import PROTOCOLS, Measured, Options, Subject
from metatc2.transfer.results import Row
from metatc2.transfer.targets import Target, fingerprint

RANDOM_ENCODER = "random encoder"
RAW_PIXELS = "raw pixels"
ADAPTED_RANDOM = "adapted from random"
CONTROLS = (RANDOM_ENCODER, RAW_PIXELS, ADAPTED_RANDOM)


def evaluate(
    encoders: Mapping[str, nn.Module | FeatureFunction | None],
    targets: Sequence[Target],
    *,
    seed: int = 0,
    source: str = "",
    encoder_sha256: str = "",
    protocols: Sequence[str] = ("few-shot",),
    ways: Sequence[int] = (5,),
    shots: Sequence[int] = (1, 5),
    query: int = 15,
    episodes: int = 600,
    heads: Sequence[str] = ("cosine", "euclidean"),
    ks: Sequence[int] = (200, 20),
    temperature: float = 0.1,
    batch: int = 512,
    device: torch.device | str | None = None,
    compute: Mapping[str, float] | None = None,
    learners: Mapping[str, Adapts] | None = None,
    cache: Path | None = None,
    layer: str = OUTPUT,
    contexts: Mapping[str, Pairs] | None = None,
    fractions: Sequence[float] = (0.01, 0.1),
    fine_tune_steps: int = 5000,
    fine_tune_in_train_mode: bool = False,
    fit: bool = False,
) -> tuple[list[Row], dict[str, Tensor]]:
    """Measure encoders on targets. The row "raw pixels" is added; a table about a method also needs "random encoder".

    Modules are left as they are: modes, parameters, buffers, also where a call fails. Features are computed once for each
    encoder and target, and every encoder meets the same episodes: their seed is a hash of target, way and shot, so it is the
    same in other runs and on other machines.

    Args:
        encoders: by what stands in `Row.features` ("encoder", "calibrated", "random encoder"): a module (see
            `extract`), or a function from uint8 images ``(n, C, H, W)`` to features ``(n, D)``; None for raw pixels.
        targets: see `expand_targets`.
        seed: of pre-training; recorded.
        source: what was pre-trained on; recorded.
        encoder_sha256: checksum of the trained encoder; recorded, not in the rows of the two controls.
        protocols: of `PROTOCOLS`.
        ways: classes an episode.
        shots: labelled images a class.
        query: images to classify a class, at most; fewer where a class is small, which the row says.
        episodes: few-shot episodes a row, at least 2.
        heads: of `few_shot.HEADS`.
        ks: neighbours of k-NN; clamped to the bank, which the row says.
        temperature: of the k-NN vote.
        batch: images a forward pass.
        device: where modules run; by default where they lie.
        compute: what the trained encoder cost; recorded likewise.
        learners: by what stands in `Row.features` (``"adapted"``, ``"adapted from random"``): learners that adapt to every
            few-shot episode, in eval mode; they meet the same episodes, and their rows have the head ``"adapted"``.
        cache: folder that keeps the features of modules for the next call; see `FeatureTable`.
        layer: which stage of the encoder the features come from; recorded.
        contexts: by what stands in `Row.features`: pairs that those features were adapted to; recorded.
        fractions: shares of the labels, semi-supervised.
        fine_tune_steps: of each fine-tuning.
        fine_tune_in_train_mode: fine-tuning leaves each part in the mode that it is in, so that BatchNorm in eval mode
            keeps its running statistics (the row then says so). True puts encoders that are wholly in eval mode, as loaded
            ones are, into train mode for it; a copy of them, as always.
        fit: see `Options`.

    Returns:
        Rows, and by `Row.key` the accuracy of each episode (k-NN: of each image).

    Raises:
        InputError: if a name is unknown, a target is too small, an encoder returns something else than rows of features, or
            these are not finite.

    >>> from metatc2.data.store import ImageStore
    >>> brightness = torch.arange(40) // 8 * 50 + torch.arange(40) % 8
    >>> toy = ImageStore("toy", brightness.byte().view(40, 1, 1, 1).expand(40, 1, 4, 4), torch.arange(40) // 8)
    >>> rows, _ = evaluate({"encoder": nn.Flatten()}, [Target(toy, "all", "toy")], shots=(1,), heads=("euclidean",),
    ...                    episodes=10, seed=0, source="none", encoder_sha256="")
    >>> [(row.features, row.query, row.mean) for row in rows]
    [('encoder', 7, 1.0), ('raw pixels', 7, 1.0)]
    """
    for kind, names, known in (("protocol", protocols, PROTOCOLS), ("head", heads, HEADS)):
        for name in names:
            if name not in known:
                raise InputError(f"transfer: unknown {kind} {name!r}; {nearest(name, known)}")
    options = Options(
        ways=ways,
        shots=shots,
        query=query,
        episodes=episodes,
        heads=heads,
        ks=ks,
        temperature=temperature,
        fractions=fractions,
        fine_tune_steps=fine_tune_steps,
        fine_tune_in_train_mode=fine_tune_in_train_mode,
        fit=fit,
    )
    seed, batch = whole(seed, "transfer: seed"), whole(batch, "transfer: batch", 1)
    usable = {name: _usable(encoder, name) for name, encoder in encoders.items()}
    trained: dict[str, Any] = {"encoder_sha256": encoder_sha256, "compute": dict(compute or {})}
    told = {
        name: {"context": pairs.name, "context_pairs": len(pairs), "context_sha256": pairs.sha256}
        for name, pairs in (contexts or {}).items()
    }
    rows: list[Row] = []
    accuracies: dict[str, Tensor] = {}
    for target in targets:
        check_target(target, protocols)
        table = FeatureTable(target.store, {**usable, RAW_PIXELS: None}, batch=batch, device=device, cache=cache)
        subject = Subject(target, table, options, learners or {}, device)
        sha256: dict[bytes, str] = {}
        for protocol in dict.fromkeys(protocols):
            for measured in PROTOCOLS[protocol](subject):
                common = {"source": source, "seed": seed, "layer": layer, **told.get(measured.facts["features"], {})}
                row = _row(measured, target, sha256, trained, common)
                rows.append(row)
                accuracies[row.key] = measured.values
    return rows, accuracies


def _usable(encoder: nn.Module | FeatureFunction | None, name: str) -> nn.Module | FeatureFunction | None:
    """An encoder that can be asked, and a function that is checked when it is."""
    if encoder is None:
        return None
    if isinstance(encoder, nn.Module):
        check_encoder(encoder, name)
        return encoder
    if not callable(encoder):
        raise InputError(
            f"transfer: {name} must be an nn.Module, a function from images to features, or None for raw pixels, "
            f"got {type(encoder).__name__}"
        )

    def checked(images: Tensor) -> Tensor:
        found: Any = encoder(images)
        found = torch.from_numpy(found) if isinstance(found, np.ndarray) else found
        rows = rows_from(found, len(images), name).detach()
        return rows.clone() if rows.is_inference() else rows

    return checked


def check_target(target: Target, protocols: Sequence[str]) -> None:
    """What can be said of a target before anything is computed.

    Raises:
        InputError: if it holds one class, or clips where the protocol is not theirs.
    """
    for protocol in protocols:
        if target.store.name.startswith("clips:") and protocol != "clips":
            raise InputError(
                f"transfer: {target.store.name} holds clips, whose frames would stand on both sides of {protocol}; use "
                "--protocol clips"
            )
    store = target.store
    classes = torch.unique(store.labels[store.rows(target.split)])
    if len(classes) < 2:
        named = f"of one class, {store.class_names[int(classes[0])]!r}" if len(classes) else "missing"
        raise InputError(
            f"transfer: all images of {target.name} are {named}, so there is nothing to tell apart; name a target with "
            "at least two classes"
        )


def _row(
    measured: Measured,
    target: Target,
    sha256: dict[bytes, str],
    trained: Mapping[str, Any],
    common: Mapping[str, Any],
) -> Row:
    # Protocols and encoders share their images; those are hashed once.
    used = measured.used.numpy().tobytes()
    if used not in sha256:
        sha256[used] = fingerprint(target.store, measured.used)
    mean, ci95 = mean_interval(measured.values)
    if measured.strata is not None:
        ci95 = stratified_half_width(measured.values, measured.strata)
    return Row(
        target=target.name,
        split=target.split,
        classes_seen=target.classes_seen,
        mean=min(mean, 1.0),
        ci95=ci95,
        target_sha256=sha256[used],
        **({"encoder_sha256": ""} if measured.facts["features"] in CONTROLS else trained),
        **common,
        **measured.facts,
    )
