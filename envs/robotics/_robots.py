"""Formulas that several robots share."""

import numpy as np

from bio_rl.vector import mujoco_names
from bio_rl.vector.infos import Info
from bio_rl.vector.mujoco import BatchVectorEnv
from bio_rl.vector.native import Rows


def positions_and_velocities(world: BatchVectorEnv, rows: Rows) -> np.ndarray:
    """qpos without its first world.skip entries, then qvel, [rows, nq - skip + nv]."""
    positions = world.qpos[rows, world.skip :]
    velocities = world.qvel[rows]
    return np.concatenate((positions, velocities), axis=1)


def named_state(world: BatchVectorEnv) -> tuple[str, ...]:
    """The names of what `positions_and_velocities` returns."""
    positions = mujoco_names.positions(world.model, world.skip)
    return positions + mujoco_names.velocities(world.model)


def normal_velocities(
    world: BatchVectorEnv, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A start state: qpos [nq] uniform about the model's, qvel [nv] normal about the model's."""
    noise = world.reset_noise_scale
    model = world.model
    uniform = rng.uniform(-noise, noise, model.nq)
    normal = noise * rng.standard_normal(model.nv)
    return world.init_qpos + uniform, world.init_qvel + normal


def is_finite(world: BatchVectorEnv) -> np.ndarray:
    """Rows whose positions and velocities are all finite, bool [N]."""
    positions = np.isfinite(world.qpos).all(1)
    velocities = np.isfinite(world.qvel).all(1)
    return np.logical_and(positions, velocities)


def lengths(vectors: np.ndarray) -> np.ndarray:
    """Lengths [n] of vectors [n, d]."""
    # As np.linalg.norm of one vector: the same BLAS dot product, to the last bit.
    squared = np.vecdot(vectors, vectors)
    return np.sqrt(squared)


def place_info(world: BatchVectorEnv, rows: Rows) -> Info:
    """Infos of the place in the plane: x, y and the distance from the origin, in m."""
    xy = world.qpos[rows, :2].copy()
    return {
        "x_position": xy[:, 0].copy(),
        "y_position": xy[:, 1].copy(),
        "distance_from_origin": lengths(xy),
    }


def ends(healthy: np.ndarray, terminate_when_unhealthy: bool) -> np.ndarray:
    """Whether episodes end, bool [N]."""
    if terminate_when_unhealthy:
        return ~healthy
    return np.zeros_like(healthy)
