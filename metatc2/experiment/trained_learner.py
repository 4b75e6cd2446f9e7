"""The learner of a run as its last step left it: heads and calibrator included, which the encoder's file has not."""

from __future__ import annotations

from metatc2.errors import InputError
from metatc2.experiment.build import build_learner
from metatc2.experiment.run import Run
from metatc2.experiment.weights import load_state, read_beside, read_tensors
from metatc2.experiment.weights_header import Header
from metatc2.io.suggest import command
from metatc2.learners import SelfSupervised
from metatc2.training.checkpoint import load_checkpoint
from metatc2.training.run_folder import RunFolder


def trained_learner(run: Run) -> SelfSupervised | None:
    """From the run's last checkpoint, or its heads where none is left; None on labeled tasks, or where neither is there.

    Raises:
        InputError: if they do not fit the run's configuration.
    """
    folder = RunFolder(run.path)
    if run.config.learner.name != "ssl":
        return None
    checkpoint = folder.latest
    if checkpoint is None:
        return with_heads(run) if folder.heads.exists() else None
    learner = build_learner(run.config, run.channels, run.image_size)
    assert isinstance(learner, SelfSupervised)  # what "ssl" builds
    try:
        learner.load_state_dict(load_checkpoint(checkpoint)[1]["learner"])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"{checkpoint} does not fit the learner of {run.path}/config.toml; train the run again"
        ) from error
    return learner


def with_heads(run: Run) -> SelfSupervised:
    """A run's encoder with its trained heads.

    Raises:
        InputError: if the run has none: it is of a learner on labeled tasks, or of a version that did not keep them; or they
            are damaged.
    """
    folder = RunFolder(run.path)
    if run.config.learner.name != "ssl":
        raise InputError(
            f"{run.path} has no trained heads, since the learner {run.config.learner.name!r} is not made from an objective; "
            "name a run of an objective"
        )
    if not folder.heads.exists():
        raise InputError(
            f"{run.path} has no {folder.heads.name}: the version that trained it did not keep its heads; train it again with "
            f"{command('pretrain', 'TASK', '--run', 'DIR')}"
        )
    learner = build_learner(run.config, run.channels, run.image_size)
    assert isinstance(learner, SelfSupervised)  # what "ssl" builds
    tensors, facts = read_tensors(folder.encoder)
    heads = read_beside(folder.heads, Header.of(facts, tensors, folder.encoder))
    whole = {**{f"encoder.{name}": t for name, t in tensors.items()}, **heads}
    load_state(learner, whole, folder.heads, folder.config)
    return learner
