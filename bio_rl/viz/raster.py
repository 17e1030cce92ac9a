"""What a spiking brain does, on one time axis: input, spikes, membranes, action and reward; where it learns, how.

Dopamine, eligibility and weight change are drawn at the end of the decision whose reward they are about, when that has come.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bio_rl import vector
from bio_rl.evaluation import Recording, record, record_learning
from bio_rl.types import Steps
from bio_rl.vector import Vector
from bio_rl.viz.curves import COLOURS, pyplot

MEMBRANES = 4
"""Neurons whose membrane is drawn: those of the last layer that fire most."""
CROWDED = 800
"""Ticks from which on half as many are drawn, in thinner lines."""
SUFFIXES = (".png", ".svg", ".pdf")
DECISIONS, LEARNING = 50, 60
"""Drawn by default: of a frozen brain, of one that learns."""
TRACES = {"plasticity/eligibility": "eligibility\nmean |e|", "plasticity/change": "change\nmean |Δw|"}
"""What is drawn as it was after each update; several lines where parts are reported, such as plasticity/eligibility_critic."""
BLUE, RED, *_ = COLOURS


def draw(trained: Any, path: Path, seed: int, decisions: int | None = None, learn: bool = False) -> Path:
    """Write the first `decisions` greedy decisions of a `training.Trained` from the start state `seed` to `path`.

    learn: those around the end of an episode instead, in the life of a copy that explores and goes on learning. Raises
    ValueError for a network without spikes, for an agent that does not learn at every decision, for another kind of file, or
    where the extra `plots` is missing.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"--raster is {path}, expected a file that ends in {', '.join(SUFFIXES)}")
    decisions = (LEARNING if learn else DECISIONS) if decisions is None else decisions
    if decisions < 1:
        raise ValueError(f"--decisions is {decisions}, expected at least 1")
    run = trained.experiment.run
    env = vector.make(run.env, 1, device=trained.agent.device, perturb=run.perturb)
    with closing(env):
        seen = _learning(trained, env, seed, decisions) if learn else record(trained.agent, env, seed, decisions)
    if not seen.layers:
        raise ValueError(f"the network {run.network} has no spikes to draw; train one with --network spiking")
    title = f"{run.env} · {run.network} · {len(seen.rewards)} decisions of {seen.ticks} ticks"
    return picture(seen, path, title + (f" · learning, from decision {seen.first + 1} of its life" if learn else ""))


def _learning(trained: Any, env: Vector, seed: int, decisions: int) -> Recording:
    """What a copy of the agent does and learns."""
    name, rollout = trained.experiment.run.agent, trained.agent.rollout
    if isinstance(rollout, Steps) and rollout.n != 1:
        raise ValueError(f"--learn on: {name} learns after {rollout.n} decisions, not at every one; leave it off")
    agent = trained.learner(env, decisions)
    try:
        return record_learning(agent, env, seed, decisions)
    except ValueError as error:
        raise ValueError(f"--learn on: {name} cannot learn in the one environment that is drawn: {error}") from error


