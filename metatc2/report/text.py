"""A configuration in a few sentences."""

from __future__ import annotations

from collections.abc import Sequence

from metatc2.conditioning.views import ConditionOptions
from metatc2.data.seen import UNKNOWN_SOURCE
from metatc2.experiment.config import (
    CalibratorConfig,
    Config,
    DomainEpisode,
    EpisodeConfig,
    FactorEpisode,
    LabeledEpisode,
    NoRegularizer,
    PythonConfig,
    SharedTC2Config,
    Standardized,
    TasksOnly,
    TaskTC2Config,
    TC2Config,
    UMMConfig,
    ViewsEpisode,
)
from metatc2.objectives import title_of
from metatc2.objectives.auxiliary import AuxiliaryOptions

_OPTIMIZERS = {"adamw": "AdamW", "sgd": "SGD", "lars": "LARS"}


def in_words(config: Config, made: Sequence[int] = ()) -> list[str]:
    """What was done, and how it was calibrated.

    Args:
        config: of a method.
        made: steps of each of its runs; by default those asked for.

    >>> from metatc2.experiment.config import override
    >>> for sentence in in_words(override(Config(), ["calibration.name=tc2"])):
    ...     print(sentence)
    The encoder conv4 was pre-trained on glyphs, split meta-train, with SimCLR on views of the recipe glyphs: 600 steps of
    256 images, each batch cut into 4 tasks, with AdamW at a peak learning rate of 0.002.
    TC² calibrates the encoder's output: factors for three quarters of its width that all tasks share, a linear weight
    network that each task adapts by 3 inner steps of sgd, differentiated by unroll.
    """
    trainer, encoder = config.trainer, config.encoder
    if isinstance(config.learner, PythonConfig):
        return [_of_a_program(config, config.learner)]
    width = f" of width {encoder.width}" if encoder.width else ""
    size = f" at {config.data.image_size} × {config.data.image_size} pixels" if config.data.image_size else ""
    optimizer = _OPTIMIZERS[trainer.optimizer]
    started = f", from the weights of {encoder.weights}," if encoder.weights else ""
    return [
        f"The encoder {encoder.name}{width} was pre-trained{started} on {config.data.source}, split {config.data.split}{size}, "
        f"with {_method(config, _steps(config, made))}, with {optimizer} at a peak learning rate of {trainer.lr:g}.",
        " ".join([_calibration(config), *_regularizer(config), *_condition(config), *_umm(config)]),
    ]


def _of_a_program(config: Config, learner: PythonConfig) -> str:
    trainer = config.trainer
    optimizer = learner.optimizer or f"{_OPTIMIZERS[trainer.optimizer]} at a peak learning rate of {trainer.lr:g}"
    on = (
        f"on {config.data.source}, split {config.data.split},"
        if config.data.source != UNKNOWN_SOURCE
        else "on episodes"
    )
    return (
        f"The encoder {config.encoder.name} was trained {on} by a program with Trainer: {learner.method}, {trainer.steps} "
        f"steps with {optimizer}."
    )


def listed(items: Sequence[object]) -> str:
    """Words in a row.

    >>> listed([0]), listed([0, 1]), listed([0, 1, 2])
    ('0', '0 and 1', '0, 1 and 2')
    """
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _steps(config: Config, made: Sequence[int]) -> str:
    asked = config.trainer.steps
    return f"{asked} steps" if set(made) <= {asked} else f"{listed(made)} of {asked} steps, ended by the monitor,"


def _method(config: Config, steps: str) -> str:
    episode = config.episode
    if isinstance(episode, LabeledEpisode):
        way = f"{episode.way} to {episode.way_most}" if episode.way_most else f"{episode.way}"
        shot = f"{episode.shot} to {episode.shot_most}" if episode.shot_most else f"{episode.shot}"
        return (
            f"the learner {config.learner.name}: {steps} of {episode.meta_batch} labeled tasks, {way}-way {shot}-shot "
            f"with {episode.query} queries a class"
        )
    objective = title_of(config.objective.name)
    # The plain objective sees its batch whole, whatever the task file says.
    cut = isinstance(config.calibration, (TasksOnly, TC2Config))
    tasks = f", each batch cut into {episode.tasks} tasks{_differ(episode)}" if cut and episode.tasks > 1 else ""
    seen = "rendered pairs" if isinstance(episode, FactorEpisode) else f"views of the recipe {config.views.recipe}"
    return f"{objective} on {seen}: {steps} of {episode.batch} images{tasks}"


def _differ(episode: EpisodeConfig) -> str:
    if isinstance(episode, ViewsEpisode):
        return f" that differ in their views ({episode.recipes})"
    if isinstance(episode, FactorEpisode):
        return f" that differ in what a pair shares ({episode.level})"
    return ", each of one domain" if isinstance(episode, DomainEpisode) else ""


def _regularizer(config: Config) -> list[str]:
    r = config.regularizer
    if isinstance(r, NoRegularizer):
        return []
    return [f"The regularizer {r.name} of the representation is added with weight {r.weight:g}."]


def _condition(config: Config) -> list[str]:
    c, auxiliary = config.condition, config.auxiliary
    said = []
    if isinstance(c, ConditionOptions):
        heads = {
            "projector": "The projector is",
            "predictor": "The predictor is",
            "both": "Projector and predictor are",
        }[c.where]
        whose = "each view" if c.descriptors == "own" else "a view of another image, a control"
        said.append(f"{heads} told by the descriptor of {whose} ({c.name}).")
    if isinstance(auxiliary, AuxiliaryOptions):
        said.append(f"The auxiliary loss {auxiliary.name} is added with weight {auxiliary.weight:g}.")
    return said


def _umm(config: Config) -> list[str]:
    umm = config.umm
    if not isinstance(umm, UMMConfig):
        return []
    of = f" of {umm.start}" if umm.start else ""
    return [
        f"Then UMM tuned the encoder{of} after the stage {umm.split} by {umm.steps} outer steps, differentiated by {umm.mode}."
    ]


def _calibration(config: Config) -> str:
    c = config.calibration
    if isinstance(c, Standardized):
        return "Representations are standardized over the episode and not calibrated: a control."
    if isinstance(c, TasksOnly):
        return "Batches are cut into tasks and nothing is calibrated: a control."
    if not isinstance(c, TC2Config):
        return "Nothing is calibrated."
    # On labeled tasks the calibrator sits on the encoder.
    at_projector = isinstance(c, (TaskTC2Config, SharedTC2Config)) and c.where == "projector"
    where = "the projector's output" if at_projector else "the encoder's output"
    factors = f"{c.factors} factors" if c.factors else "factors for three quarters of its width"
    plural = "s" * (c.inner_steps != 1)
    steps = f"{c.inner_steps} inner step{plural} of {c.inner_optimizer}, differentiated by {c.adjoint.name}"
    if isinstance(c, TaskTC2Config):
        of = {"task": "one weight a factor", "sample": "weights by sample", "linear": "a linear weight network"}[
            c.weights
        ]
        return f"TC² calibrates {where}: {factors} that all tasks share, {of} that each task adapts by {steps}."
    assert isinstance(c, CalibratorConfig)
    sentence = (
        f"{'TC²' if c.variant == 'tc2' else 'MetaCRL'} calibrates {where} by one calibrator for all tasks: {factors}, weights "
        f"by {c.weights}, {steps}."
    )
    controls = {
        "shuffle": "weights are shuffled between samples",
        "random-projection": "a fixed random projection stands in for the weights",
    }
    return sentence + (f" This is a control: {controls[c.control]}." if c.control != "none" else "")
