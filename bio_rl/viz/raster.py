"""A brain at work on one time axis: input, spikes, membranes, action, reward and dopamine."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from bio_rl import vector
from bio_rl.training.recording import Recording, record, record_window
from bio_rl.training.recording.run import of_learner
from bio_rl.vector import Vector
from bio_rl.viz import dopamine
from bio_rl.viz.curves import COLOURS, blank, save
from bio_rl.viz.dopamine import Panel

MEMBRANES = 4
"""Neurons whose membrane is drawn: those of the last layer that fire most."""
CROWDED = 800
"""Ticks from which on half as many are drawn, in thinner lines."""
SUFFIXES = (".png", ".svg", ".pdf")
DECISIONS = 50
"""Decisions that are drawn of a frozen brain by default."""
LEARNING = 60
"""Decisions that are drawn of one that learns by default."""


def draw(
    trained: Any, path: Path, seed: int, decisions: int | None = None, learn: bool = False
) -> Path:
    """Write the first greedy decisions of a `training.Trained` from the start state `seed`.

    decisions: how many; by default `DECISIONS` or `LEARNING`. learn: those around the end of an
    episode instead, in the life of a copy that explores and goes on learning. Raises ValueError for
    a frozen network without spikes, for an agent that does not learn at every decision, for another
    kind of file, or where the extra `plots` is missing.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"--raster is {path}, expected a file that ends in {', '.join(SUFFIXES)}")
    if decisions is None:
        decisions = LEARNING if learn else DECISIONS
    if decisions < 1:
        raise ValueError(f"--decisions is {decisions}, expected at least 1")
    run = trained.experiment.run
    device = trained.agent.device
    env = vector.make(run.env, 1, device=device, perturb=run.perturb, **run.env_kwargs)
    with closing(env):
        recording = recorded(trained, env, seed, decisions, learn)
    if not recording.layers and not learn:
        raise ValueError(
            f"the network {run.network} has no spikes to draw; train one with --network spiking"
        )
    title = [run.env, run.network, f"{len(recording.rewards)} decisions"]
    if recording.layers:
        title[-1] += f" of {recording.ticks} ticks"
    if learn:
        title.append(f"{run.agent} learns, from decision {recording.first + 1} on")
    return picture(recording, path, " · ".join(title))


def recorded(
    trained: Any, env: Vector, seed: int, decisions: int, learn: bool = False
) -> Recording:
    """A recording of the first greedy decisions in the first environment of `env`; with `learn` of
    a copy that goes on learning, around the end of an episode.
    """
    if not learn:
        return record(trained.agent, env, seed, decisions)
    return of_learner(
        trained, env, decisions, lambda agent: record_window(agent, env, seed, decisions)
    )


def picture(recording: Recording, path: Path, title: str) -> Path:
    """Write the figure of a recording.

    The time axis is in ms (ticks), with a decision every K of them; without spikes in decisions.
    """
    network = _network(recording)
    learned = dopamine.panels(recording)
    panels = [*network, (1.2, _actions), (0.9, _rewards), *learned]
    heights = [height for height, _ in panels]
    try:
        figure = blank((11 if learned else 9, 1.0 + sum(heights)))
    except ImportError as error:
        raise ValueError(str(error)) from error
    axes = figure.subplots(len(panels), 1, sharex=True, height_ratios=heights)
    # decision d lasts from edges[d] to edges[d + 1]
    edges = np.arange(len(recording.rewards) + 1) * recording.ticks
    for axis, (_, draw_on) in zip(axes, panels, strict=True):
        draw_on(axis, recording, edges)
        axis.spines[["top", "right"]].set_visible(False)
    if learned:
        # the rewards stand below the network and the actions
        dopamine.mark_ends(axes, len(network) + 1, recording, edges)
        figure.align_ylabels(axes)
    axes[-1].set_xlabel(_unit(recording))
    axes[-1].set_xlim(0, edges[-1])
    axes[0].set_title(title, fontsize=10, loc="left")
    return save(figure, path)


def _unit(recording: Recording) -> str:
    """The label of the time axis."""
    if not recording.layers:
        return "decisions"
    return f"time in the network, ms (one decision every {recording.ticks})"


def _network(recording: Recording) -> list[Panel]:
    """Panels of the input, the spikes of each layer and the membranes of the last.

    Only what the network reports has one.
    """
    records = recording.probe.records
    panels: list[Panel] = []
    if "input" in records and recording.layers:
        panels.append((1.6, _input))
    for depth in range(1, recording.layers + 1):
        panels.append((2.2, partial(_spikes, depth=depth)))
    if f"membrane/{recording.layers}" in records:
        panels.append((1.4, _membranes))
    return panels


def _actions(axis: Any, recording: Recording, edges: np.ndarray) -> None:
    """Draw every dimension of the action."""
    # [dimensions, decisions]; the colours begin anew where there are more of them
    for values, colour in zip(recording.actions.T, cycle(COLOURS), strict=False):
        axis.stairs(values, edges, baseline=None, color=colour, linewidth=1.0)
    axis.set_ylabel("action")


def _rewards(axis: Any, recording: Recording, edges: np.ndarray) -> None:
    """Draw the rewards."""
    axis.stairs(recording.rewards, edges, baseline=None, color="black", linewidth=1.0)
    axis.set_ylabel("reward")


def _input(axis: Any, recording: Recording, edges: np.ndarray) -> None:
    """Draw the input of every cell in grey."""
    inputs = recording.train("input")
    axis.imshow(
        inputs.T,
        aspect="auto",
        cmap="Greys",
        interpolation="nearest",
        extent=(0, len(inputs), inputs.shape[1], 0),
    )
    axis.set_ylabel("input cell")


def _spikes(axis: Any, recording: Recording, edges: np.ndarray, depth: int) -> None:
    """Draw a mark for every spike, at the end of its tick."""
    spikes = recording.train(f"spikes/{depth}")
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


def _membranes(axis: Any, recording: Recording, edges: np.ndarray) -> None:
    """Draw the potentials of the neurons that fire most, with their spikes as dots above."""
    membranes = recording.train(f"membrane/{recording.layers}")
    spikes = recording.train(f"spikes/{recording.layers}")
    top = max(float(membranes.max()), 0.0) + 0.05 * float(np.ptp(membranes))
    crowded = len(membranes) > CROWDED
    count = MEMBRANES // 2 if crowded else MEMBRANES
    width = 0.5 if crowded else 0.9
    # a potential is that after its tick
    times = np.arange(1, len(membranes) + 1)
    # the most active cells first
    cells = np.argsort(-spikes.sum(0))[:count]
    for colour, cell in zip(COLOURS, cells, strict=False):
        label = f"neuron {cell}"
        axis.plot(times, membranes[:, cell], color=colour, linewidth=width, label=label)
        fired = spikes[:, cell].nonzero()[0] + 1
        axis.plot(fired, np.full(len(fired), top), ".", color=colour, markersize=3)
    axis.set_ylabel("membrane")
    dopamine.legend(axis, MEMBRANES)
