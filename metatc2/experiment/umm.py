"""What `metatc2 umm` does: a finished run with its late part tuned, as a run folder of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from metatc2.data import ImageStore
from metatc2.episodes import Episode, Sampler, Samples
from metatc2.errors import InputError
from metatc2.experiment.build import build_data, build_sampler, build_trainer_options
from metatc2.experiment.config import Config, Mode, UMMConfig, merge, override, write_config
from metatc2.experiment.run import Run, load_run, process_state
from metatc2.experiment.run_config import sources_from
from metatc2.experiment.trained_files import trained_files
from metatc2.experiment.trained_learner import with_heads
from metatc2.experiment.weights import read_tensors
from metatc2.inner import Adjoint, FiniteDifference, FirstOrder, InnerLoop, Unroll, inner_optimizer
from metatc2.io.files import check_new_folder, write_folder_atomically, write_synced, writing
from metatc2.io.run_files import CONFIG, METRICS
from metatc2.learners import TC2, UMM, SelfSupervised
from metatc2.ops.module_state import evaluation_mode
from metatc2.training import Trainer
from metatc2.training.metrics_file import append_metrics
from metatc2.training.run_folder import RunFolder

#: How each mode differentiates the inner loop; steps that alternate have none.
ADJOINTS: dict[Mode, Adjoint | None] = {
    "exact": Unroll(),
    "finite-difference": FiniteDifference(),
    "first-order": FirstOrder(),
    "alternate": None,
}


def run(
    path: Path,
    *,
    split: str,
    mode: str | None = None,
    steps: int | None = None,
    assignments: Sequence[str] = (),
    out: Path | None = None,
    show: bool = False,
) -> Run:
    """Tune the late part of a finished run and write a run folder; the one it starts from is only read.

    Nothing is written before the end: a call that was cut leaves no trace.

    Args:
        path: run folder, with trained heads.
        split: last stage of the early part.
        mode, steps: ``umm.mode`` and ``umm.steps``.
        assignments: further keys of ``[umm]``, ``umm.beta=0.5``.
        out: folder to write, which must be new; by default ``PATH-umm``.
        show: show live progress.

    Raises:
        InputError: if the run is not finished, has no heads or no such stage, was trained on other than a plain objective,
            its data have changed, a key is wrong, or the folder is in use.
        TrainingDiverged: if the loss is no longer finite.
    """
    out = out or Path(f"{path}-umm")
    require_new(out)
    start = load_run(path)
    learner = with_heads(start)
    config = configured(start, split, mode, steps, assignments)
    if type(learner) not in (SelfSupervised, TC2):
        raise InputError(
            f"{path} was trained by {type(learner).__name__}, and UMM goes on with --calibration none, standardize, tasks or "
            "tc2 (adapt = 'task'); name such a run"
        )
    with process_state(config), sources_from(RunFolder(path), start.config):
        try:
            umm = build_umm(config, learner)
        except InputError as error:  # of the learner, which knows no path
            raise InputError(f"{path}: {error}") from error
        check_chain(umm, start)
        store = build_data(config)
        require_same_data(start, store)
        assert isinstance(config.umm, UMMConfig)
        options = dataclasses.replace(
            build_trainer_options(config),
            steps=config.umm.steps,
            lr=config.umm.lr,
            lengthened=(),
            checkpoint_every=0,
            # On one device, however many the run had.
            devices=1,
            nodes=1,
            accumulate=1,
        )
        trainer = Trainer(umm, TwoBatches(build_sampler(config, store)), options, show=show)
        check_derivatives(umm, trainer.fabric.device)
        trainer.fit()
    files = trained_files(
        umm,
        config,
        store,
        steps=start.steps + trainer.step,
        seconds=start.seconds + trainer.seconds,
        earlier=None if start.pretrained.seen is None else start.pretrained.seen.earlier,
    )

    def fill(aside: Path) -> None:
        write_config(config, aside / CONFIG)
        for record in trainer.history:
            append_metrics(aside / METRICS, record)
        for name, content in files.items():
            write_synced(aside / name, content)

    require_new(out)  # no other process was faster
    with writing(out):
        write_folder_atomically(out, fill)
    return load_run(out)


def configured(start: Run, split: str, mode: str | None, steps: int | None, assignments: Sequence[str]) -> Config:
    """The run's configuration with a section ``[umm]``.

    Raises:
        InputError: if a key is of another section or does not act, or a value is wrong.
    """
    if others := [word for word in assignments if not word.strip().startswith("umm.")]:
        raise InputError(
            f"umm: --set {others[0]}: the stage goes on with the run's own configuration, and only keys of [umm] can be set, "
            "e.g. --set umm.beta=0.5"
        )
    given = {"name": "umm", "start": str(start.path), "split": split, "mode": mode, "steps": steps}
    flags = {key: value for key, value in given.items() if value is not None}
    config = override(merge(start.config, {"umm": flags}, "command line"), assignments)
    idle = [word for word in assignments if word.strip().startswith("umm.inner_")]
    if idle and isinstance(config.umm, UMMConfig) and config.umm.mode == "alternate":
        raise InputError(
            f"umm: --set {idle[0]}: steps that alternate have no inner loop; use --mode exact, finite-difference or "
            "first-order, or leave it out"
        )
    return config


def build_umm(config: Config, learner: SelfSupervised) -> UMM:
    """The learner of ``[umm]`` on a trained one.

    Raises:
        InputError: if the encoder cannot be split there.
    """
    c = config.umm
    assert isinstance(c, UMMConfig)
    adjoint = ADJOINTS[c.mode]
    inner = None
    if adjoint is not None:
        inner = InnerLoop(inner_optimizer(c.inner_optimizer, c.inner_lr), c.inner_steps, adjoint)
    return UMM(learner, c.split, inner=inner, beta=c.beta, gamma=c.gamma, eps2=c.eps2)


def check_chain(umm: UMM, start: Run) -> None:
    """Refuse an encoder that is not what its stages say.

    Raises:
        InputError: if early and late part together give other features.
    """
    images = torch.rand(
        2, start.channels, start.image_size, start.image_size, generator=torch.Generator().manual_seed(0)
    )
    encoder = umm.learner.encoder
    with evaluation_mode(encoder), torch.no_grad():
        whole, chain = encoder(images), umm.late(umm.early(images))
    if whole.shape != chain.shape or not torch.allclose(whole, chain, rtol=1e-3, atol=1e-5):
        raise InputError(
            f"{type(encoder).__name__}: its stages one after the other do not give its features; mend its method stages()"
        )


def check_derivatives(umm: UMM, device: torch.device) -> None:
    """Refuse the exact mode where batch normalization has no third derivative, which a gradient of the alignment term takes.

    Raises:
        InputError: if it has none on this device.
    """
    exact = umm.inner is not None and isinstance(umm.inner.adjoint, Unroll) and umm.beta > 0
    if exact and device.type != "cpu" and any(isinstance(part, _BatchNorm) for part in umm.late.modules()):
        raise InputError(
            "umm.mode = 'exact' takes a third derivative of batch normalization, which is there on the CPU alone; use --mode "
            "finite-difference or first-order, --set umm.beta=0, or a run with trainer.accelerator = 'cpu'"
        )


def require_same_data(start: Run, store: ImageStore) -> None:
    """Refuse to go on with other images than those of the run.

    Raises:
        InputError: if the checksum of the data is another.
    """
    known = read_tensors(RunFolder(start.path).encoder)[1].get("data")
    if known not in (None, store.checksum()):
        raise InputError(
            f"{start.config.data.source} is no longer what {start.path} was trained on; restore the data, or pre-train anew"
        )


def require_new(out: Path) -> None:
    """Refuse a folder in which there is something.

    Raises:
        InputError: if there is, or it cannot be written.
    """
    # It is made beside itself and renamed.
    check_new_folder(out, "name a new folder of yours with --out", written=out.parent if out.parent.exists() else out)


class TwoBatches:
    """Two episodes of a sampler as one: the first is its support side, the second its query side.

    Args:
        sampler: of episodes whose both sides are seen together.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler

    def sample(self) -> Episode:
        """The next two batches; tasks keep the identity that they have in the first."""
        first, second = self.sampler.sample(), self.sampler.sample()
        return Episode(_whole(first), _whole(second), first.identity)


def _whole(episode: Episode) -> Samples:
    support, query = episode.support, episode.query
    return Samples(episode.images, None, episode.descriptors, torch.cat([support.index, query.index], 1))
