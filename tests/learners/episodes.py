"""Small labeled episodes for tests of learners."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metatc2.episodes import Episode, Samples
from metatc2.learners import LabeledLearner
from metatc2.models.heads import Classifier


def side(inputs: Tensor, labels: Tensor) -> Samples:
    return Samples(inputs.unsqueeze(2), labels, None, torch.full(labels.shape, -1))


def vectors(tasks: int = 3, way: int = 3, shot: int = 2, query: int = 4, *, dim: int = 5, seed: int = 0) -> Episode:
    """Gaussian classes in `dim` dimensions, in float64, in shuffled order."""
    g = torch.Generator().manual_seed(seed)
    centers = torch.randn(tasks, way, dim, generator=g, dtype=torch.float64)

    def draw(n: int) -> Samples:
        labels = torch.stack([torch.arange(way).repeat(n)[torch.randperm(way * n, generator=g)] for _ in range(tasks)])
        own = torch.stack([c[y] for c, y in zip(centers, labels, strict=True)])
        return side(own + 0.5 * torch.randn(own.shape, generator=g, dtype=torch.float64), labels)

    return Episode(draw(shot), draw(query))


def images(tasks: int = 3, way: int = 3, shot: int = 2, query: int = 3, *, size: int = 16, seed: int = 0) -> Episode:
    """Noise images in float64."""
    g = torch.Generator().manual_seed(seed)

    def draw(n: int) -> Samples:
        labels = torch.arange(way).repeat_interleave(n).expand(tasks, -1)
        return side(torch.rand(tasks, way * n, 1, size, size, generator=g, dtype=torch.float64), labels)

    return Episode(draw(shot), draw(query))


def mlp(dim: int = 5, way: int = 3, width: int = 6, seed: int = 0) -> Classifier:
    """A smooth network in float64."""
    torch.manual_seed(seed)
    return Classifier(nn.Sequential(nn.Linear(dim, width), nn.Tanh()), width, way).double()


def flat_gradient(learner: LabeledLearner, episode: Episode) -> Tensor:
    """Gradient of the outcome's loss for all trainable parameters, in one vector."""
    learner.zero_grad(set_to_none=True)
    learner(episode).loss.backward()
    return torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in learner.parameters() if p.requires_grad]
    )


def assert_exact_gradient(
    learner: LabeledLearner, episode: Episode, *, rtol: float = 1e-5, atol: float = 1e-8, step: float = 1e-7
) -> None:
    """`flat_gradient` along two random directions against central differences of the loss.

    A direction has a part of every parameter, so that a wrong entry shows in each; entry by entry it would take
    as many losses as there are parameters, see `differences`.
    """
    gradient, g = flat_gradient(learner, episode), torch.Generator().manual_seed(0)
    parameters = [p for p in learner.parameters() if p.requires_grad]
    start = [p.detach().clone() for p in parameters]
    assert gradient.abs().max() > 1e-3
    for _ in range(2):
        direction = torch.randn(gradient.shape, generator=g, dtype=gradient.dtype)
        parts = direction.split([p.numel() for p in parameters])
        values = []
        with torch.no_grad():
            for moved in (step, -step):
                for p, here, part in zip(parameters, start, parts, strict=True):
                    p.copy_(here + moved * part.view_as(p))
                values.append(float(learner(episode).loss))
        expected = (values[0] - values[1]) / (2 * step)
        torch.testing.assert_close(float(gradient @ direction), expected, rtol=rtol, atol=atol)
    with torch.no_grad():
        for p, here in zip(parameters, start, strict=True):
            p.copy_(here)


def differences(learner: LabeledLearner, episode: Episode, step: float = 1e-6) -> Tensor:
    """The same entry by entry, by central differences of the loss."""
    found = []
    with torch.no_grad():
        for p in (p for p in learner.parameters() if p.requires_grad):
            flat = p.view(-1)
            for i in range(len(flat)):
                here = float(flat[i])
                values = []
                for moved in (here + step, here - step):
                    flat[i] = moved
                    values.append(float(learner(episode).loss))
                flat[i] = here
                found.append((values[0] - values[1]) / (2 * step))
    return torch.tensor(found, dtype=torch.float64)
