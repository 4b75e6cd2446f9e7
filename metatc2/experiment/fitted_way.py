"""The default number of classes of labeled tasks, fitted to what the images have."""

from __future__ import annotations

from dataclasses import dataclass

from metatc2.data import ImageStore
from metatc2.episodes.labeled import classes_for
from metatc2.experiment.build import build_data
from metatc2.experiment.config import Config, LabeledEpisode, override


@dataclass(frozen=True)
class FittedConfig:
    """A configuration whose ``episode.way`` the images allow, where nothing was said of it.

    Args:
        config: with ``episode.way`` as it is trained, recorded and compared with that of a run to go on with.
        store: the data, where they had to be loaded; None otherwise.
        note: what was changed, and why; empty where nothing was.
    """

    config: Config
    store: ImageStore | None = None
    note: str = ""


def fit_way(config: Config, store: ImageStore | None = None) -> FittedConfig:
    """Lower the default ``episode.way`` to the classes that are there. One that was given, in a file or typed, stays.

    Args:
        config: see `Config`.
        store: the data, where they have been loaded; otherwise they are where the answer depends on them.

    Raises:
        InputError: if the source cannot be had.

    >>> from metatc2.experiment.config import override, read_task
    >>> asked = override(read_task("digits"), ["learner.name=maml"])
    >>> fitted = fit_way(asked)
    >>> asked.episode.way, fitted.config.episode.way, fit_way(fitted.config).note
    (5, 4, '')
    """
    episode = config.episode
    if not isinstance(episode, LabeledEpisode) or {"way", "way_most"} & episode.model_fields_set:
        return FittedConfig(config, store)
    store = store or build_data(config)
    shot, split = max(episode.shot, episode.shot_most or 0), config.data.split
    classes = classes_for(store, split, shot + episode.query)
    if not 2 <= classes < episode.way:  # of fewer the sampler says what is wrong
        return FittedConfig(config, store)
    note = (
        f"episode.way = {classes}, not {episode.way}: {store.name}:{split} has {classes} classes with the "
        f"{shot + episode.query} images that shot {shot} and query {episode.query} take (--set episode.way=N sets another)"
    )
    return FittedConfig(override(config, [f"episode.way={classes}"], "fitted to the images"), store, note)
