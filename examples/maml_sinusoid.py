"""MAML's textbook picture (Finn et al. 2017, arXiv 1703.03400, figure 2): a sine wave learned from a few points."""

import argparse

import torch
import torchopt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from metatc2.episodes.sinusoid import SinusoidTasks, sinusoid
from metatc2.inner import InnerLoop
from metatc2.learners import MAML
from metatc2.training import Trainer, TrainerOptions

# Okabe and Ito's colors, which the color-blind tell apart; the dashes say the same.
LINES = {
    0: ("before adaptation", "#CC79A7", ":"),
    1: ("after 1 gradient step", "#56B4E9", "--"),
    10: ("after 10 gradient steps", "#D55E00", "-"),
}


def learner(network: nn.Module, inner_steps: int) -> MAML:
    """MAML on a network; without inner steps this is plain training on all tasks together."""
    return MAML(network, InnerLoop(torchopt.sgd(0.01), inner_steps), criterion=mse_loss, vmap_chunk=25)


def train(inner_steps: int, steps: int, seed: int) -> nn.Module:
    """A network trained on `steps` episodes of 25 tasks."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))
    options = TrainerOptions(steps=steps, lr=1e-3, weight_decay=0, warmup=0, accelerator="cpu")
    Trainer(learner(network, inner_steps), SinusoidTasks(tasks=25, seed=seed), options).fit()
    return network


def errors(network: nn.Module, inner_steps: int, seed: int) -> Tensor:
    """Mean squared error on each of 100 new tasks, learned from 10 points and measured on 100 others."""
    episode = SinusoidTasks(shot=10, query=100, tasks=100, seed=seed).sample()
    tasks = zip(*episode.support.labeled(), *episode.query.labeled(), strict=True)
    predict = learner(network, inner_steps).predict
    return torch.stack([mse_loss(predict(x, y, query_x), query_y) for x, y, query_x, query_y in tasks])


def draw(axes: Axes, network: nn.Module, tasks: SinusoidTasks) -> None:
    """One task: what is true, what is seen, what is predicted."""
    x, y = (side[0] for side in tasks.sample().support.labeled())
    grid = torch.linspace(-5, 5, 200)
    axes.plot(
        grid, sinusoid(tasks.amplitude[0], tasks.phase[0], grid), color="black", lw=3, alpha=0.3, label="true function"
    )
    for inner_steps, (label, color, dashes) in LINES.items():
        curve = learner(network, inner_steps).predict(x, y, grid[:, None])
        axes.plot(grid, curve, dashes, color=color, lw=2, label=label)
    axes.plot(x[:, 0], y, "^", color="#0072B2", ms=9, mec="white", label="points learned from", zorder=3)


def main() -> None:
    """Train both networks, print their errors and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12_000, help="outer steps of each network")
    parser.add_argument("--out", default="maml_sinusoid.png", help="where the picture goes")
    parser.add_argument("--seed", type=int, default=0, help="of networks and tasks")
    args = parser.parse_args()
    torch.set_num_threads(1)  # the tensors are too small to share
    networks = {"MAML": train(1, args.steps, args.seed), "Pre-trained on all tasks": train(0, args.steps, args.seed)}

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    for column, (name, network) in zip(grid.T, networks.items(), strict=True):
        rows = {k: errors(network, k, args.seed + 1) for k in LINES}
        for k, error in rows.items():
            print(f"{name}, {LINES[k][0]}: mean squared error {error.mean():.3f} ± {1.96 * error.std() / 10:.3f}")
        means = ", then ".join(f"{error.mean():.2f}" for error in rows.values())
        column[0].set_title(f"{name}\nmean squared error on 100 new tasks: {means}", fontsize=11)
        column[1].set_xlabel("x")
        for axes, (shot, low) in zip(column, ((10, -5), (5, 0)), strict=True):
            # From one seed both rows show the same sine.
            draw(axes, network, SinusoidTasks(shot=shot, tasks=1, amplitude=(3, 5), low=low, seed=args.seed + 2))
    grid[0, 0].set_ylabel("y, from 10 points anywhere")
    grid[1, 0].set_ylabel("y, from 5 points on the right")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(args.out, dpi=150)


if __name__ == "__main__":
    main()
