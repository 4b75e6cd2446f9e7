"""Tasks of rendered pairs: each task has its own notion of what is the same."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metatc2.data.sources.shapes.dataset import in_part
from metatc2.data.sources.shapes.render import FACTORS, LISTS, draw_factors, render
from metatc2.episodes.episode import Episode, TaskIdentity
from metatc2.episodes.epochs import Cut
from metatc2.episodes.sampler import TaskSource, assign_evenly, seeded_stream
from metatc2.episodes.samples import Samples
from metatc2.errors import InputError, nearest

_SHAPE, _TEXTURE = FACTORS.index("shape"), FACTORS.index("texture")
_HALF = len(LISTS["shape"]) // 2


@dataclass(frozen=True)
class Notion:
    """What two images of a positive pair share in tasks of one kind; all else is drawn anew.

    Args:
        name: of the kind.
        keeps: factors that every pair shares.
        keeps_in: of ``(first shape, last shape, factor)``: pairs of these shapes share that factor too.
    """

    name: str
    keeps: tuple[str, ...]
    keeps_in: tuple[int, int, str] | None = None


_OBJECT = ("shape", "texture")


def _by_half(factor: str) -> tuple[Notion, Notion]:
    """Kinds that differ in which half of the shapes a factor is shared by."""
    return (
        Notion(f"{factor} of the first shapes", _OBJECT, (0, _HALF - 1, factor)),
        Notion(f"{factor} of the last shapes", _OBJECT, (_HALF, len(LISTS["shape"]) - 1, factor)),
    )


#: Kinds of tasks by level. Its tasks get them evenly.
LEVELS: dict[str, tuple[Notion, ...]] = {
    "same": (Notion("object", _OBJECT),),
    "one-more": (
        Notion("nothing more", _OBJECT),
        Notion("hue", (*_OBJECT, "hue")),
        Notion("orientation", (*_OBJECT, "orientation")),
        Notion("position", (*_OBJECT, "x", "y")),
        Notion("lighting", (*_OBJECT, "lighting")),
    ),
    "contradiction": tuple(Notion(name, (name,)) for name in ("hue", "shape", "texture", "background")),
    "per-sample": _by_half("orientation"),
    "per-sample-hue": _by_half("hue"),
}


class FactorTasks(TaskSource):
    """Self-supervised tasks on rendered objects: two images of a pair share the factors that their task keeps.

    Levels, each a list of `Notion`:

    * ``"same"``: every task keeps shape and texture. Tasks are exchangeable: the null of every measure of conflict.
    * ``"one-more"``: a task keeps shape and texture, and one of hue, orientation, position, lighting, or nothing more.
    * ``"contradiction"``: a task keeps hue, shape, texture or background alone; a pair that is positive in one task is
      negative in another.
    * ``"per-sample"``: pairs share shape and texture; in one kind of task the orientation of one half of the shapes too, in
      the other kind that of the other half. One mask for all samples of a task cannot say so.
    * ``"per-sample-hue"``: the same with hue, which is easier to read from an image than the orientation of round things.

    Images are rendered anew for every episode, from the combinations of shape and texture that the split holds: an encoder
    that learned from ``meta-train`` has seen none of ``meta-test``.

    Args:
        level: see above.
        tasks: number of tasks in an episode.
        batch: pairs in an episode; `tasks` must divide it.
        support: share of each task's pairs on its support side, strictly between 0 and 1.
        image_size: side in pixels.
        split: part of `shapes` whose combinations of shape and texture are drawn: ``"all"``, ``"train"``, ``"validation"``,
            ``"test"`` or these with ``meta-`` before them.
        seed: of the generator that everything is drawn from.
        rank: of a process that draws episodes of its own, see `TaskSource`.
        device: where images end.

    Raises:
        InputError: if sizes do not fit each other or a name is unknown.

    >>> episode = FactorTasks("one-more", tasks=4, batch=32, image_size=16).sample()
    >>> episode.support.images.shape, len(episode.identity.names)
    (torch.Size([4, 4, 2, 3, 16, 16]), 5)
    """

    def __init__(
        self,
        level: str,
        *,
        tasks: int,
        batch: int,
        support: float = 0.5,
        image_size: int = 32,
        split: str = "all",
        seed: int = 0,
        rank: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if level not in LEVELS:
            raise InputError(f"FactorTasks: unknown level {level!r}; {nearest(level, LEVELS)}")
        self.cut = Cut("FactorTasks", tasks, batch, support)
        self.level, self.tasks, self.batch, self.image_size = level, tasks, batch, image_size
        self.names = tuple(notion.name for notion in LEVELS[level])
        self.device = torch.device(device)
        self.pairs = in_part(split)
        super().__init__(seed, rank)
        self.generator = seeded_stream(seed, rank)

    def draw(self) -> Episode:
        """The next episode: float images ``(tasks, pairs, 2, 3, H, W)`` on the sampler's device."""
        notions, own = LEVELS[self.level], self.own(self.tasks)
        kinds = assign_evenly(len(notions), self.tasks, self.generator)
        values = self.draw_factors(kinds)[own]
        kinds = kinds[own]
        rendered = render(values.flatten(0, -2), self.image_size).to(self.device).float() / 255
        images = rendered.unflatten(0, values.shape[:-1])
        whole = Samples(images, None, None, torch.full(images.shape[:2], -1))
        conditions = torch.stack([_condition(notion) for notion in notions])[kinds]
        return Episode(
            whole.map(lambda t: t[:, : self.cut.support]),
            whole.map(lambda t: t[:, self.cut.support :]),
            TaskIdentity(kinds.to(self.device), self.names, conditions.to(self.device)),
        )

    def draw_factors(self, kinds: Tensor) -> Tensor:
        """Factors of the pairs of tasks, float64 ``(tasks, pairs, 2, factors)``, in the order of `FACTORS`.

        Args:
            kinds: ``(tasks,)``.
        """
        samples = self.batch // self.tasks
        first, second = self._free(self.batch), self._free(self.batch)
        kinds = kinds.repeat_interleave(samples)
        for number, notion in enumerate(LEVELS[self.level]):
            own = kinds == number
            for name in notion.keeps:
                column = FACTORS.index(name)
                second[own, column] = first[own, column]
            # The other half of the object is drawn among those that the split has with the half that is kept.
            if ("shape" in notion.keeps) != ("texture" in notion.keeps):
                kept, free = (_SHAPE, _TEXTURE) if "shape" in notion.keeps else (_TEXTURE, _SHAPE)
                second[own, free] = self._partner(second[own, kept], kept, free)
            if notion.keeps_in is not None:
                low, high, name = notion.keeps_in
                column = FACTORS.index(name)
                those = own & (first[:, _SHAPE] >= low) & (first[:, _SHAPE] <= high)
                second[those, column] = first[those, column]
        return torch.stack([first, second], 1).view(self.tasks, samples, 2, len(FACTORS))

    def _free(self, count: int) -> Tensor:
        """Factors drawn freely, shape and texture among the pairs of the split; float64 ``(count, factors)``."""
        values = draw_factors(count, self.generator).values
        chosen = self.pairs[torch.randint(len(self.pairs), (count,), generator=self.generator)]
        values[:, _SHAPE], values[:, _TEXTURE] = chosen[:, 0].double(), chosen[:, 1].double()
        return values

    def _partner(self, kept: Tensor, column: int, other: int) -> Tensor:
        """A value of factor `other` for each value of factor `column`, among the pairs of the split."""
        position = {_SHAPE: 0, _TEXTURE: 1}
        has = self.pairs[:, position[column]] == kept[:, None]
        chance = torch.rand(has.shape, generator=self.generator) * has
        partner: Tensor = self.pairs[chance.argmax(1), position[other]].double()
        return partner


def _condition(notion: Notion) -> Tensor:
    """1 for a factor that is kept; −½ and ½ for one that is kept in the first, and in the last shapes."""
    condition = torch.zeros(len(FACTORS))
    for name in notion.keeps:
        condition[FACTORS.index(name)] = 1.0
    if notion.keeps_in is not None:
        low, _, name = notion.keeps_in
        condition[FACTORS.index(name)] = 0.5 if low else -0.5
    return condition
