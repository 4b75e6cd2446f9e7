"""From encoders and targets to result rows: the same episodes for every encoder, controls included."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metatc2.errors import InputError, nearest
from metatc2.transfer.adaptation import Adapts, adapted_few_shot, policy_note, transductive
from metatc2.transfer.features import extract, finite, raw_pixels
from metatc2.transfer.few_shot import HEADS, few_shot
from metatc2.transfer.intervals import mean_interval
from metatc2.transfer.knn import knn, knn_split
from metatc2.transfer.results import Row
from metatc2.transfer.sampling import sample_episodes
from metatc2.transfer.targets import Target, fingerprint

FeatureFunction = Callable[[Tensor], Tensor]

PROTOCOLS = ("few-shot", "knn")
RANDOM_ENCODER = "random encoder"
RAW_PIXELS = "raw pixels"
ADAPTED = "adapted"
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
) -> tuple[list[Row], dict[str, Tensor]]:
    """Measure encoders on targets. The row "raw pixels" is added; a table about a method also needs "random encoder".

    Features are computed once for each encoder and target, and every encoder meets the same episodes: their seed is a
    hash of target, way and shot, so it is the same in other runs and on other machines.

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

    Returns:
        Rows, and by `Row.key` the accuracy of each episode (k-NN: of each image).

    Raises:
        InputError: if a name is unknown, a target is too small, or features are not finite.

    >>> from metatc2.data.store import ImageStore
    >>> brightness = torch.arange(40) // 8 * 50 + torch.arange(40) % 8
    >>> toy = ImageStore("toy", brightness.byte().view(40, 1, 1, 1).expand(40, 1, 4, 4), torch.arange(40) // 8)
    >>> rows, _ = evaluate({"encoder": nn.Flatten()}, [Target(toy, "all", "toy")], shots=(1,), heads=("euclidean",),
    ...                    episodes=10, seed=0, source="none", encoder_sha256="")
    >>> [(row.features, row.query, row.mean) for row in rows]
    [('encoder', 7, 1.0), ('raw pixels', 7, 1.0)]
    """
    for kind, names, known in (("protocol", protocols, PROTOCOLS), ("head", heads, tuple(HEADS))):
        for name in names:
            if name not in known:
                raise InputError(f"transfer: unknown {kind} {name!r}; {nearest(name, known)}")
    if episodes < 2:
        raise InputError(f"transfer: episodes must be at least 2 to give an interval, got {episodes}")

    rows: list[Row] = []
    accuracies: dict[str, Tensor] = {}
    for target in targets:
        store = target.store
        own = store.rows(target.split)
        bank, asked, how = knn_split(store, target.split) if "knn" in protocols else (own[:0], own[:0], "")
        used = torch.cat([own if "few-shot" in protocols else own[:0], bank, asked])
        needed = torch.unique(used)
        images = store.images[needed]
        features = {
            name: _features(name, encoder, images, batch, device)
            for name, encoder in {**encoders, RAW_PIXELS: None}.items()
        }
        sha256 = {
            "few-shot": fingerprint(store, own) if "few-shot" in protocols else "",
            "knn": fingerprint(store, torch.cat([bank, asked])) if "knn" in protocols else "",
        }
        measured: list[tuple[dict[str, Any], Tensor]] = []
        if "few-shot" in protocols:
            at_own = {name: found[torch.searchsorted(needed, own)] for name, found in features.items()}
            for way in dict.fromkeys(ways):
                for shot in dict.fromkeys(shots):
                    measured += _few_shot(
                        target, at_own, own, way, shot, query, episodes, heads, learners or {}, device
                    )
        if "knn" in protocols:
            at_bank, at_asked = (torch.searchsorted(needed, side) for side in (bank, asked))
            sides = {name: (found[at_bank], found[at_asked]) for name, found in features.items()}
            measured += _knn(target, sides, bank, asked, ks, temperature, how)
        for facts, found in measured:
            control = facts["features"] in CONTROLS
            mean, ci95 = mean_interval(found)
            row = Row(
                source=source,
                target=target.name,
                split=target.split,
                classes_seen=target.classes_seen,
                mean=mean,
                ci95=ci95,
                seed=seed,
                target_sha256=sha256[facts["protocol"]],
                encoder_sha256="" if control else encoder_sha256,
                compute={} if control else dict(compute or {}),
                **facts,
            )
            rows.append(row)
            accuracies[row.key] = found
    return rows, accuracies


def episodes_seed(target: str, way: int, shot: int) -> int:
    """Seed of the episodes of a target: the same in every run and on every machine, whatever the encoder.

    >>> episodes_seed("glyphs:greek", 5, 1)
    2692315376
    """
    return int.from_bytes(hashlib.sha256(f"{target}|{way}|{shot}".encode()).digest()[:4], "big")


def _features(
    name: str,
    encoder: nn.Module | FeatureFunction | None,
    images: Tensor,
    batch: int,
    device: torch.device | str | None,
) -> Tensor:
    if encoder is None:
        return raw_pixels(images)
    if isinstance(encoder, nn.Module):
        return extract(encoder, images, batch=batch, device=device, name=name)
    with torch.no_grad():
        parts = [encoder(part).float().cpu() for part in torch.split(images, batch)]
    return finite(torch.cat(parts), name)


def _few_shot(
    target: Target,
    features: Mapping[str, Tensor],
    rows: Tensor,
    way: int,
    shot: int,
    query: int,
    episodes: int,
    heads: Sequence[str],
    learners: Mapping[str, Adapts],
    device: torch.device | str | None,
) -> list[tuple[dict[str, Any], Tensor]]:
    seed = episodes_seed(target.name, way, shot)
    generator = torch.Generator().manual_seed(seed)
    drawn = sample_episodes(
        target.store.labels[rows],
        way=way,
        shot=shot,
        query=query,
        episodes=episodes,
        generator=generator,
        target=target.name,
    )
    given = drawn.query.shape[2]
    notes = [f"{given} queries a class instead of {query}, the smallest class has no more"] * (given < query)
    notes += [f"classes with fewer than {shot + 1} images left out: {drawn.excluded}"] * (drawn.excluded > 0)
    facts = {
        "protocol": "few-shot",
        "way": way,
        "shot": shot,
        "query": given,
        "query_asked": query,
        "episodes": episodes,
        "classes_excluded": drawn.excluded,
        "episodes_seed": seed,
        "note": "; ".join(notes),
    }
    measured = [
        ({**facts, "features": name, "head": head}, few_shot(found, drawn, head))
        for name, found in features.items()
        for head in heads
    ]
    for name, learner in learners.items():
        own = {"inductive": not transductive(learner), "note": "; ".join([*notes, *policy_note(learner)])}
        found = adapted_few_shot(learner, target.store.images[rows], drawn, device=device or "cpu")
        measured.append(({**facts, "features": name, "head": ADAPTED, **own}, found))
    return measured


def _knn(
    target: Target,
    features: Mapping[str, tuple[Tensor, Tensor]],
    bank: Tensor,
    asked: Tensor,
    ks: Sequence[int],
    temperature: float,
    how: str,
) -> list[tuple[dict[str, Any], Tensor]]:
    store = target.store
    classes = torch.unique(store.labels[bank])
    without_query = len(classes) - int(torch.isin(classes, store.labels[asked]).sum())
    facts = {
        "protocol": "knn",
        "way": len(classes),
        "shot": 0,
        "query": len(asked),
        "episodes": 0,
        "head": "knn",
        "classes_excluded": without_query,
        "bank": how,
        "temperature": temperature,
    }
    # Two k that are clamped to the same number are one measurement.
    clamped: dict[int, int] = {}
    for k in ks:
        clamped.setdefault(min(k, len(bank)), k)
    measured = []
    for k, k_asked in clamped.items():
        note = f"k = {k} instead of {k_asked}, the bank has no more images" if k < k_asked else ""
        for name, (neighbours, queries) in features.items():
            found = knn(neighbours, store.labels[bank], queries, store.labels[asked], k=k, temperature=temperature)
            measured.append(({**facts, "features": name, "k": k, "k_asked": k_asked, "note": note}, found))
    return measured
