"""What `metatc2 diagnose` does: a run's features and task conflict, written beside its results."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from metatc2.conditioning.views import ConditionOptions
from metatc2.data import ImageStore
from metatc2.diagnostics import Diagnosis, diagnose
from metatc2.diagnostics.diagnose import check_numbers
from metatc2.errors import InputError
from metatc2.experiment.build import AnySampler, build_sampler, build_views
from metatc2.experiment.config import CalibratorConfig, CutEpisode, PythonConfig
from metatc2.experiment.load import is_network, load_pretrained, split_layer, split_weights
from metatc2.experiment.run import Run, load_run
from metatc2.experiment.run_config import sources_from
from metatc2.experiment.targets import Sources, require_loadable
from metatc2.experiment.trained_learner import trained_learner
from metatc2.io.files import check_writable, printable, write_atomically, writing
from metatc2.io.run_files import DIAGNOSIS
from metatc2.io.suggest import SOURCE, command
from metatc2.learners import SelfSupervised
from metatc2.training.run_folder import RunFolder
from metatc2.transfer import parse_target

_CURE = "see to it that you may write there, or copy the run folder and diagnose the copy"


def run(
    path: Path,
    *,
    on: str | None = None,
    against: Sequence[str] = (),
    episodes: int = 2,
    resplits: int = 39,
    max_images: int = 4096,
    seed: int = 0,
) -> Diagnosis:
    """Diagnose a run and write ``diagnose.json`` into its folder.

    Task conflict and gradient agreement are those of the trained learner, heads included, from the run's last checkpoint;
    they are left out for learners on labeled tasks, whose tasks have no self-supervised loss. What the features tell of
    known factors is measured where the source knows them (``shapes``).

    Args:
        path: run folder.
        on: ``SOURCE[:SPLIT]`` whose images are looked at; by default what the run was trained on.
        against: further encoders (see `load_pretrained`) to compare features with, on the same images; ``NAME@LAYER`` for an
            inner stage.
        episodes, resplits, max_images, seed: see `metatc2.diagnostics.diagnose`.

    Raises:
        InputError: if anything is wrong; nothing is written then.
    """
    check_numbers(
        episodes, resplits, max_images, seed
    )  # what is refused should not take the loading of images to find out
    if path.is_dir():
        check_writable(path, _CURE)  # nor that of an encoder to find out that nothing can be written
    trained = load_run(path)
    data, c = trained.config.data, trained.config.calibration
    source, split = parse_target(on) if on else (data.source, data.split)
    on_another = command("diagnose", path, "--on", SOURCE)
    require_loadable((source,), trained.config, path, on_another, "--on npz:FILE.npz")
    with sources_from(RunFolder(path), trained.config):
        store = Sources.of(data).store(source, trained.pretrained)
    others = {}
    for name in against:
        encoder, layer = split_layer(name)
        other = load_pretrained(encoder, image_size=_size(encoder, trained)).with_layer(layer)
        if (other.channels, other.image_size) != (trained.channels, trained.image_size):
            raise InputError(
                f"diagnose: {name} takes {other.channels} × {other.image_size} × {other.image_size} images and {path} "
                f"{trained.channels} × {trained.image_size} × {trained.image_size}; compare encoders of the same images"
            )
        others[name] = other.encoder
    learner = trained_learner(trained)
    if isinstance(trained.config.learner, PythonConfig):
        warnings.warn(
            f"{path}: a program trained it, with views that cannot be made again from here; alignment and ΔR are of views of "
            f"the recipe {trained.config.views.recipe!r}",
            ViewsNotKnown,
            stacklevel=2,
        )
    if isinstance(trained.config.condition, ConditionOptions):
        warnings.warn(
            f"{path}: its heads are told how views were made (condition.name = {trained.config.condition.name!r}), which "
            "measures of task conflict and gradient agreement cannot do; they are left out",
            NotMeasured,
            stacklevel=2,
        )
        learner = None
    trained_on = store if source == data.source else None
    diagnosis = diagnose(
        trained.encoder,
        store,
        split or "all",
        views=build_views(trained.config, trained.image_size),
        calibrator=trained.calibrator,
        standardized=not isinstance(c, CalibratorConfig) or c.standardize,
        blend=c.blend if isinstance(c, CalibratorConfig) else 1.0,
        against=others,
        learner=learner,
        sampler=None if learner is None else _sampler(trained, learner, trained_on or _own(trained)),
        episodes=episodes,
        resplits=resplits,
        max_images=max_images,
        seed=seed,
    )
    with writing(path / DIAGNOSIS, _CURE):
        write_atomically(path / DIAGNOSIS, printable(diagnosis.to_json()).encode())
    return diagnosis


class ViewsNotKnown(UserWarning):
    """What is measured of views is of others than those of training."""


class NotMeasured(UserWarning):
    """A part of the diagnosis that cannot be measured of a run is left out."""


def _size(name: str, trained: Run) -> int | None:
    return trained.image_size if is_network(split_weights(name)[0]) else None


def _own(trained: Run) -> ImageStore:
    return Sources.of(trained.config.data).store(trained.config.data.source, trained.pretrained)


def _sampler(trained: Run, learner: SelfSupervised, store: ImageStore) -> AnySampler:
    """Episodes as in training; where a side of a task is too small for a loss of its own, of larger tasks, or fewer ones.

    Raises:
        InputError: if there are too few images for two tasks.
    """
    episode, least = trained.config.episode, learner.objective.min_samples
    assert isinstance(episode, CutEpisode)  # of a self-supervised learner
    task = episode.batch // episode.tasks
    support = round(episode.support * task)
    if min(support, task - support) >= least:
        return build_sampler(trained.config, store)
    images = len(store.rows(trained.config.data.split))
    tasks = min(episode.tasks, images // (2 * least)) if episode.tasks > 1 else 1
    if tasks < 2:
        raise InputError(
            f"diagnose: task conflict needs 2 tasks or more, each of {2 * least} images, and {trained.path} was trained on "
            f"{images} images in episode.tasks = {episode.tasks}; train on more images, in 2 tasks or more"
        )
    larger = episode.replace(tasks=tasks, batch=2 * least * tasks, support=0.5)
    return build_sampler(replace(trained.config, episode=larger), store)
