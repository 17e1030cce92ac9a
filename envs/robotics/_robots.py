"""Formulas that several robots share."""

import numpy as np

from bio_rl.vector.infos import Info
from bio_rl.vector.mujoco import BatchVectorEnv
from bio_rl.vector.native import Rows


def positions_and_velocities(world: BatchVectorEnv, rows: Rows, skip: int = 0) -> np.ndarray:
    """qpos without its first skip entries, then qvel, [rows, nq - skip + nv]."""
    return np.concatenate((world.qpos[rows, skip:], world.qvel[rows]), axis=1)


def normal_velocities(
    world: BatchVectorEnv, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A start state: qpos [nq] uniform about the model's, qvel [nv] normal about the model's."""
    noise = world.reset_noise_scale
    qpos = world.init_qpos + rng.uniform(-noise, noise, world.model.nq)
    qvel = world.init_qvel + noise * rng.standard_normal(world.model.nv)
    return qpos, qvel


def lengths(vectors: np.ndarray) -> np.ndarray:
    """Lengths [n] of vectors [n, d]."""
    # As np.linalg.norm of one vector: the same BLAS dot product, to the last bit.
    return np.sqrt(np.vecdot(vectors, vectors))


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
    return ~healthy if terminate_when_unhealthy else np.zeros_like(healthy)
