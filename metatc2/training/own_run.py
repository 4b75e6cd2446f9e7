"""What a trainer's own run folder gets at the end of training, so that every command can read it.

``config.toml`` with what is known of a training from Python: its data, its encoder by name, its settings; and
``encoder.safetensors``, the last to be written, since a folder that has it is a finished run.
"""

from __future__ import annotations

import dataclasses
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from torch import Tensor, nn
from torch.utils.data import DataLoader

from metatc2.data import ImageStore
from metatc2.data.seen import UNKNOWN_SOURCE, SeenClasses
from metatc2.episodes import Episode
from metatc2.errors import InputError, kind_of
from metatc2.io.files import printable, read_file, write_atomically, writing
from metatc2.io.run_files import CONFIG, ENCODER
from metatc2.io.run_files import LEARNER as LEARNER_FILE
from metatc2.io.safetensors_file import tensors_sha256
from metatc2.io.weights_file import encode_module, module_tensors
from metatc2.learners import LabeledLearner, Learner
from metatc2.learners.learner_settings import learner_settings
from metatc2.models.naming import encoder_name
from metatc2.models.python import UNKNOWN
from metatc2.training.described import described
from metatc2.training.options import TrainerOptions
from metatc2.training.run_folder import RunFolder

#: Name of the learner in the configuration of such a run.
LEARNER = "python"


@dataclass(frozen=True)
class OwnRun:
    """What is known of a training before it is made.

    Args:
        channels: of the images.
        image_size: side of the images in pixels.
        encoder: name by which it is built again.
        width: likewise, where the name leaves it open.
        store: what the sampler draws from, where it says it.
        split: of it.
        settings: of the learner, see `described`.
        episodes: likewise, of what makes them.
        adapts: the learner on labeled tasks as assignments of a configuration, see `learner_settings`; empty of others.
    """

    channels: int
    image_size: int
    encoder: str
    width: int | None
    store: ImageStore | None
    split: str
    settings: str
    episodes: str
    adapts: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, encoder: nn.Module, sampler: Any, images: Tensor, given: str | None, *, settings: str, episodes: str
    ) -> OwnRun:
        """What is known of a run that commands can measure.

        Args:
            encoder: of the learner.
            sampler: that made the episodes.
            images: of the first one, see `Samples`.
            given: how the encoder is made, if the user says it.
            settings, episodes: see `OwnRun`.

        Raises:
            InputError: if what the user says makes another encoder.
        """
        channels, size = images.shape[-3:-1]
        name, width = encoder_name(encoder, channels=channels, image_size=size, given=given)
        source = getattr(sampler, "dataset", sampler)  # of a DataLoader
        store, split = getattr(source, "store", None), getattr(source, "split", "all")
        known = store if isinstance(store, ImageStore) else None
        return cls(channels, size, name, width, known, str(split), settings, episodes)

    def files(
        self,
        learner: Learner,
        encoder: nn.Module,
        options: TrainerOptions,
        about: Mapping[str, Any],
        steps: int,
        seconds: float,
    ) -> dict[str, bytes]:
        """Files by name, the encoder last.

        Args:
            learner: that was trained.
            encoder: trained; an average, where one was asked for.
            options: that it was trained with.
            about: the trainer's: a ``"seed"`` and a ``"method"`` in it are the run's.
            steps, seconds: what training cost.
        """
        seed = about.get("seed", 0)
        tree = {
            "data": {
                "source": UNKNOWN_SOURCE if self.store is None else printable(self.store.name),
                "split": self.split,
                "image_size": self.image_size,
                "channels": self.channels,
            },
            "encoder": {"name": self.encoder, **({} if self.width is None else {"width": self.width})},
            "learner": {
                "name": LEARNER,
                "method": str(about.get("method", _method(learner))),
                "settings": self.settings,
                "episodes": self.episodes,
                **({"adapts": list(self.adapts)} if self.adapts else {}),
                **_own(options),
            },
            "trainer": {
                "steps": steps,
                "seed": seed if type(seed) is int and 0 <= seed < 2**63 else 0,
                **_of_the_optimizer(options),
                "clip": float(options.clip),
                "checkpoint_every": max(1, options.checkpoint_every),
                "log_every": options.log_every,
                **{
                    key: value
                    for key in ("optimizer", "schedule", "ema", "swa_from")
                    if isinstance(value := getattr(options, key), str | float) and value != getattr(TrainerOptions, key)
                },
            },
        }
        facts = {
            "format": "metatc2",
            "channels": self.channels,
            "image_size": self.image_size,
            "steps": steps,
            "seconds": round(seconds, 2),
            **self._seen(),
        }
        files = {CONFIG: tomli_w.dumps(tree).encode()}
        if self.adapts:
            facts["classes"] = _classes(self.store)
            files[LEARNER_FILE] = encode_module(learner, facts)
            facts["beside"] = {LEARNER_FILE.partition(".")[0]: tensors_sha256(module_tensors(learner))}
        return {**files, ENCODER: encode_module(encoder, facts)}

    def _seen(self) -> dict[str, str]:
        """What the encoder saw; reads the images once."""
        if self.store is None:
            return {}
        try:
            return SeenClasses.of(self.store, self.split).to_facts()
        except InputError:  # a sampler of the user's own may call something else its split
            return {}


