"""Regression tasks: the sinusoids of MAML's first experiment."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metatc2.episodes.episode import Episode
from metatc2.episodes.sampler import TaskSource
from metatc2.episodes.samples import Samples
from metatc2.errors import InputError


class SinusoidTasks(TaskSource):
    """Regress a sine wave from a few points (Finn et al. 2017, arXiv 1703.03400, section 5.1).

    ``y = amplitude · sin(x − phase)``; amplitude, phase and the inputs of a task are uniform in their ranges. The sign of the
    phase is that of the authors' code; the paper leaves it open. Inputs have shape ``(tasks, n, 1, 1)`` (the third axis is
    that of views) and targets ``(tasks, n)``, float32. A network for them maps ``(N, 1)`` to ``(N, 1)``.

    After each `sample`, ``amplitude`` and ``phase``, both ``(tasks, 1)``, say what its tasks were.

    Args:
        shot: points to learn from.
        query: points to be evaluated on.
        tasks: tasks of an episode.
        amplitude: range of the amplitudes.
        phase: range of the phases, in radians.
        low: least input.
        high: largest input.
        noise: standard deviation of the normal noise on the targets of both sides.
        seed: of the generator that everything is drawn from.
        rank: number of this process; ranks draw different tasks from one seed.

    Raises:
        InputError: if a number is out of range.

    >>> sampler = SinusoidTasks(shot=5, tasks=2)
    >>> support = sampler.sample().support
    >>> support.images.shape, support.labels.shape
    (torch.Size([2, 5, 1, 1]), torch.Size([2, 5]))
    >>> true = sinusoid(sampler.amplitude, sampler.phase, support.images[..., 0, 0])
    >>> torch.equal(support.labels, true)
    True
    """

    def __init__(
        self,
        *,
        shot: int = 10,
        query: int = 10,
        tasks: int = 4,
        amplitude: tuple[float, float] = (0.1, 5.0),
        phase: tuple[float, float] = (0.0, math.pi),
        low: float = -5.0,
        high: float = 5.0,
        noise: float = 0.0,
        seed: int = 0,
        rank: int = 0,
    ) -> None:
        super().__init__(seed, rank)
        for name, number in (("shot", shot), ("query", query), ("tasks", tasks)):
            if number < 1:
                raise InputError(f"SinusoidTasks: {name} must be at least 1, got {number}")
        for name, (least, most) in (("amplitude", amplitude), ("phase", phase), ("low, high", (low, high))):
            if not -math.inf < least <= most < math.inf:
                raise InputError(
                    f"SinusoidTasks: {name} must be two finite numbers, the smaller first, got ({least}, {most})"
                )
        if not 0 <= noise < math.inf:
            raise InputError(f"SinusoidTasks: noise must be a finite number from 0 on, got {noise}")
        self.shot, self.query, self.tasks, self.noise = shot, query, tasks, noise
        self._ranges = (amplitude, phase, (low, high))
        self.amplitude = self.phase = torch.empty(0, 1)

    def draw(self) -> Episode:
        """An episode; the rows of the store, which there is not, are −1."""
        amplitudes, phases, inputs = self._ranges
        n = self.shot + self.query
        self.amplitude, self.phase = self._uniform(amplitudes, 1), self._uniform(phases, 1)
        x = self._uniform(inputs, n)
        y = sinusoid(self.amplitude, self.phase, x)
        if self.noise:
            y = y + self.noise * torch.randn(y.shape, generator=self.generator)
        whole = Samples(x[..., None, None], y, None, torch.full(x.shape, -1))
        every = Episode(whole.map(lambda t: t[:, : self.shot]), whole.map(lambda t: t[:, self.shot :]))
        return every.part(self.own(self.tasks))

    def _uniform(self, ends: tuple[float, float], n: int) -> Tensor:
        chance = torch.rand(self.tasks, n, generator=self.generator)
        return ends[0] + (ends[1] - ends[0]) * chance


def sinusoid(amplitude: Tensor | float, phase: Tensor | float, x: Tensor) -> Tensor:
    """The true function of a task, ``amplitude · sin(x − phase)``; shapes broadcast.

    Args:
        amplitude: its height.
        phase: in radians, how far it is moved to the right.
        x: inputs.

    >>> sinusoid(2.0, 0.0, torch.tensor([0.0, math.pi / 2])).tolist()
    [0.0, 2.0]
    """
    return amplitude * torch.sin(x - phase)
