"""Training with what ``[monitor]`` asks to be measured along the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from metatc2.data import ImageStore
from metatc2.experiment.build import build_data, build_views
from metatc2.experiment.config import CodingRateMonitor, Config, OnlineMonitor
from metatc2.training import Callback, Trainer
from metatc2.training.run_folder import RunFolder


def callbacks(config: Config, store: ImageStore) -> list[Callback]:
    """What is measured along the way, where that was asked for."""
    asked = config.monitor
    if not isinstance(asked, OnlineMonitor):
        return []
    from metatc2.experiment.online import Online

    images = store
    if asked.source is not None:
        data = config.data.replace(source=asked.source, image_size=store.image_size, channels=store.channels)
        images = build_data(replace(config, data=data))
    return [
        Online(
            images,
            measures=asked.measures,
            split=asked.split or (_validation(store, config.data.split) if asked.source is None else None),
            views=build_views(config, store.image_size),
            every=asked.every,
            images=asked.images,
            neighbors=asked.neighbors,
        )
    ]


def _validation(store: ImageStore, split: str) -> str:
    """Images for validation, where there are some, else those of pre-training."""
    return next((name for name in (split.replace("train", "validation"), "val") if name in store.splits), split)


def fit(
    trainer: Trainer, config: Config, folder: RunFolder, store: ImageStore, stop: Callable[[], bool] | None
) -> bool:
    """Train, monitored where that was asked for; whether the monitor ended it."""
    if not isinstance(config.monitor, CodingRateMonitor):
        trainer.fit() if stop is None else trainer.fit(stop=stop)
        return False
    from metatc2.experiment.monitor import Monitor

    monitor = Monitor(config, store, build_views(config, store.image_size), folder.path, trainer.step)
    first = trainer.ranks.first
    if first:
        monitor.begin()

    def ended() -> bool:
        encoder = trainer.encoder
        assert encoder is not None  # every learner that is built here exports one
        return first and monitor(trainer.step, encoder, last=trainer.step == config.trainer.steps)

    trainer.fit(stop=stop, ended=ended)
    return trainer.ranks.any(first and monitor.has_stopped_rising())