class NotForCommands(UserWarning):
    """A run folder keeps records and checkpoints, and nothing that commands could measure."""


class OwnFiles:
    """What makes the folder of a program's training one that commands read.

    Args:
        folder: of the training; None where there is none, and on all processes but the first.
        sampler: as the program gave it.
        made_by: how the encoder is made, if the program says it.
        learner: as it is before training.
    """

    def __init__(self, folder: RunFolder | None, sampler: Any, made_by: str | None, learner: Learner) -> None:
        self.folder, self.sampler, self.made_by = folder, sampler, made_by
        own = folder is not None and is_own(folder.config)
        self._described = (described(learner), _episodes(sampler)) if own else ("", "")
        self._looked = False
        self._run: OwnRun | None = None

    def look_at(self, learner: Learner, episode: Episode) -> None:
        """Before the first step: what the folder will say of this training, where no command wrote it.

        Raises:
            InputError: see `OwnRun.of`.
        """
        if self.folder is None or self._looked:
            return
        self._looked = True
        if not is_own(self.folder.config):
            return
        encoder, images = learner.exports().get("encoder"), episode.support.images
        if encoder is None or images.ndim != 6:  # nothing that is about images
            return
        if problem := _unfit(encoder, images):
            warnings.warn(
                f"{self.folder.path}: commands will not measure what is trained here: {problem}; measure it from Python with "
                "metatc2.transfer.evaluate",
                NotForCommands,
                stacklevel=4,
            )
            return
        settings, episodes = self._described
        run = OwnRun.of(encoder, self.sampler, images, self.made_by, settings=settings, episodes=episodes)
        if run.encoder == UNKNOWN:
            warnings.warn(
                f"{self.folder.path}: commands cannot measure what is trained here until its config.toml says what makes the "
                f"encoder, {kind_of(encoder)}, which no name is known of; write a function that makes it in a module "
                'of its own and pass Trainer(..., encoder="MODULE:FUNCTION"), or measure it from Python with '
                "metatc2.transfer.evaluate",
                NotForCommands,
                stacklevel=4,
            )
        elif isinstance(learner, LabeledLearner):
            try:
                adapts = learner_settings(learner, images.flatten(0, 2)[:1], classes=_classes(run.store))
                encode_module(learner, {})  # what cannot be written should not take a training to find out
                run = dataclasses.replace(run, adapts=adapts)
            except InputError as error:
                warnings.warn(
                    f"{self.folder.path}: commands will measure the encoder alone, and not the learner as it adapts to a task: "
                    f"{error}; learner.predict does that from Python",
                    NotForCommands,
                    stacklevel=4,
                )
        self._run = run

    def write(
        self,
        learner: Learner,
        encoder: nn.Module | None,
        options: TrainerOptions,
        about: Mapping[str, Any],
        *,
        steps: int,
        seconds: float,
    ) -> None:
        """After the last step; arguments as of `OwnRun.files`."""
        if self._run is None or self.folder is None or encoder is None:
            return
        self.folder.require_there()
        made = self._run.files(learner, encoder, options, about, steps=steps, seconds=seconds)
        for name, content in made.items():
            with writing(self.folder.path / name):
                write_atomically(self.folder.path / name, content)


def _unfit(encoder: nn.Module, images: Tensor) -> str:
    """Why commands could not measure such an encoder; empty where they can."""
    channels, height, width = images.shape[3:]
    if height != width:
        return f"images are {channels} × {height} × {width}, and commands take square ones"
    try:
        encode_module(encoder, {})
    except InputError as error:
        return str(error)
    return ""


def _classes(store: ImageStore | None) -> int:
    return 0 if store is None else len(store.class_names)


def is_own(config: Path) -> bool:
    """Whether a configuration was written here, and not by ``metatc2 pretrain``; also where there is none."""
    if not config.exists():
        return True
    try:
        tree = tomllib.loads(read_file(config).decode())
        return bool(tree["learner"]["name"] == LEARNER)
    except (ValueError, KeyError, TypeError):
        return False


def _method(learner: Learner) -> str:
    objective = getattr(learner, "objective", None)
    name = type(learner).__name__
    return f"{name}({type(objective).__name__})" if isinstance(objective, nn.Module) else name


def _episodes(sampler: Any) -> str:
    if not isinstance(sampler, DataLoader):
        return described(sampler)
    return f"{described(sampler.dataset)} in batches of {sampler.batch_size}"


def _of_the_optimizer(options: TrainerOptions) -> dict[str, float]:
    """What functions of the program do not stand in the place of."""
    names: list[str] = [] if callable(options.optimizer) else ["lr", "weight_decay"]
    names += [] if callable(options.schedule) else ["warmup"]
    return {name: float(getattr(options, name)) for name in names}


def _own(options: TrainerOptions) -> dict[str, str]:
    """Names of the functions that stand for a name."""
    given = {key: getattr(options, key) for key in ("optimizer", "schedule")}
    return {
        key: f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
        for key, value in given.items()
        if callable(value)
    }
