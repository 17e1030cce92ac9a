"""A trial world as a small figure: what its ideal observer sees, does and earns, by name."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from bio_rl.contracts import Probe
from bio_rl.training.recording import Recording
from bio_rl.vector import TrialVectorEnv, names
from bio_rl.viz import dopamine, panels
from bio_rl.viz.curves import blank

STEPS = 60
"""Steps that are shown."""
WIDTH = 3.6
"""Inches across."""
DPI = 100


def is_trial_world(env_id: str) -> bool:
    """Whether the world's own picture is a strip of nameless channels."""
    env = gym.make_vec(env_id, 1)
    world = env.unwrapped
    env.close()
    return isinstance(world, TrialVectorEnv) and type(world).frames is TrialVectorEnv.frames


def pixels(env_id: str) -> np.ndarray:
    """The figure of a world's first steps from seed 0, uint8 [H, W, 3]."""
    # read only here: it is in an extra
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    recording = lived(env_id)
    chosen = [panels.of_brain(recording)[0], *panels.of_body(recording)]
    # the body's panels are lower than in a raster: they have little to show
    heights = [chosen[0][0], *(0.6 * height for height, _ in chosen[1:])]
    figure = blank((WIDTH, 0.6 + sum(heights)))
    axes = figure.subplots(len(chosen), 1, sharex=True, height_ratios=heights)
    edges = np.arange(len(recording) + 1)
    for axis, (_, draw_on) in zip(axes, chosen, strict=True):
        draw_on(axis, recording, edges)
    dopamine.mark_ends(axes, len(axes) - 1, recording, edges)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=7)
        axis.set_ylabel("")
        # so small a figure has no room for notes
        for text in list(axis.texts):
            text.remove()
    axes[-1].set_ylabel("reward", fontsize=7, rotation=0, ha="right", va="center")
    dt = recording.names.dt
    step = "steps" if dt is None else f"steps of {1000 * dt:g} ms"
    axes[-1].set_xlabel(step, fontsize=7)
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3]


def lived(env_id: str) -> Recording:
    """The first steps of the ideal observer of a trial world: what it sees, does and earns."""
    env: Any = gym.make_vec(env_id, 1, autoreset_mode=AutoresetMode.SAME_STEP)
    try:
        policy = env.unwrapped.ideal()
        obs, _ = env.reset(seed=0)
        begun = np.ones(1, bool)
        rows = []
        for _ in range(STEPS):
            action = policy(obs, begun)
            after, reward, terminated, truncated, _ = env.step(action)
            rows.append((obs.reshape(-1), action.reshape(-1), reward[0], terminated[0]))
            obs = after
            begun = terminated | truncated
        seen, done, earned, ended = (np.array(column) for column in zip(*rows, strict=True))
        return Recording(
            Probe(),
            done,
            earned,
            ended,
            np.zeros(STEPS, bool),
            observations=seen,
            names=names(env),
        )
    finally:
        env.close()