def picture(seen: Recording, path: Path, title: str) -> Path:
    """Write the figure of a recording; the time axis is in ms (ticks), a decision every K."""
    try:
        plt = pyplot()
    except ImportError as error:
        raise ValueError(str(error)) from error
    k, layers = seen.ticks, seen.layers
    learned = panels(seen)
    heights = [1.6, *[2.2] * layers, 1.4, 1.2, 0.9, *[1.2] * len(learned)]
    size = (11 if learned else 9, 1.0 + sum(heights))
    figure, axes = plt.subplots(
        len(heights), 1, sharex=True, squeeze=False, figsize=size, height_ratios=heights, layout="constrained"
    )
    axes = axes[:, 0]
    inputs = seen.train("input")
    axes[0].imshow(inputs.T, aspect="auto", cmap="Greys", interpolation="nearest", extent=(0, len(inputs), inputs.shape[1], 0))
    axes[0].set_ylabel("input cell")
    for depth in range(1, layers + 1):
        _spikes(axes[depth], seen.train(f"spikes/{depth}"), f"neuron, layer {depth}")
    _membranes(axes[layers + 1], seen.train(f"membrane/{layers}"), seen.train(f"spikes/{layers}"))
    edges = np.arange(len(seen.rewards) + 1) * k
    action, reward, *below = axes[layers + 2 :]
    for a, colour in zip(range(seen.actions.shape[1]), COLOURS * seen.actions.shape[1], strict=False):
        action.stairs(seen.actions[:, a], edges, baseline=None, color=colour, linewidth=1.0)
    action.set_ylabel("action")
    reward.stairs(seen.rewards, edges, baseline=None, color="black", linewidth=1.0)
    reward.set_ylabel("reward")
    if learned:
        reward.set_ylim(min(0.0, 1.1 * seen.rewards.min()), max(0.0, 1.1 * seen.rewards.max()) or 1.0)
    for axis, name in zip(below, learned, strict=True):
        learned[name](axis, seen, edges)
    _ends(axes, seen, edges)
    axes[-1].set_xlabel(f"time in the network, ms (one decision every {k})")
    axes[-1].set_xlim(0, edges[-1])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    if learned:
        figure.align_ylabels(axes)
    axes[0].set_title(title, fontsize=10, loc="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def panels(seen: Recording) -> dict[str, Callable[[Any, Recording, np.ndarray], None]]:
    """How each thing that the brain reported is drawn, in order: (axis, recording, edges of decisions in ms)."""
    drawn: dict[str, Callable[..., None]] = {}
    if "dopamine/rpe" in seen.reported:
        drawn["dopamine/rpe"] = _dopamine
    if "dopamine/value" in seen.reported:
        drawn["dopamine/value"] = _value
    for name in TRACES:
        if parts(seen, name):
            drawn[name] = partial(_trace, name=name)
    return drawn


def parts(seen: Recording, name: str) -> list[str]:
    """The reported parts of `name`, else itself, if it was reported."""
    return [n for n in seen.reported if n.startswith(f"{name}_")] or [n for n in seen.reported if n == name]


def _dopamine(axis: Any, seen: Recording, edges: np.ndarray) -> None:
    """Stems: above zero where more came than was expected, below where less."""
    rpe, at = seen.reported["dopamine/rpe"], edges[1:]
    for sign, colour, label in ((rpe > 0, BLUE, "better than expected"), (rpe < 0, RED, "worse")):
        axis.vlines(at[sign], 0.0, rpe[sign], color=colour, linewidth=1.4)
        axis.plot(at[sign], rpe[sign], "o", color=colour, markersize=2.5, label=label)
    axis.axhline(0.0, color="black", linewidth=0.5)
    axis.set_ylabel("dopamine\nδ")
    _legend(axis)


def _value(axis: Any, seen: Recording, edges: np.ndarray) -> None:
    """What the brain expects while it decides."""
    axis.stairs(seen.reported["dopamine/value"], edges, baseline=None, color="black", linewidth=1.2)
    axis.set_ylabel("value\nV")


def _trace(axis: Any, seen: Recording, edges: np.ndarray, name: str) -> None:
    """Lines through what each update left."""
    lines = parts(seen, name)
    for colour, line in zip(COLOURS, lines, strict=False):
        label = line.removeprefix(name).strip("_")
        axis.plot(edges[1:], seen.reported[line], color=colour, linewidth=1.2, label=label)
    axis.set_ylim(bottom=0.0)
    axis.set_ylabel(TRACES[name])
    if len(lines) > 1:
        _legend(axis)


def _ends(axes: Any, seen: Recording, edges: np.ndarray) -> None:
    """A line across all panels where an episode ended and the next began."""
    for ended, label in ((seen.terminated, "terminated"), (seen.truncated & ~seen.terminated, "time limit")):
        for at in edges[1:-1][ended[:-1]]:
            for axis in axes:
                axis.axvline(at, color="#777777", linewidth=0.8, linestyle=":")
            axes[0].annotate(
                label,
                (at, 1.0),
                (2, -2),
                xycoords=axes[0].get_xaxis_transform(),
                textcoords="offset points",
                fontsize=8,
                color="#777777",
                va="top",
            )


def _legend(axis: Any, columns: int = 2) -> None:
    """Above the panel, at its right."""
    axis.legend(frameon=False, fontsize=7, ncols=columns, loc="lower right", bbox_to_anchor=(1.0, 0.98))


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
    crowded = len(membranes) > CROWDED
    cells, width = np.argsort(-spikes.sum(0))[: MEMBRANES // 2 if crowded else MEMBRANES], 0.5 if crowded else 0.9
    for colour, cell in zip(COLOURS, cells, strict=False):
        axis.plot(np.arange(1, len(membranes) + 1), membranes[:, cell], color=colour, linewidth=width, label=f"neuron {cell}")
        fired = spikes[:, cell].nonzero()[0] + 1
        axis.plot(fired, np.full(len(fired), top), ".", color=colour, markersize=3)
    axis.set_ylabel("membrane")
    _legend(axis, MEMBRANES)
