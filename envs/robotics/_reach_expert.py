"""The scripted expert of the reaching worlds: damped inverse kinematics, then computed torques."""

from collections.abc import Callable

import mujoco
import numpy as np
from mujoco.batch import Batch

Policy = Callable[[np.ndarray, np.ndarray | None], np.ndarray]
"""(observations [N, 26], begun bool [N] or None) to actions [N, 7]. begun: rows whose observation
starts an episode.
"""

# 1/s², 1/s: nearly critical. They score 96.1 in Reach-v0, 225 and 28 score 94.9, 900 and 50 96.3.
STIFFNESS = 625.0
DAMPING = 44.0
DAMPED = 0.03  # m, λ of the inverse kinematics
REST = 0.05  # of the way home, in the directions that do not move the hand
NEAR = 0.01  # m from the start, within which a rotation cannot be seen
JOINTS = 7
VELOCITY_STAGE = int(mujoco.mjtStage.mjSTAGE_VEL)
# Where the parts of an observation begin: angles, velocities, hand, goal, goal - hand, velocity of
# the hand.
PARTS = (7, 14, 17, 20, 23)


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
    gear = model.actuator_gear[:, 0]
    site = model.site("hand").id
    body = model.site_bodyid[site]
    lag = model.opt.timestep  # by which the hand is seen late
    arm = Simulations(model, 1)
    rotation = np.zeros(1)

    def policy(obs: np.ndarray, begun: np.ndarray | None = None) -> np.ndarray:
        nonlocal arm, rotation
        if arm.batch.nsim != len(obs):
            arm = Simulations(model, len(obs))
            rotation = np.zeros(len(obs))
        q, velocity, seen, goal, _, seen_velocity = np.split(obs.astype(np.float64), PARTS, axis=1)
        arm.pose(q, velocity)
        hand = arm.site_xpos[:, site]
        if rotated:
            seen_now = seen + lag * seen_velocity
            rotation = seen_rotation(hand - start, seen_now - start, rotation)
            goal = start + turn(goal - start, -rotation)
        jac, _ = arm.batch.jac(body, hand)
        step = joint_step(goal - hand, jac, home - q)
        acceleration = STIFFNESS * step - DAMPING * velocity
        torque = apply(inertia(arm.mass), acceleration)
        torque += model.dof_damping * velocity + arm.bias

        return np.clip(torque / gear, -1.0, 1.0).astype(np.float32)

    return policy


class Simulations:
    """Simulations of the arm by itself, which compute what its present state implies."""

    def __init__(self, model: mujoco.MjModel, n: int) -> None:
        """n: how many. An array that is bound is zero until the next call of `pose`."""
        batch = Batch(model, n, 1)
        self.batch = batch
        self.qpos = batch.bind("qpos")
        self.qvel = batch.bind("qvel")
        self.site_xpos = batch.bind("site_xpos")
        self.mass = batch.bind("M")
        self.bias = batch.bind("qfrc_bias")

    def pose(self, q: np.ndarray, velocity: np.ndarray) -> None:
        """Put the arms at angles q [n, 7] in rad and velocities [n, 7], and compute the rest."""
        self.qpos[:] = q
        self.qvel[:] = velocity
        self.batch.forward(stage=VELOCITY_STAGE)


def joint_step(error: np.ndarray, jac: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Δq [N, 7] that brings the hand nearer by error [N, 3], and the joints by rest [N, 7] where
    the hand is not concerned.
    """
    damping = DAMPED**2 * np.eye(3)
    inverse = jac.mT @ np.linalg.inv(jac @ jac.mT + damping)
    homewards = REST * rest
    # Going home moves the hand too: its way makes up for that.
    way = error - apply(jac, homewards)
    return apply(inverse, way) + homewards


def inertia(packed: np.ndarray) -> np.ndarray:
    """The inertia matrix [N, 7, 7] from its lower triangle [N, 28], row after row, as MuJoCo keeps
    that of a chain.
    """
    full = np.zeros((len(packed), JOINTS, JOINTS))
    row, column = np.tril_indices(JOINTS)
    full[:, row, column] = packed
    full[:, column, row] = packed

    return full


def seen_rotation(hand: np.ndarray, seen: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The angle [N] about the vertical from hand to seen, [N, 3] relative to the start; before,
    [N], where they are near it.
    """
    x, y, _ = hand.T
    seen_x, seen_y, _ = seen.T
    cross = x * seen_y - y * seen_x
    dot = x * seen_x + y * seen_y
    angle = np.arctan2(cross, dot)

    distance = np.linalg.norm(hand[:, :2], axis=1)
    return np.where(distance > NEAR, angle, before)


def turn(vectors: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Vectors [N, 3] turned about the vertical by angles [N] in rad, counter-clockwise as seen from
    above.
    """
    x, y, z = vectors.T
    cos = np.cos(angles)
    sin = np.sin(angles)
    turned_x = cos * x - sin * y
    turned_y = sin * x + cos * y
    return np.stack((turned_x, turned_y, z), axis=1)


def apply(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Products [N, m] of matrices [N, m, n] and vectors [N, n]."""
    columns = vectors[:, :, None]
    products = matrices @ columns
    return products[:, :, 0]
