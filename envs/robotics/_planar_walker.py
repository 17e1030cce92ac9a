"""Reward, infos and observations of the robots that walk in a plane, Hopper and Walker2d."""

from typing import NamedTuple

import numpy as np

from bio_rl.envs.robotics._robots import ends
from bio_rl.vector.infos import Info
from bio_rl.vector.mujoco import BatchVectorEnv
from bio_rl.vector.native import Rows

MAX_VELOCITY = 10.0  # m/s or rad/s, at which observed velocities are clipped
X, Z, ANGLE = range(3)
"""Indices in qpos."""


class Weights(NamedTuple):
    """The settings of a walker's reward, as Gymnasium has them."""

    forward_reward: float
    ctrl_cost: float
    healthy_reward: float
    terminate_when_unhealthy: bool


def observe_walk(world: BatchVectorEnv, rows: Rows) -> np.ndarray:
    """qpos without its first world.skip entries, then the clipped velocities, [rows, D]."""
    positions = world.qpos[rows, world.skip :]
    velocities = world.qvel[rows]
    velocities = np.clip(velocities, -MAX_VELOCITY, MAX_VELOCITY)
    return np.concatenate((positions, velocities), axis=1)


def upright(
    world: BatchVectorEnv, z_range: tuple[float, float], angle_range: tuple[float, float]
) -> np.ndarray:
    """Rows whose height and angle lie within their open ranges, bool [N]."""
    min_z, max_z = z_range
    min_angle, max_angle = angle_range
    z = world.qpos[:, Z]
    angle = world.qpos[:, ANGLE]

    high_enough = (min_z < z) & (z < max_z)
    return high_enough & (min_angle < angle) & (angle < max_angle)


def evaluate_walk(
    world: BatchVectorEnv,
    weights: Weights,
    healthy: np.ndarray,
    actions: np.ndarray,
    qpos_before: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, Info]:
    """Rewards [N], terminated [N] and infos of the step just made; healthy: bool [N]."""
    x_velocity = (world.qpos[:, X] - qpos_before[:, X]) / world.dt
    forward = weights.forward_reward * x_velocity
    survive = healthy * weights.healthy_reward
    ctrl_cost = weights.ctrl_cost * np.square(actions).sum(1)
    info = {
        **walk_info(world, slice(None)),
        "x_velocity": x_velocity,
        "reward_forward": forward,
        "reward_ctrl": -ctrl_cost,
        "reward_survive": survive,
    }
    terminated = ends(healthy, weights.terminate_when_unhealthy)
    return forward + survive - ctrl_cost, terminated, info


def walk_info(world: BatchVectorEnv, rows: Rows) -> Info:
    """Infos of the place of rows, in m."""
    return {
        "x_position": world.qpos[rows, X].copy(),
        "z_distance_from_origin": world.qpos[rows, Z] - world.init_qpos[Z],
    }
