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
from metatc2.conditioning.views import ConditionOptions
from metatc2.data import ImageStore, load
from metatc2.data.sources.features import KIND as FEATURES
from metatc2.data.sources.shapes.dataset import is_rendered
from metatc2.episodes import DomainTasks, FactorTasks, LabeledTasks, RecipeTasks, SplitBatch
from metatc2.errors import InputError
from metatc2.experiment.build_conditioning import build_predictor, build_projector, build_rival, check_kinds, kinds_in
from metatc2.experiment.build_tc2 import build_tc2, calibration_loop, check_sizes, shared_calibrator
from metatc2.experiment.config import (
    Config,
    DomainEpisode,
    EncoderTC2Config,
    FactorEpisode,
    LabeledEpisode,
    PythonConfig,
    SelfSupervisedConfig,
    SplitEpisode,
    Standardized,
    TasksOnly,
    TC2Config,
    Uncalibrated,
    ViewsEpisode,
)
from metatc2.io.source_names import split_name
from metatc2.io.suggest import command
from metatc2.learners import LabeledLearner, Learner, LearnerOptions, SelfSupervised, Tasks, build_labeled
from metatc2.learners.branches import Branch
from metatc2.models.encoding import feature_dim
from metatc2.models.registry import build_encoder
from metatc2.objectives import Objective, TargetOptions
from metatc2.objectives.auxiliary import AUXILIARY, AuxiliaryOptions
from metatc2.objectives.regularizers import RegularizerOptions
from metatc2.ops.functional import select
from metatc2.ops.module_state import unchanged
from metatc2.ops.random_state import seeded
from metatc2.training import TrainerOptions
from metatc2.transfer import Target, target_splits

AnySampler = SplitBatch | FactorTasks | RecipeTasks | DomainTasks | LabeledTasks


#: What stands after the name of a split, in ``data.split``, for the training images that a classifier of it would have.
TRAINING = ":training"


def build_data(config: Config) -> ImageStore:
    """The store that a run learns from.

    A ``data.split`` such as ``all:training`` is the training part of ``all`` (see `metatc2.data.splits.transfer_splits`): the
    validation and test images that a classifier would be chosen and tested on are left out.

    Raises:
        InputError: if the source cannot be had, or holds no images.
    """
    data = config.data
    if split_name(data.source)[0] == FEATURES:
        raise InputError(
            f"{data.source} holds features and no images to pre-train on; name the images, or measure the features with "
            f"{command('transfer', data.source, '--out', 'DIR')}"
        )
    store = load(
        data.source,
        image_size=data.image_size,
        channels=data.channels,
        root=data.root,
        download=data.download,
        stream=data.stream,
        workers=data.workers,
        value_range=data.value_range,
    )
    if not data.split.endswith(TRAINING) or data.split in store.splits:
        return store
    whole = data.split.removesuffix(TRAINING)
    rows = target_splits(Target(store, whole, f"{store.name}:{whole}")).train
    return dataclasses.replace(store, splits={**store.splits, data.split: rows})


def build_views(config: Config, image_size: int) -> Views:
    """The recipe of ``[views]`` with the values that are set in place of its own.

    Args:
        config: see `Config`.
        image_size: side of the views in pixels.
    """
    views = config.views
    own = {name: getattr(views, name) for name in type(views).model_fields if name != "recipe"}
    return dataclasses.replace(build_recipe(views.recipe), size=image_size, **own)


