"""The scripted expert of the reaching worlds: damped inverse kinematics, then computed torques."""

from collections.abc import Callable

import mujoco
import numpy as np
from mujoco.batch import Batch

Policy = Callable[[np.ndarray, np.ndarray | None], np.ndarray]
"""(observations [N, 26], begun bool [N] or None) to actions [N, 7]. begun: rows whose observation
starts an episode.
"""

STIFFNESS, DAMPING = (
    625.0,
    44.0,
)  # 1/s², 1/s: nearly critical; 225 and 28 score 94.9, 900 and 50 96.3, these 96.1 in Reach-v0
DAMPED = 0.03  # m, λ of the inverse kinematics
REST = 0.05  # of the way home, in the directions that do not move the hand
NEAR = 0.01  # m from the start, within which a rotation cannot be seen


def expert(
    model: mujoco.MjModel, home: np.ndarray, start: np.ndarray, rotated: bool = False
) -> Policy:
    """Torques that bring the hand to the goal, from the joints' angles q and velocities, and the
    goal, in the observations.

    With the arm's own model at q: e = goal - hand(q), J the hand's Jacobian, M the inertia, D the
    joints' damping, b the torques that weight and motion need:
        Δq = J⁺ e + (1 - J⁺ J) ρ (home - q),   J⁺ = Jᵀ (J Jᵀ + λ²)⁻¹
            damped least squares, Wampler 1986
        τ = M (k Δq - d q') + D q' + b
            computed torque, Luh, Walker & Paul 1980
    home: [7] in rad; start: the hand's place there, [3] in m. rotated: the rotation is told from
    hand(q) and the hand as it is seen, and the goal turned back by it.
    """
    gear, site, lag = model.actuator_gear[:, 0], model.site("hand").id, model.opt.timestep
    sim, now, rotation = *simulations(model, 1), np.zeros(1)

    def policy(obs: np.ndarray, begun: np.ndarray | None = None) -> np.ndarray:
        nonlocal sim, now, rotation
        if sim.nsim != len(obs):
            sim, now, rotation = *simulations(model, len(obs)), np.zeros(len(obs))
        q, velocity, seen, goal, _, seen_velocity = np.split(
            obs.astype(np.float64), [7, 14, 17, 20, 23], axis=1
        )
        now["qpos"][:], now["qvel"][:] = q, velocity
        sim.forward(stage=int(mujoco.mjtStage.mjSTAGE_VEL))
        hand = now["site_xpos"][:, site]
        if rotated:
            rotation = seen_rotation(hand - start, seen + lag * seen_velocity - start, rotation)
            goal = start + turn(goal - start, -rotation)
        step = joint_step(goal - hand, sim.jac(model.site_bodyid[site], hand)[0], home - q)
        torque = apply(inertia(now["M"]), STIFFNESS * step - DAMPING * velocity)
        torque += model.dof_damping * velocity + now["qfrc_bias"]
        return np.clip(torque / gear, -1.0, 1.0).astype(np.float32)

    return policy


def simulations(model: mujoco.MjModel, n: int) -> tuple[Batch, dict[str, np.ndarray]]:
    """n simulations of the arm, and live arrays of what is read of them; one bound after a call is
    zero until the next.
    """
    sim = Batch(model, n, 1)
    return sim, {name: sim.bind(name) for name in ("qpos", "qvel", "site_xpos", "M", "qfrc_bias")}


def joint_step(error: np.ndarray, jac: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Δq [N, 7] that brings the hand nearer by error [N, 3], and the joints by rest [N, 7] where
    the hand is not concerned.
    """
    inverse = jac.mT @ np.linalg.inv(jac @ jac.mT + DAMPED**2 * np.eye(3))
    return apply(inverse, error - apply(jac, REST * rest)) + REST * rest


def inertia(packed: np.ndarray) -> np.ndarray:
    """The inertia matrix [N, 7, 7] from its lower triangle [N, 28], row after row, as MuJoCo keeps
    that of a chain.
    """
    full = np.zeros((len(packed), 7, 7))
    row, column = np.tril_indices(7)
    full[:, row, column] = full[:, column, row] = packed
    return full


def seen_rotation(hand: np.ndarray, seen: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The angle [N] about the vertical from hand to seen, [N, 3] relative to the start; before,
    [N], where they are near it.
    """
    cross = hand[:, 0] * seen[:, 1] - hand[:, 1] * seen[:, 0]
    angle = np.arctan2(cross, hand[:, 0] * seen[:, 0] + hand[:, 1] * seen[:, 1])
    return np.where(np.linalg.norm(hand[:, :2], axis=1) > NEAR, angle, before)


def turn(vectors: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Vectors [N, 3] turned about the vertical by angles [N] in rad, counter-clockwise as seen from
    above.
    """
    (x, y, z), cos, sin = vectors.T, np.cos(angles), np.sin(angles)
    return np.stack((cos * x - sin * y, sin * x + cos * y, z), axis=1)


def apply(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Products [N, m] of matrices [N, m, n] and vectors [N, n]."""
    return (matrices @ vectors[:, :, None])[:, :, 0]
