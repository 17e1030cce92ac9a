"""What a spiking brain does, on one time axis: input, spikes, membranes, action and reward; where
it learns, dopamine too.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bio_rl import vector
from bio_rl.contracts import Steps
from bio_rl.training.evaluation import Recording, record, record_learning
from bio_rl.vector import Vector
from bio_rl.viz import dopamine
from bio_rl.viz.curves import COLOURS, pyplot
from bio_rl.viz.dopamine import Panel

MEMBRANES = 4
"""Neurons whose membrane is drawn: those of the last layer that fire most."""
CROWDED = 800
"""Ticks from which on half as many are drawn, in thinner lines."""
SUFFIXES = (".png", ".svg", ".pdf")
DECISIONS, LEARNING = 50, 60
"""Drawn by default: of a frozen brain, of one that learns."""


def draw(
    trained: Any, path: Path, seed: int, decisions: int | None = None, learn: bool = False
) -> Path:
    """Write the first `decisions` greedy decisions of a `training.Trained` from the start state
    `seed` to `path`.

    learn: those around the end of an episode instead, in the life of a copy that explores and goes
    on learning. Raises ValueError for a frozen network without spikes, for an agent that does not
    learn at every decision, for another kind of file, or where the extra `plots` is missing.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"--raster is {path}, expected a file that ends in {', '.join(SUFFIXES)}")
    decisions = (LEARNING if learn else DECISIONS) if decisions is None else decisions
    if decisions < 1:
        raise ValueError(f"--decisions is {decisions}, expected at least 1")
    run = trained.experiment.run
    env = vector.make(
        run.env, 1, device=trained.agent.device, perturb=run.perturb, **run.env_kwargs
    )
    with closing(env):
        seen = (
            _learning(trained, env, seed, decisions)
            if learn
            else record(trained.agent, env, seed, decisions)
        )
    if not seen.layers and not learn:
        raise ValueError(
            f"the network {run.network} has no spikes to draw; train one with --network spiking"
        )
    title = f"{run.env} · {run.network} · {len(seen.rewards)} decisions" + (
        f" of {seen.ticks} ticks" if seen.layers else ""
    )
    return picture(
        seen,
        path,
        title + (f" · {run.agent} learns, from decision {seen.first + 1} on" if learn else ""),
    )


def _learning(trained: Any, env: Vector, seed: int, decisions: int) -> Recording:
    """What a copy of the agent does and learns."""
    name, rollout = trained.experiment.run.agent, trained.agent.rollout
    if isinstance(rollout, Steps) and rollout.n != 1:
        raise ValueError(
            f"--learn on: {name} learns after {rollout.n} decisions, not at every one; leave it off"
        )
    agent = trained.learner(env, decisions)
    try:
        return record_learning(agent, env, seed, decisions)
    except ValueError as error:
        raise ValueError(
            f"--learn on: {name} cannot learn in the one environment that is drawn: {error}"
        ) from error


def picture(seen: Recording, path: Path, title: str) -> Path:
    """Write the figure of a recording; the time axis is in ms (ticks), a decision every K; without
    spikes in decisions.
    """
    try:
        plt = pyplot()
    except ImportError as error:
        raise ValueError(str(error)) from error
    learned = dopamine.panels(seen)
    drawn = [*_network(seen), (1.2, _actions), (0.9, _rewards), *learned]
    height = 1.0 + sum(h for h, _ in drawn)
    figure, axes = plt.subplots(
        len(drawn),
        1,
        sharex=True,
        figsize=(11 if learned else 9, height),
        height_ratios=[h for h, _ in drawn],
        layout="constrained",
    )
    edges = np.arange(len(seen.rewards) + 1) * seen.ticks
    for axis, (_, draw_on) in zip(axes, drawn, strict=True):
        draw_on(axis, seen, edges)
        axis.spines[["top", "right"]].set_visible(False)
    if learned:
        dopamine.mark_ends(axes, len(drawn) - len(learned) - 1, seen, edges)
        figure.align_ylabels(axes)
    axes[-1].set_xlabel(
        f"time in the network, ms (one decision every {seen.ticks})" if seen.layers else "decisions"
    )
    axes[-1].set_xlim(0, edges[-1])
    axes[0].set_title(title, fontsize=10, loc="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def _network(seen: Recording) -> list[Panel]:
    """Input, spikes of each layer, membranes of the last, as far as the network reports them."""
    drawn: list[Panel] = [(1.6, _input)] if "input" in seen.probe.records and seen.layers else []
    drawn += [(2.2, partial(_spikes, depth=depth)) for depth in range(1, seen.layers + 1)]
    return [*drawn, (1.4, _membranes)] if f"membrane/{seen.layers}" in seen.probe.records else drawn


def _actions(axis: Any, seen: Recording, edges: np.ndarray) -> None:
    for a, colour in zip(
        range(seen.actions.shape[1]), COLOURS * seen.actions.shape[1], strict=False
    ):
        axis.stairs(seen.actions[:, a], edges, baseline=None, color=colour, linewidth=1.0)
    axis.set_ylabel("action")


def _rewards(axis: Any, seen: Recording, edges: np.ndarray) -> None:
    axis.stairs(seen.rewards, edges, baseline=None, color="black", linewidth=1.0)
    axis.set_ylabel("reward")


def _input(axis: Any, seen: Recording, edges: np.ndarray) -> None:
    inputs = seen.train("input")
    axis.imshow(
        inputs.T,
        aspect="auto",
        cmap="Greys",
        interpolation="nearest",
        extent=(0, len(inputs), inputs.shape[1], 0),
    )
    axis.set_ylabel("input cell")


def _spikes(axis: Any, seen: Recording, edges: np.ndarray, depth: int) -> None:
    """A mark for every spike, drawn at the end of its tick."""
    spikes = seen.train(f"spikes/{depth}")
    ticks, cells = spikes.nonzero()
    axis.scatter(ticks + 1, cells, s=4, marker="|", linewidths=0.8, color="black")
    axis.set_ylim(-1, spikes.shape[1])
    axis.set_ylabel(f"neuron, layer {depth}")
    axis.text(
        1.0,
        1.02,
        f"{spikes.mean():.0%} of neurons a tick",
        transform=axis.transAxes,
        ha="right",
        fontsize=8,
    )


def _membranes(axis: Any, seen: Recording, edges: np.ndarray) -> None:
    """The potentials after each tick of the neurons that fire most, with their spikes as dots
    above.
    """
    membranes, spikes = (seen.train(f"{name}/{seen.layers}") for name in ("membrane", "spikes"))
    top = max(float(membranes.max()), 0.0) + 0.05 * float(np.ptp(membranes))
    crowded = len(membranes) > CROWDED
    cells, width = (
        np.argsort(-spikes.sum(0))[: MEMBRANES // 2 if crowded else MEMBRANES],
        0.5 if crowded else 0.9,
    )
    for colour, cell in zip(COLOURS, cells, strict=False):
        axis.plot(
            np.arange(1, len(membranes) + 1),
            membranes[:, cell],
            color=colour,
            linewidth=width,
            label=f"neuron {cell}",
        )
        fired = spikes[:, cell].nonzero()[0] + 1
        axis.plot(fired, np.full(len(fired), top), ".", color=colour, markersize=3)
    axis.set_ylabel("membrane")
    dopamine.legend(axis, MEMBRANES)
