"""What a spiking brain does, on one time axis: input, spikes, membranes, action and reward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bio_rl import vector
from bio_rl.evaluation import Recording, record
from bio_rl.viz.curves import COLOURS, pyplot

MEMBRANES = 4
"""Neurons whose membrane is drawn: those of the last layer that fire most."""
SUFFIXES = (".png", ".svg", ".pdf")


def draw(trained: Any, path: Path, seed: int, decisions: int) -> Path:
    """Write the first `decisions` greedy decisions of a `training.Trained` from the start state `seed` to `path`.

    Raises ValueError for a network without spikes, another kind of file, or where the extra `plots` is missing.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"--raster is {path}, expected a file that ends in {', '.join(SUFFIXES)}")
    if decisions < 1:
        raise ValueError(f"--decisions is {decisions}, expected at least 1")
    run = trained.experiment.run
    env = vector.make(run.env, 1, device=trained.agent.device, perturb=run.perturb)
    try:
        seen = record(trained.agent, env, seed, decisions)
    finally:
        env.close()
    if not seen.layers:
        raise ValueError(f"the network {run.network} has no spikes to draw; train one with --network spiking")
    return picture(seen, path, f"{run.env} · {run.network} · {len(seen.rewards)} decisions of {seen.ticks} ticks")


def picture(seen: Recording, path: Path, title: str) -> Path:
    """Write the figure of a recording; the time axis is in ms (ticks), a decision every K."""
    try:
        plt = pyplot()
    except ImportError as error:
        raise ValueError(str(error)) from error
    k, layers = seen.ticks, seen.layers
    heights = [1.6, *[2.2] * layers, 1.4, 1.2, 0.9]
    figure, axes = plt.subplots(
        len(heights), 1, sharex=True, figsize=(9, 1.0 + sum(heights)), height_ratios=heights, layout="constrained"
    )
    inputs = seen.train("input")
    axes[0].imshow(inputs.T, aspect="auto", cmap="Greys", interpolation="nearest", extent=(0, len(inputs), inputs.shape[1], 0))
    axes[0].set_ylabel("input cell")
    for depth in range(1, layers + 1):
        _spikes(axes[depth], seen.train(f"spikes/{depth}"), f"neuron, layer {depth}")
    _membranes(axes[layers + 1], seen.train(f"membrane/{layers}"), seen.train(f"spikes/{layers}"))
    edges = np.arange(len(seen.rewards) + 1) * k
    for a, colour in zip(range(seen.actions.shape[1]), COLOURS * seen.actions.shape[1], strict=False):
        axes[-2].stairs(seen.actions[:, a], edges, baseline=None, color=colour, linewidth=1.0)
    axes[-2].set_ylabel("action")
    axes[-1].stairs(seen.rewards, edges, baseline=None, color="black", linewidth=1.0)
    axes[-1].set_ylabel("reward")
    axes[-1].set_xlabel(f"time in the network, ms (one decision every {k})")
    axes[-1].set_xlim(0, edges[-1])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_title(title, fontsize=10, loc="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def _spikes(axis: Any, spikes: np.ndarray, label: str) -> None:
    """A mark for every spike of [ticks, N], drawn at the end of its tick."""
    ticks, cells = spikes.nonzero()
    axis.scatter(ticks + 1, cells, s=4, marker="|", linewidths=0.8, color="black")
    axis.set_ylim(-1, spikes.shape[1])
    axis.set_ylabel(label)
    axis.text(1.0, 1.02, f"{spikes.mean():.0%} of neurons a tick", transform=axis.transAxes, ha="right", fontsize=8)


def _membranes(axis: Any, membranes: np.ndarray, spikes: np.ndarray) -> None:
    """The potentials after each tick of the neurons that fire most, with their spikes as dots above."""
    top = max(float(membranes.max()), 0.0) + 0.05 * float(np.ptp(membranes))
    for colour, cell in zip(COLOURS, np.argsort(-spikes.sum(0))[:MEMBRANES], strict=False):
        axis.plot(np.arange(1, len(membranes) + 1), membranes[:, cell], color=colour, linewidth=0.9, label=f"neuron {cell}")
        fired = spikes[:, cell].nonzero()[0] + 1
        axis.plot(fired, np.full(len(fired), top), ".", color=colour, markersize=3)
    axis.set_ylabel("membrane")
    axis.legend(frameon=False, fontsize=7, ncols=MEMBRANES, loc="lower right", bbox_to_anchor=(1.0, 0.98))
