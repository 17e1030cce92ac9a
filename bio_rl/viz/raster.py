"""A brain at work on one time axis: observations by name, input, spikes, membranes, actions, reward
and, where it learns, dopamine and weights.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from bio_rl import vector
from bio_rl.training.recording import Recording, record, record_window
from bio_rl.training.recording.run import of_learner
from bio_rl.vector import Vector
from bio_rl.viz import dopamine, panels
from bio_rl.viz.curves import blank, save

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

    Time is the network's below, in ms, with a decision every K of them, and the world's above;
    without spikes in decisions. Ends of episodes and perturbations are lines across all panels.
    """
    brain = panels.of_brain(recording)
    body = panels.of_body(recording)
    learned = [*dopamine.panels(recording), *panels.of_weights(recording)]
    chosen = [*brain, *body, *learned]
    heights = [height for height, _ in chosen]
    try:
        figure = blank((11 if learned else 9, 1.3 + sum(heights) + 0.12 * len(heights)))
    except ImportError as error:
        raise ValueError(str(error)) from error
    axes = figure.subplots(len(chosen), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    # decision d lasts from edges[d] to edges[d + 1]
    edges = np.arange(len(recording) + 1) * recording.ticks
    for axis, (_, draw_on) in zip(axes, chosen, strict=True):
        draw_on(axis, recording, edges)
        axis.spines[["top", "right"]].set_visible(False)
    # the rewards are the last panel of the body
    dopamine.mark_ends(axes, len(brain) + len(body) - 1, recording, edges)
    _mark_perturbations(axes, recording, edges)
    figure.align_ylabels(axes)
    axes[-1].set_xlabel(_network_time(recording))
    axes[-1].set_xlim(0, edges[-1])
    _world_time(axes[0], recording)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return save(figure, path)


def _network_time(recording: Recording) -> str:
    """The label of the time axis below."""
    if not recording.layers:
        return "decisions"
    return f"time in the network, ms (one decision every {recording.ticks})"


def _world_time(axis: Any, recording: Recording) -> None:
    """Draw the world's time above the uppermost panel, or decisions where it knows none."""
    dt = recording.names.dt
    # below there are decisions already
    if dt is None and not recording.layers:
        return
    per_tick = (1.0 if dt is None else dt) / recording.ticks
    above = axis.secondary_xaxis(
        "top", functions=(lambda ms: ms * per_tick, lambda world: world / per_tick)
    )
    label = "decisions" if dt is None else f"time in the world, s (one decision every {dt:g})"
    # above the note of the panel
    above.spines["top"].set_position(("outward", 12))
    above.set_xlabel(label, fontsize=8)
    above.tick_params(labelsize=8)


def _mark_perturbations(axes: Any, recording: Recording, edges: np.ndarray) -> None:
    """Draw a red line where the world begins to be perturbed."""
    told = recording.infos.get("perturbed")
    if told is None:
        return
    acts = np.nan_to_num(told) > 0
    begins = np.flatnonzero(acts & ~np.concatenate([[False], acts[:-1]]))
    for i in begins:
        for axis in axes:
            axis.axvline(edges[i], color=dopamine.RED, linewidth=1.0, linestyle="--")
        axes[0].annotate(
            "perturbed",
            (edges[i], 1.0),
            (3, -9),
            xycoords=axes[0].get_xaxis_transform(),
            textcoords="offset points",
            fontsize=8,
            color=dopamine.RED,
        )
