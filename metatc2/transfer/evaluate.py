"""From encoders and targets to result rows: the same episodes for every encoder, controls included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metatc2.data.pairs import Pairs
from metatc2.data.store import how_to_label
from metatc2.errors import InputError, kind_of
from metatc2.metrics.intervals import mean_interval, stratified_half_width
from metatc2.models.encoding import check_encoder, rows_from
from metatc2.models.stages import OUTPUT
from metatc2.ops.numbers import whole
from metatc2.ops.ranks import ALONE, Ranks
from metatc2.transfer.adapted_episodes import Adapts
from metatc2.transfer.feature_table import FeatureFunction, FeatureTable
from metatc2.transfer.protocols.base import Measured, Protocol, Subject
from metatc2.transfer.protocols.registry import protocol_of
from metatc2.transfer.row import FIELDS, Row
from metatc2.transfer.targets import Target, fingerprint, originals_fingerprint

RANDOM_ENCODER = "random encoder"
RAW_PIXELS = "raw pixels"
ADAPTED_RANDOM = "adapted from random"
CONTROLS = (RANDOM_ENCODER, RAW_PIXELS, ADAPTED_RANDOM)


def _require_kinds(encoders: Any, targets: Any, protocols: Any) -> None:
    """Arguments of the kinds that are easily taken for one another.

    Raises:
        InputError: if one is of another.
    """
    if not isinstance(encoders, Mapping):
        raise InputError(f'evaluate: encoders must be a mapping, got {kind_of(encoders)}; write {{"encoder": encoder}}')
    if isinstance(targets, Target):
        raise InputError("evaluate: targets must be a list, got a Target; write it in brackets")
    for target in [targets] if isinstance(targets, str | Iterator) else targets:
        if not isinstance(target, Target):
            raise InputError(
                f"evaluate: targets must be a list of Target, got {kind_of(target)}; write "
                'metatc2.transfer.expand_targets(metatc2.load("digits"), "meta-test")'
            )
    if isinstance(protocols, str | Protocol):
        raise InputError(f"evaluate: protocols must be a list, got {kind_of(protocols)}; write it in brackets")


def evaluate(
    encoders: Mapping[str, nn.Module | FeatureFunction | None],
    targets: Sequence[Target],
    *,
    protocols: Sequence[str | Protocol] = ("few-shot",),
    seed: int = 0,
    source: str = "",
    encoder_sha256: str = "",
    batch: int = 512,
    device: torch.device | str | None = None,
    compute: Mapping[str, float] | None = None,
    learners: Mapping[str, Adapts] | None = None,
    cache: Path | None = None,
    layer: str = OUTPUT,
    contexts: Mapping[str, Pairs] | None = None,
    ranks: Ranks = ALONE,
    pixels: bool = True,
    tell: Callable[[str], None] | None = None,
) -> tuple[list[Row], dict[str, Tensor]]:
    """Measure encoders on targets. The row "raw pixels" is added; a table about a method also needs "random encoder".

    Modules are left as they are: modes, parameters, buffers, also where a call fails. Features are computed once for each
    encoder and target, and every encoder meets the same episodes: their seed is a hash of target, way and shot, so it is the
    same in other runs and on other machines.

    Args:
        encoders: by what stands in `Row.features` ("encoder", "calibrated", "random encoder"): a module (see
            `extract`), or a function from uint8 images ``(n, C, H, W)`` to features ``(n, D)``; None for raw pixels.
        targets: see `expand_targets`.
        protocols: objects with their options, e.g. ``FewShot(ways=(5,), shots=(1, 5))`` and ``Linear()``, or names of
            `PROTOCOLS` for those with the options that they have by default.
        seed: of pre-training; recorded.
        source: what was pre-trained on; recorded.
        encoder_sha256: checksum of the trained encoder; recorded, not in the rows of the two controls.
        batch: images a forward pass, fewer where they are large.
        device: where modules run; by default where they lie.
        compute: what the trained encoder cost; recorded likewise.
        learners: by what stands in `Row.features` (``"adapted"``, ``"adapted from random"``): learners that adapt to every
            few-shot episode, in eval mode; they meet the same episodes, and their rows have the head ``"adapted"``.
        cache: folder that keeps the features of modules for the next call; see `FeatureTable`.
        layer: which stage of the encoder the features come from; recorded.
        contexts: by what stands in `Row.features`: pairs that those features were adapted to; recorded.
        ranks: processes that share images and episodes; each calls this with the same arguments and gets the same rows.
        pixels: whether raw pixels are measured; not where there are none, of precomputed features.
        tell: gets a sentence on what is left every ten seconds, where features take longer.

    Returns:
        Rows, and by `Row.key` the accuracy of each episode (k-NN: of each image).

    Raises:
        InputError: if a protocol is unknown or cannot be run on a target, an encoder returns something else than rows of
            features, these are not finite, or two rows cannot be told apart.

    >>> from metatc2.data.store import ImageStore
    >>> from metatc2.transfer import FewShot
    >>> brightness = torch.arange(40) // 8 * 50 + torch.arange(40) % 8
    >>> toy = ImageStore("toy", brightness.byte().view(40, 1, 1, 1).expand(40, 1, 4, 4), torch.arange(40) // 8)
    >>> one_shot = FewShot(shots=(1,), heads=("euclidean",), episodes=10)
    >>> rows, _ = evaluate({"encoder": nn.Flatten()}, [Target(toy, "all", "toy")], protocols=[one_shot])
    >>> [(row.features, row.query, row.mean) for row in rows]
    [('encoder', 7, 1.0), ('raw pixels', 7, 1.0)]
    """
    _require_kinds(encoders, targets, protocols)
    chosen: list[Protocol] = []
    for given in protocols:
        protocol = protocol_of(given)
        if taken := sorted(FIELDS & set(protocol.facts)):
            raise InputError(
                f"transfer: {type(protocol).__name__} declares the facts {', '.join(taken)}, which every row has as fields "
                f"({', '.join(sorted(FIELDS))}); give them other names"
            )
        chosen += [] if protocol in chosen else [protocol]
    seed, batch = whole(seed, "transfer: seed"), whole(batch, "transfer: batch", 1)
    usable = {name: _usable(encoder, name) for name, encoder in encoders.items()}
    trained: dict[str, Any] = {"encoder_sha256": encoder_sha256, "compute": dict(compute or {})}
    of_context = {
        name: {"context": pairs.name, "context_pairs": len(pairs), "context_sha256": pairs.sha256}
        for name, pairs in (contexts or {}).items()
    }
    for target in targets:
        check_target(target, chosen)
    rows: list[Row] = []
    accuracies: dict[str, Tensor] = {}
    for target in targets:
        everything = {**usable, RAW_PIXELS: None} if pixels else usable
        table = FeatureTable(target.store, everything, batch=batch, device=device, cache=cache, ranks=ranks, tell=tell)
        subject = Subject(target, table, learners or {}, device, ranks)
        about: dict[bytes, dict[str, Any]] = {}
        for protocol in chosen:
            for measured in protocol.run(subject):
                common = {"source": source, "seed": seed, "layer": layer, **of_context.get(measured.features, {})}
                row = _row(protocol, measured, target, about, trained, common)
                if row.key in accuracies:
                    raise InputError(
                        f"transfer: two rows have the key {row.key!r}; name each protocol and target once, or tell the rows "
                        "apart by a fact 'setting'"
                    )
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
        output: Any = encoder(images)
        output = torch.from_numpy(output) if isinstance(output, np.ndarray) else output
        rows = rows_from(output, len(images), name).detach()
        return rows.clone() if rows.is_inference() else rows

    return checked


def check_target(target: Target, protocols: Sequence[Protocol]) -> list[str]:
    """What can be said of a target before anything is computed: what protocols will change, as the ends of sentences.

    Raises:
        InputError: if it holds one class, or a protocol cannot be run on it.
    """
    store = target.store
    classes = torch.unique(store.labels[store.rows(target.split)])
    if len(classes) < 2:
        named = f"of one class, {store.class_names[int(classes[0])]!r}" if len(classes) else "missing"
        whole = len(torch.unique(store.labels[store.rows("all")])) > 1
        such = f", such as {store.name}:all (with --allow-seen where some were learned from)" if whole else ""
        raise InputError(
            f"transfer: all images of {target.name} are {named}, so there is nothing to tell apart; name a target with "
            f"at least two classes{such}{how_to_label(store)}"
        )
    return [note for protocol in protocols for note in protocol.check(target)]


def _row(
    protocol: Protocol,
    measured: Measured,
    target: Target,
    about: dict[bytes, dict[str, Any]],
    trained: Mapping[str, Any],
    common: Mapping[str, Any],
) -> Row:
    if unknown := sorted(set(measured.facts) - set(protocol.facts)):
        raise InputError(
            f"transfer: {type(protocol).__name__} gives the facts {', '.join(unknown)} and does not declare them; name them "
            "in its `facts`"
        )
    # Protocols and encoders share their images; those are hashed once.
    used = measured.used.numpy().tobytes()
    if used not in about:
        about[used] = {
            "target_sha256": fingerprint(target.store, measured.used),
            "originals_sha256": originals_fingerprint(target.store, measured.used),
            "image_shape": " × ".join(map(str, target.store.images.shape[1:])),
        }
    mean, ci95 = mean_interval(measured.values)
    if measured.strata is not None:
        ci95 = stratified_half_width(measured.values, measured.strata)
    return Row(
        protocol=protocol.name,
        target=target.name,
        split=target.split,
        classes_seen=target.classes_seen,
        features=measured.features,
        metric=measured.metric,
        mean=min(mean, 1.0),
        ci95=ci95,
        inductive=measured.inductive,
        note=measured.note,
        **about[used],
        **({"encoder_sha256": ""} if measured.features in CONTROLS else trained),
        **common,
        facts=dict(measured.facts),
    )