def build_sampler(config: Config, store: ImageStore, device: torch.device | str = "cpu") -> AnySampler:
    """The task sampler of ``[episode]`` on the pre-training split: labeled tasks where the learner needs them.

    Raises:
        InputError: if tasks cannot be cut in that way from these images.
    """
    episode = config.episode
    if isinstance(episode, LabeledEpisode):
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
    common: dict[str, Any] = {
        "tasks": episode.tasks,
        "batch": episode.batch,
        "support": episode.support,
        "split": config.data.split,
        "seed": config.trainer.seed,
        "device": device,
    }
    if isinstance(episode, FactorEpisode):
        if not is_rendered(store):
            raise InputError(
                f"episode.tasks_differ_by = 'factor' renders objects from their factors, which {store.name} has not; use "
                "data.source = 'shapes', or tasks that differ by views or domain"
            )
        return FactorTasks(episode.level, image_size=store.image_size, **common)
    if isinstance(episode, ViewsEpisode):
        return RecipeTasks(store, dataclasses.replace(BASE, size=store.image_size), kinds=episode.recipes, **common)
    views = build_views(config, store.image_size)
    if isinstance(episode, DomainEpisode):
        return DomainTasks(store, views, **common)
    shared = episode.share_descriptors or 1
    return SplitBatch(store, views, assign=episode.assign, share_descriptors=shared, **common)


def check_domains(config: Config, store: ImageStore) -> None:
    """Whether what is told of the domains of the pre-training images is true.

    Raises:
        InputError: if ``episode.kinds`` is another number, or is needed and not set.
    """
    if isinstance(config.episode, DomainEpisode):
        domains = len(store.domains[store.rows(config.data.split)].unique())
        if domains > 1:  # of one domain the sampler says what is wrong
            check_kinds(config, domains)


def build_fresh_encoder(config: Config, channels: int, image_size: int) -> nn.Module:
    """The encoder as it is before pre-training: the same for every method and seed pair, and the control "random"."""
    with seeded(config.trainer.seed):
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
    if isinstance(config.learner, PythonConfig):
        raise InputError(
            f"learner {config.learner.name!r} ({config.learner.method}) is one that a program of yours trained; make it there, "
            "with Trainer(..., run=DIR)"
        )
    encoder = encoder or build_fresh_encoder(config, channels, image_size)
    dim = feature_dim(encoder, channels, image_size)
    if isinstance(config.learner, SelfSupervisedConfig):
        return _self_supervised(config, encoder, dim, channels, image_size)
    return _labeled(config, encoder, dim, class_of)


def _self_supervised(config: Config, encoder: nn.Module, dim: int, channels: int, image_size: int) -> SelfSupervised:
    with seeded(config.trainer.seed + 4):
        objective = config.objective.build(config.head.projector_out)
    check_sizes(config, objective)
    check_prepared(objective, encoder, channels, image_size)
    head, c, asked = config.head, config.calibration, config.regularizer
    assert not isinstance(c, (Uncalibrated, EncoderTC2Config))  # those of labeled tasks
    # Heads start alike under every calibration: their seed depends on nothing else.
    with seeded(config.trainer.seed + 1):
        projector = build_projector(config, dim, objective)
        predictor = build_predictor(config, objective)
    common: Branch = {"predictor": predictor, "where": c.where}
    if isinstance(config.objective, TargetOptions):
        common["momentum"] = config.objective.momentum
    if isinstance(asked, RegularizerOptions):
        common |= {"regularizer": asked.build(), "weight": asked.weight}
    if isinstance(config.condition, ConditionOptions) or isinstance(config.auxiliary, AuxiliaryOptions):
        check_views_differ(config, image_size)
    if isinstance(config.auxiliary, AuxiliaryOptions):
        check_auxiliary(config)
        with seeded(config.trainer.seed + 3):
            common |= {"auxiliary": config.auxiliary.build(dim), "auxiliary_weight": config.auxiliary.weight}
    rival = build_rival(config, encoder, objective, projector, common)
    if rival is not None:
        return rival
    if not isinstance(c, TC2Config):
        per_task, standardize = isinstance(c, TasksOnly), isinstance(c, Standardized)
        return SelfSupervised(
            encoder, objective, projector=projector, per_task=per_task, standardize=standardize, **common
        )
    return build_tc2(
        config, encoder, objective, projector, dim if c.where == "backbone" else head.projector_out, common
    )


