"""``[episode]``: how a batch is cut into tasks, or how labeled tasks are drawn."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from metatc2.errors import InputError
from metatc2.io.options import Count, Options


class CutEpisode(Options):
    """A batch that is cut into tasks.

    >>> SplitEpisode(tasks=3)
    Traceback (most recent call last):
    metatc2...WrongOption: episode.batch = 256 cannot be cut into episode.tasks = 3 equal tasks of at least 2
    images; the nearest valid batch is 255
    """

    section = "episode"

    tasks_differ_by: str = Field(
        description="what makes each task another: its views, the domain of its images, the factors that a pair shares"
    )
    tasks: Count = Field(4, ge=1, description="tasks that a batch is cut into")
    batch: Count = Field(256, ge=2, description="images a batch, all tasks together")
    support: float = Field(0.5, gt=0, lt=1, description="share of a task's images that the inner loop adapts on")

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        # A task needs one image on each side, support and query.
        size = max(2, (2 * self.batch + self.tasks) // (2 * self.tasks))
        if self.batch % self.tasks or self.batch < 2 * self.tasks:
            raise InputError(
                f"episode.batch = {self.batch} cannot be cut into episode.tasks = {self.tasks} equal tasks of at least "
                f"2 images; the nearest valid batch is {size * self.tasks}"
            )
        return self


def _differ(by: str) -> Any:
    """The tag of one way in which tasks differ."""
    return Field(by, description=CutEpisode.model_fields["tasks_differ_by"].description)


class SplitEpisode(CutEpisode):
    """Tasks that differ by nothing but their images."""

    tasks_differ_by: Literal["nothing"] = _differ("nothing")
    assign: Literal["random", "cluster", "domain"] = Field(
        "random", description="how images are assigned to tasks: random, similar or near domains together"
    )
    share_descriptors: Count | None = Field(
        None,
        ge=2,
        description="images that get views of the same descriptors, for the auxiliary loss stl; unset: each its own",
    )


class ViewsEpisode(CutEpisode):
    """Tasks that differ by their augmentations."""

    tasks_differ_by: Literal["views"] = _differ("views")
    recipes: Literal["drawn", "one", "all-but-one"] = Field(
        "drawn", description="augmentations drawn for each task, one family, or all but one"
    )


class DomainEpisode(CutEpisode):
    """Tasks of one domain each."""

    tasks_differ_by: Literal["domain"] = _differ("domain")
    kinds: Count | None = Field(None, ge=1, description="how many domains there are, for controls that are told")


class FactorEpisode(CutEpisode):
    """Tasks that differ by the factors of rendered objects that a pair shares."""

    tasks_differ_by: Literal["factor"] = _differ("factor")
    level: Literal["same", "one-more", "contradiction", "per-sample", "per-sample-hue"] = Field(
        "one-more", description="which notions of the same the tasks have"
    )


class LabeledEpisode(Options):
    """Labeled tasks."""

    section = "episode"

    meta_batch: int = Field(4, ge=1, le=4096, description="labeled tasks an episode")
    way: Count = Field(
        5, ge=2, description="classes of a labeled task; where not given, fewer if the images have fewer"
    )
    way_most: Count | None = Field(
        None, ge=2, description="other end of a range that each episode draws its number of classes from"
    )
    shot: Count = Field(1, ge=1, description="labeled images a class that a labeled task learns from")
    shot_most: Count | None = Field(None, ge=1, description="other end of a range for the number of images a class")
    query: Count = Field(15, ge=1, description="images a class that a labeled task is evaluated on")
    replacement: bool = Field(True, description="whether a class may come again before all classes have been seen")
    augment: bool = Field(False, description="whether images of labeled tasks are augmented by the recipe of [views]")


EpisodeConfig = SplitEpisode | ViewsEpisode | DomainEpisode | FactorEpisode | LabeledEpisode
