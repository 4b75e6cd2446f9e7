"""From a configuration to the parts of a run: data, views, sampler, encoder, learner."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from metatc2.augment import Views
from metatc2.augment.families import BASE
from metatc2.augment.recipes import build_recipe
from metatc2.calibration import calibrated
from metatc2.conditioning import SeparateEncoders
from metatc2.data import ImageStore, load
from metatc2.data.sources.shapes.dataset import is_rendered
from metatc2.episodes import DomainTasks, FactorTasks, LabeledTasks, RecipeTasks, SplitBatch
from metatc2.errors import InputError
from metatc2.experiment.build_conditioning import build_projector, build_rival, check_kinds, kinds_in
from metatc2.experiment.build_tc2 import build_tc2, calibration_loop, shared_calibrator
from metatc2.experiment.config import CalibrationConfig, Config, EpisodeConfig
from metatc2.inner import build_adjoint
from metatc2.learners import (
    LabeledLearner,
    Learner,
    SelfSupervised,
    Settings,
    build_labeled,
)
from metatc2.models.encoding import feature_dim
from metatc2.models.heads import Predictor
from metatc2.models.registry import build_encoder
from metatc2.objectives import Objective, build_objective
from metatc2.objectives.regularizers import REGULARIZERS, build_regularizer
from metatc2.ops.functional import select
from metatc2.training import TrainerOptions

AnySampler = SplitBatch | FactorTasks | RecipeTasks | DomainTasks | LabeledTasks


def build_data(config: Config) -> ImageStore:
    """The store that a run learns from."""
    data = config.data
    return load(
        data.source,
        image_size=data.image_size,
        channels=data.channels,
        root=data.root,
        download=data.download,
        stream=data.stream,
        workers=data.workers,
        value_range=data.value_range,
    )


def build_views(config: Config, image_size: int) -> Views:
    """The recipe of ``[views]`` with the values that are set in place of its own.

    Args:
        config: see `Config`.
        image_size: side of the views in pixels.
    """
    recipe = build_recipe(config.views.recipe)
    overrides = {
        f.name: value
        for f in dataclasses.fields(config.views)
        if f.name != "recipe" and (value := getattr(config.views, f.name)) is not None
    }
    return dataclasses.replace(recipe, size=image_size, **overrides)


def build_sampler(config: Config, store: ImageStore, device: torch.device | str = "cpu") -> AnySampler:
    """The task sampler of ``[episode]`` on the pre-training split: labeled tasks where the learner needs them."""
    episode = config.episode
    if config.learner.name != "ssl":
        if episode.tasks_differ_by != "nothing":
            raise InputError(
                f"learner {config.learner.name!r} has labeled tasks, which differ by their classes, and "
                f"episode.tasks_differ_by is {episode.tasks_differ_by!r}; leave it out"
            )
        return LabeledTasks(
            store,
            way=_range(episode.way, episode.way_most),
            shot=_range(episode.shot, episode.shot_most),
            query=episode.query,
            tasks=episode.meta_batch,
            split=config.data.split,
            views=build_views(config, store.image_size) if episode.augment else None,
            replacement=episode.replacement,
            seed=config.trainer.seed,
            device=device,
        )
    if episode.tasks_differ_by != "nothing" and episode.assign != "random":
        raise InputError(
            f"episode.assign = {episode.assign!r} deals images to tasks that differ by nothing, and here they differ by "
            f"{episode.tasks_differ_by}; leave one of them out"
        )
    _refuse_unused(episode)
    common: dict[str, Any] = {
        "tasks": episode.tasks,
        "batch": episode.batch,
        "support": episode.support,
        "split": config.data.split,
        "seed": config.trainer.seed,
        "device": device,
    }
    if episode.tasks_differ_by == "factor":
        if not is_rendered(store):
            raise InputError(
                f"episode.tasks_differ_by = 'factor' renders objects from their factors, which {store.name} has not; use "
                "data.source = 'shapes', or tasks that differ by views or domain"
            )
        return FactorTasks(episode.level, image_size=store.image_size, **common)
    if episode.tasks_differ_by == "views":
        return RecipeTasks(store, dataclasses.replace(BASE, size=store.image_size), kinds=episode.recipes, **common)
    views = build_views(config, store.image_size)
    if episode.tasks_differ_by == "domain":
        return DomainTasks(store, views, **common)
    return SplitBatch(store, views, assign=episode.assign, **common)


def check_domains(config: Config, store: ImageStore) -> None:
    """Whether what is told of the domains of the pre-training images is true.

    Raises:
        InputError: if ``episode.kinds`` is another number, or is needed and not set.
    """
    if config.episode.tasks_differ_by == "domain":
        domains = len(store.domains[store.rows(config.data.split)].unique())
        if domains > 1:  # of one domain the sampler says what is wrong
            check_kinds(config, domains)


def _refuse_unused(episode: EpisodeConfig) -> None:
    """Settings of tasks that differ in another way are told, as they would change nothing."""
    usual = EpisodeConfig()
    for key, differ in (("level", "factor"), ("recipes", "views"), ("kinds", "domain")):
        if episode.tasks_differ_by != differ and getattr(episode, key) != getattr(usual, key):
            raise InputError(
                f"episode.{key} = {getattr(episode, key)!r} is for tasks that differ by {differ}, and "
                f"episode.tasks_differ_by is {episode.tasks_differ_by!r}; set that, or leave it out"
            )


def build_fresh_encoder(config: Config, channels: int, image_size: int) -> nn.Module:
    """The encoder as it is before pre-training: the same for every method and seed pair, and the control "random"."""
    with torch.random.fork_rng():
        torch.manual_seed(config.trainer.seed)
        e = config.encoder
        if e.one_a_kind:
            made = range(kinds_in(config))
            return SeparateEncoders(
                [build_encoder(e.name, channels=channels, image_size=image_size, width=e.width) for _ in made]
            )
        return build_encoder(e.name, channels=channels, image_size=image_size, width=e.width)


def build_learner(
    config: Config,
    channels: int,
    image_size: int,
    encoder: nn.Module | None = None,
    class_of: Tensor | None = None,
) -> Learner:
    """The learner of ``[learner]``: by default the objective of ``[objective]``, calibrated as ``[calibration]`` says.

    Args:
        config: see `Config`.
        channels: 1 or 3.
        image_size: side of the images in pixels.
        encoder: one of the user's own; by default that of ``[encoder]``.
        class_of: class of every row of the store; needed by the learner "linear-probe" alone.

    Raises:
        InputError: if a name is unknown, a task is too small for its objective, K ≥ d, or settings do not go together.
    """
    encoder = encoder or build_fresh_encoder(config, channels, image_size)
    dim = feature_dim(encoder, channels, image_size)
    if config.learner.name == "ssl":
        return _self_supervised(config, encoder, dim)
    return _labeled(config, encoder, dim, class_of)


def _self_supervised(config: Config, encoder: nn.Module, dim: int) -> SelfSupervised:
    objective = build_objective(config.objective.name, **config.objective.options)
    _check_sizes(config, objective)
    head, c = config.head, config.calibration
    with torch.random.fork_rng():
        # Heads start alike under every calibration: their seed depends on nothing else.
        torch.manual_seed(config.trainer.seed + 1)
        projector = build_projector(config, dim, objective)
        predictor = Predictor(head.projector_out, head.predictor_hidden) if objective.predictor else None
    asked = config.regularizer
    if asked.name == "none" and asked.weight is not None:
        raise InputError(
            f"regularizer.weight is {asked.weight:g} and there is no regularizer; name one (--regularize "
            f"{' or '.join(REGULARIZERS)}), or leave the weight out"
        )
    common: dict[str, Any] = {
        "projector": projector,
        "predictor": predictor,
        "where": c.where,
        "momentum": config.objective.momentum,
        "regularizer": None if asked.name == "none" else build_regularizer(asked.name),
        "weight": asked.weight,
    }
    rival = build_rival(config, encoder, objective, common)
    if rival is not None:
        return rival
    if c.name != "tc2":
        return SelfSupervised(
            encoder, objective, per_task=c.name == "tasks", standardize=c.name == "standardize", **common
        )
    return build_tc2(config, encoder, objective, dim if c.where == "backbone" else head.projector_out, common)


def _labeled(config: Config, encoder: nn.Module, dim: int, class_of: Tensor | None) -> LabeledLearner:
    chosen, episode, c = config.learner, config.episode, config.calibration
    if chosen.freeze:
        for name in select(encoder, chosen.freeze, "learner.freeze"):
            encoder.get_parameter(name).requires_grad_(False)
    if c.name == "tc2":
        encoder = calibrated(
            encoder,
            shared_calibrator(config, dim),
            inner=calibration_loop(config, "shared"),
            standardize=c.settled("shared")["standardize"],
            blend=c.blend,
        )
    elif c.name != "none":
        raise InputError(
            f"learner {chosen.name!r} has labeled tasks, where calibration {c.name!r} means nothing; use --calibration none "
            "or tc2"
        )
    usual = CalibrationConfig()
    if config.regularizer.name != "none":
        raise InputError(
            f"learner {chosen.name!r} has labeled tasks, where a regularizer of the representation is not added; use "
            "--regularize none"
        )
    for key in ("where", "look_ahead", "lr", "statistics", "reconstruction", "outer_on"):
        if c.name == "tc2" and getattr(c, key) != getattr(usual, key):
            raise InputError(
                f"learner {chosen.name!r} has no use for calibration.{key}: the calibrator sits on the encoder's output and is "
                "trained with the rest; leave it out"
            )
    adjoint = None
    if chosen.adjoint is not None:
        adjoint = build_adjoint(chosen.adjoint, last_steps=chosen.last_steps, samples=chosen.samples)
    settings = Settings(
        dim=dim,
        way=max(episode.way, episode.way_most or 0),
        optimizer=chosen.inner_optimizer,
        lr=chosen.inner_lr,
        steps=chosen.inner_steps,
        clip=chosen.inner_clip,
        test_steps=chosen.test_steps,
        adjoint=adjoint,
        adapt=chosen.adapt,
        norm=chosen.norm,
        at_once=chosen.at_once,
        shared_head=chosen.shared_head,
        class_of=class_of,
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.trainer.seed + 1)
        return build_labeled(chosen.name, encoder, settings)


def _range(low: int, high: int | None) -> int | tuple[int, int]:
    return low if high is None else (min(low, high), max(low, high))


def build_trainer_options(config: Config) -> TrainerOptions:
    """The part of ``[trainer]`` that the trainer itself needs."""
    values = {f.name: getattr(config.trainer, f.name) for f in dataclasses.fields(TrainerOptions)}
    return TrainerOptions(**{**values, "lengthened": config.trainer.lengthened or ()})


def _check_sizes(config: Config, objective: Objective) -> None:
    """A task too small for its objective is found before anything is written."""
    c, episode = config.calibration, config.episode
    settled = c.settled()
    task = episode.batch // episode.tasks
    support = round(episode.support * task)
    sides = []
    if c.name == "tc2" and (c.look_ahead or (settled["gamma"] and c.inner_steps)):
        sides.append((support, "support side"))
    if c.name == "tc2" and (c.look_ahead or (c.outer_on != "whole" and settled["statistics"] == "task")):
        sides.append((task - support, "query side"))
    if c.name in ("tc2", "tasks"):
        sides.append((task, "task"))
    smallest, where = min(sides) if sides else (episode.batch, "batch")
    try:
        objective.check(smallest)
    except InputError as error:
        raise InputError(
            f"{error} Here a {where} has {smallest}: raise episode.batch ({episode.batch}) or lower episode.tasks "
            f"({episode.tasks})"
        ) from error