def check_prepared(objective: Objective, encoder: nn.Module, channels: int, image_size: int) -> None:
    """Whether the objective can make its images of these, and the encoder takes them: known before anything is written.

    Raises:
        InputError: if not.
    """
    made, _ = objective.prepare(torch.zeros(1, 1, 2, channels, image_size, image_size))
    if made.shape[-1] == image_size:
        return
    like = next((p for p in encoder.parameters() if p.is_floating_point()), torch.empty(0))
    try:
        with unchanged(encoder), torch.no_grad():
            encoder.eval()(made.flatten(0, 2).to(like))
    except (InputError, RuntimeError, ValueError) as error:
        why = str(error).splitlines()[0].partition(";")[0]
        raise InputError(
            f"objective.name = {objective.name!r} makes images of {made.shape[-1]} pixels of those of {image_size}, and "
            f"{type(encoder).__name__} does not take them ({why}); set a larger objective.tile"
        ) from error


def check_views_differ(config: Config, image_size: int) -> None:
    """Whether there is anything to tell of how views were made.

    Raises:
        InputError: if views are rendered, or the recipe of ``[views]`` makes all alike.
    """
    asked = "condition" if isinstance(config.condition, ConditionOptions) else "auxiliary"
    tells = f"{asked}.name = {getattr(config, asked).name!r} tells how each view was made, and"
    if isinstance(config.episode, FactorEpisode):
        raise InputError(
            f"{tells} views of episode.tasks_differ_by = 'factor' are rendered; choose tasks that differ by nothing, views or "
            "domain, or leave it out"
        )
    if isinstance(config.episode, (SplitEpisode, DomainEpisode)):
        drawn = build_views(config, image_size).sample(4096, torch.Generator().manual_seed(0))
        if bool((drawn == drawn[0]).all()):
            raise InputError(
                f"{tells} the recipe of [views] makes all alike; choose one that draws (views.recipe = 'natural'), or leave it "
                "out"
            )


def check_auxiliary(config: Config) -> None:
    """Whether the auxiliary loss gets what it needs.

    Raises:
        InputError: if it compares images with the same descriptors and all have their own, or z is the projector's output.
    """
    shared = getattr(config.episode, "share_descriptors", None)
    if AUXILIARY[config.auxiliary.name].shared_descriptors and not shared:
        raise InputError(
            f"auxiliary.name = {config.auxiliary.name!r} compares images whose views were made alike, and every "
            "image has descriptors of its own; "
            "set episode.share_descriptors = 2 (tasks that differ by nothing)"
        )
    if getattr(config.calibration, "where", "backbone") == "projector":
        raise InputError(
            f"auxiliary.name = {config.auxiliary.name!r} is a loss of the encoder's output, and calibration.where is "
            "'projector'; use calibration.where = 'backbone'"
        )


def _labeled(config: Config, encoder: nn.Module, dim: int, class_of: Tensor | None) -> LabeledLearner:
    chosen, episode, c = config.learner, config.episode, config.calibration
    assert isinstance(chosen, LearnerOptions)
    assert isinstance(episode, LabeledEpisode)
    if chosen.freeze:
        for name in select(encoder, chosen.freeze, "learner.freeze"):
            encoder.get_parameter(name).requires_grad_(False)
    if isinstance(c, EncoderTC2Config):
        encoder = calibrated(
            encoder,
            shared_calibrator(config, c, dim),
            inner=calibration_loop(c, c.inner_lr, c.inner_clip),
            standardize=c.standardize,
            blend=c.blend,
        )
    tasks = Tasks(dim, max(episode.way, episode.way_most or 0), class_of)
    with seeded(config.trainer.seed + 1):
        return build_labeled(chosen, encoder, tasks)


def _range(low: int, high: int | None) -> int | tuple[int, int]:
    return low if high is None else (min(low, high), max(low, high))


def build_trainer_options(config: Config) -> TrainerOptions:
    """The part of ``[trainer]`` that the trainer itself needs."""
    asked = config.trainer
    values = {f.name: getattr(asked, f.name, None) for f in dataclasses.fields(TrainerOptions)}
    return TrainerOptions(**{name: value for name, value in values.items() if value is not None})
