"""From a configuration to the controls of TC² that are told what each task is, and to gradient surgery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from metatc2.augment.families import FAMILIES
from metatc2.conditioning import ToldProjector, ToldSettings, build_told
from metatc2.conditioning.views import ConditionOptions, HeadSizes
from metatc2.data.sources.shapes.render import FACTORS
from metatc2.episodes import LEVELS
from metatc2.errors import InputError
from metatc2.experiment.config import (
    Config,
    CutEpisode,
    DomainEpisode,
    FactorEpisode,
    SelfSupervisedConfig,
    TasksOnly,
    ViewsEpisode,
)
from metatc2.learners import GradientSurgery, SelfSupervised, SeparateLearner, UncertaintyWeighting
from metatc2.learners.branches import Branch
from metatc2.models.heads import Predictor, Projector
from metatc2.objectives import Objective

UNCERTAINTY = "uncertainty"


def tells(config: Config) -> str:
    """The setting by which a control is told of what kind each task is; empty where none is.

    >>> from metatc2.experiment.config import override
    >>> tells(override(Config(), ["head.told=film"]))
    "head.told = 'film'"
    """
    told = config.head.told
    if told is not None:
        return f"head.told = {told!r}"
    if config.encoder.one_a_kind:
        return "encoder.one_a_kind = true"
    return f"learner.aggregate = {UNCERTAINTY!r}" if aggregate(config) == UNCERTAINTY else ""


def aggregate(config: Config) -> str | None:
    """How the gradients of tasks are combined, where that was chosen."""
    return config.learner.aggregate if isinstance(config.learner, SelfSupervisedConfig) else None


def kinds_in(config: Config) -> int:
    """How many kinds of task the sampler of ``[episode]`` makes.

    Raises:
        InputError: if its tasks do not differ, or nothing says how many kinds there are.

    >>> from metatc2.experiment.config import override
    >>> kinds_in(override(Config(), ["episode.tasks_differ_by=factor"]))
    5
    """
    asked = tells(config) or "a control"
    episode = config.episode
    if isinstance(episode, FactorEpisode):
        return len(LEVELS[episode.level])
    if isinstance(episode, ViewsEpisode):
        return 1 if episode.recipes == "drawn" else len(FAMILIES)
    if isinstance(episode, DomainEpisode) and episode.kinds is not None:
        return episode.kinds
    if isinstance(episode, DomainEpisode):
        raise InputError(
            f"{asked} is told what each task is and needs the number of domains; set episode.kinds to that of the source"
        )
    raise InputError(
        f"{asked} is told what each task is and needs tasks that differ; set episode.tasks_differ_by to views, domain or factor"
    )


def check_kinds(config: Config, domains: int) -> None:
    """Whether what is told of domains is true.

    Args:
        config: see `Config`.
        domains: how many the images of pre-training have.

    Raises:
        InputError: if ``episode.kinds`` is another number, or is needed and not set.
    """
    asked, episode = tells(config), config.episode
    if not isinstance(episode, DomainEpisode):
        return
    if episode.kinds is None and asked:
        raise InputError(
            f"{asked} is told the domain of each task; say how many there are: set episode.kinds = {domains}"
        )
    if episode.kinds not in (None, domains):
        raise InputError(
            f"episode.kinds is {episode.kinds}, and {config.data.source} has {domains} domains; set episode.kinds = {domains}"
        )


def _check_several(config: Config) -> None:
    """One kind of task is nothing to be told; conditions of views differ within a kind."""
    asked = tells(config)
    if asked and not (config.head.told or "").endswith("-conditions") and kinds_in(config) == 1:
        raise InputError(
            f"{asked} tells kinds of task apart, and here there is one ({_one_kind(config)}); choose tasks of several kinds, "
            "or leave it out"
        )


def _one_kind(config: Config) -> str:
    episode = config.episode
    if isinstance(episode, ViewsEpisode):
        return f"episode.recipes = {episode.recipes!r}"
    if isinstance(episode, FactorEpisode):
        return f"episode.level = {episode.level!r}"
    return f"episode.kinds = {kinds_in(config)}"


def told_settings(config: Config, dim: int, options: dict[str, Any]) -> ToldSettings:
    """What a projector that is told is built from.

    Args:
        config: see `Config`.
        dim: width of the encoder.
        options: ``layers`` and ``norm_out`` of the `Projector`.
    """
    head, episode = config.head, config.episode
    conditions = 0
    if isinstance(episode, ViewsEpisode):
        conditions = len(FAMILIES)
    elif isinstance(episode, FactorEpisode):
        conditions = len(FACTORS)
    elif isinstance(episode, DomainEpisode):
        conditions = episode.kinds or 0
    return ToldSettings(
        dim,
        head.projector_hidden,
        head.projector_out,
        kinds=kinds_in(config),
        conditions=conditions,
        factors=config.calibration.factors if isinstance(config.calibration, TasksOnly) else None,
        generator=torch.Generator().manual_seed(config.trainer.seed + 2),
        **options,
    )


def build_projector(config: Config, dim: int, objective: Objective) -> nn.Module:
    """The projector of ``[head]``, told or not.

    Raises:
        InputError: if it is to be told two things at once, or descriptors of other images where images share theirs.
    """
    head = config.head
    options: dict[str, Any] = {"layers": head.projector_layers, "norm_out": objective.normalized_projector}
    condition = _condition(config, "projector")
    if condition is not None and tells(config):
        raise InputError(
            f"condition.name = {condition.name!r} tells the projector how views were made, and {tells(config)} tells what "
            "tasks are; use one at a time"
        )
    if (
        condition is not None
        and condition.descriptors == "random"
        and getattr(config.episode, "share_descriptors", None)
    ):
        raise InputError(
            "condition.descriptors = 'random' gives each view the descriptor of another image, and images share theirs "
            "(episode.share_descriptors); leave one of them out"
        )
    if config.encoder.one_a_kind:
        return build_told("heads", told_settings(config, dim // kinds_in(config), options))
    if head.told is not None:
        return build_told(head.told, told_settings(config, dim, options))
    if condition is not None:
        return condition.build(HeadSizes(dim=dim, hidden=head.projector_hidden, out=head.projector_out, **options))
    return Projector(dim, head.projector_hidden, head.projector_out, **options)


def build_predictor(config: Config, objective: Objective) -> nn.Module | None:
    """The predictor of ``[head]``, where the objective asks for one.

    Raises:
        InputError: if it is to be told how views were made, and there is none.
    """
    head, condition = config.head, _condition(config, "predictor")
    if not objective.predictor:
        if condition is not None:  # one that is told in both places would be told in one
            none = "none" if condition.where == "predictor" else "no predictor"
            raise InputError(
                f"condition.where is {condition.where!r}, and {objective.name} has {none}; use condition.where = 'projector', "
                "or --objective byol or simsiam"
            )
        return None
    if condition is not None:
        out = head.projector_out
        return condition.build(HeadSizes(dim=out, hidden=head.predictor_hidden, out=out))
    return Predictor(head.projector_out, head.predictor_hidden)


def _condition(config: Config, part: str) -> ConditionOptions | None:
    """What is said of a head that is told how views were made; None where it is not told."""
    said = config.condition
    return said if isinstance(said, ConditionOptions) and said.where in (part, "both") else None


def build_rival(
    config: Config, encoder: nn.Module, objective: Objective, projector: nn.Module, common: Branch
) -> SelfSupervised | None:
    """A learner that treats tasks apart without calibration, or None where none is asked for.

    Args:
        config: see `Config`.
        encoder, objective, projector: what is trained, and by what.
        common: arguments that every self-supervised learner has.

    Raises:
        InputError: if settings do not go together, or a name is unknown.
    """
    chosen, c, episode = aggregate(config), config.calibration, config.episode
    asked = [
        name
        for name, on in (
            ("head.told", config.head.told is not None),
            ("learner.aggregate", chosen is not None),
            ("encoder.one_a_kind", config.encoder.one_a_kind),
        )
        if on
    ]
    if not asked:
        return None
    if c.name != "tasks":
        raise InputError(
            f"{asked[0]} keeps tasks apart and calibrates nothing, and calibration.name is {c.name!r}; use --calibration tasks"
        )
    if chosen is not None and isinstance(episode, CutEpisode) and episode.tasks < 2:
        raise InputError(
            f"learner.aggregate = {chosen!r} combines the gradients of tasks, and episode.tasks is 1; cut the batch into 2 "
            "or more"
        )
    if len(asked) > 1:
        raise InputError(f"{asked[0]} and {asked[1]} are two controls; use one at a time")
    _check_several(config)
    if config.encoder.one_a_kind:
        if config.regularizer.name != "none":
            raise InputError("encoder.one_a_kind has no shared representation to regularize; use --regularize none")
        encoders: Sequence[nn.Module] = list(encoder.encoders)  # type: ignore[arg-type]
        assert isinstance(projector, ToldProjector)  # as `build_projector` makes it
        momentum = common.get("momentum", 0.99)
        return SeparateLearner(
            encoders, objective, projector=projector, predictor=common.get("predictor"), momentum=momentum
        )
    if chosen == UNCERTAINTY:
        return UncertaintyWeighting(encoder, objective, projector=projector, kinds=kinds_in(config), **common)
    if chosen is not None:
        return GradientSurgery(encoder, objective, projector=projector, aggregator=chosen, **common)
    return SelfSupervised(encoder, objective, projector=projector, per_task=True, **common)
