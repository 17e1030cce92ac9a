"""Reach-v0: bring the hand of a seven-jointed arm to a goal. Reach-Rotated-v0: the same while the
hand is seen rotated.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import mujoco
import numpy as np

from bio_rl.envs.robotics._reach_expert import Policy, expert, turn
from bio_rl.vector import mujoco_names
from bio_rl.vector.infos import Info
from bio_rl.vector.labels import triple
from bio_rl.vector.mujoco import BatchVectorEnv
from bio_rl.vector.native import ALL, Rows
from bio_rl.vector.single import SingleEnv

ENV_IDS = {
    "bio_rl/Reach-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":Reach",
        "max_episode_steps": 100,
    },
    "bio_rl/Reach-Rotated-v0": {
        "entry_point": ":make_rotated",
        "vector_entry_point": ":reach_rotated",
    },
}

ARM = str(Path(__file__).parent / "assets" / "arm.xml")
CAMERA = {
    "distance": 1.6,
    "azimuth": 140.0,
    "elevation": -25.0,
    "lookat": np.array([0.15, 0.0, 0.3]),
}
FRAME_SKIP = 2  # substeps of 10 ms in a step
STEPS = 100  # of a trial: 2 s
BLOCK = 20  # trials under one rotation
ROTATION = np.radians((30.0, 90.0))  # sizes, in either direction
# m: goals lie in a ring about the vertical through the start, and ± HEIGHT above it
RADIUS = (0.10, 0.25)
HEIGHT = 0.10
START_NOISE = 0.05  # rad, deviation of each joint at the start
# Bounds of the observations, beyond what the arm can do: angles, velocities, hand, goal, goal -
# hand, velocity of the hand.
SIZES = (7, 7, 3, 3, 3, 3)
MOST = np.repeat([3.5, 40.0, 2.0, 2.0, 4.0, 20.0], SIZES).astype(np.float32)


class Reach(BatchVectorEnv):
    """r = exp(-5 d) - 0.01 |a|², d the distance of hand and goal in m; never terminates. A step is
    20 ms.

    Observations, float32 [N, 26], clipped to finite bounds: joint angles [7] in rad and their
    velocities [7] in rad/s; hand [3], goal [3] and goal - hand [3] in m; the hand's velocity [3] in
    m/s. Those of the hand are one substep (10 ms) old. Actions, float32 [N, 7], in [-1, 1]: torques
    from shoulder to wrist, in units of 12, 16, 8, 10, 2, 2, 2 Nm. The arm feels its weight, so that
    holding still is a skill, and a heavier hand, another gravity or a weak motor can be felt. Each
    episode begins with the elbow bent; goals surround the hand (centre-out reaching), all within
    the arm's reach.
    """

    # random, expert: means over 1,000 episodes, ± 0.2 and 0.04 (standard error)
    metadata: ClassVar[dict[str, Any]] = {
        **BatchVectorEnv.metadata,
        "reference": {"random": 12.8, "expert": 96.1},
    }

    derived_fields = ("site_xpos", "sensordata", "mocap_pos")

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = STEPS,
        *,
        trials: int | None = None,
        **kwargs: Any,
    ) -> None:
        """trials: reaches of an episode under rotations, see `reach_rotated`; None for one reach
        without. kwargs: those of BatchVectorEnv but for the model's.
        """
        if trials is not None and trials < 1:
            raise ValueError(f"trials is {trials}, expected at least 1")
        model = (ARM, FRAME_SKIP, CAMERA)
        super().__init__(num_envs, *model, max_episode_steps=max_episode_steps, **kwargs)
        self.trials = trials

        self.home = self.model.key("home").qpos.copy()
        self.start = hand_at(self.model, self.home)

        # Mocap bodies are part of the engine's state: the goal, and the cursor of the pictures.
        self.goal = self.derived["mocap_pos"][:, 0]
        self.cursor = self.derived["mocap_pos"][:, 1]
        if trials is not None:
            self.rotation = self.state_array("rotation", start=None)
        self.make_spaces(gym.spaces.Box(-MOST, MOST, dtype=np.float32))

    def expert(self) -> Policy:
        """The scripted policy of `_reach_expert`, for any number of rows; it sees observations
        only.
        """
        rotated = self.trials is not None
        return expert(self.model, self.home, self.start, rotated)

    def reset_state(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The arm at rest with its elbow bent."""
        n = self.model.nq
        noise = rng.uniform(-START_NOISE, START_NOISE, n)
        return self.home + noise, self.init_qvel

    def reset_rows(self, rows: np.ndarray) -> None:
        """Draw the start states, the goals and the rotations."""
        super().reset_rows(rows)
        for i in rows.tolist():
            self.draw_goal(i)
        if self.trials is not None:
            self.rotate(rows)

    def draw_goal(self, i: int) -> None:
        """Draw a new goal for row i."""
        relative = draw_goal(self.rngs[i])
        self.goal[i] = self.start + relative

    def rotate(self, rows: np.ndarray) -> None:
        """Draw new rotations for rows, int [n]."""
        for i in rows.tolist():
            rng = self.rngs[i]
            size = rng.uniform(*ROTATION)
            side = rng.choice((-1.0, 1.0))
            self.rotation[i] = size * side

    def hand(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Position [n, 3] and velocity [n, 3] of the hand as they are seen."""
        position = self.derived["site_xpos"][rows, 0]
        velocity = self.derived["sensordata"][rows]
        if self.trials is None:
            return position, velocity

        rotation = self.rotation[rows]
        turned = self.start + turn(position - self.start, rotation)
        return turned, turn(velocity, rotation)

    def observe(self, rows: Rows) -> np.ndarray:
        """The arm, the hand as it is seen, and the goal."""
        hand, velocity = self.hand(rows)
        goal = self.goal[rows]
        parts = (
            self.qpos[rows],
            self.qvel[rows],
            hand,
            goal,
            goal - hand,
            velocity,
        )
        obs = np.concatenate(parts, 1, dtype=np.float32, casting="same_kind")
        return np.clip(obs, -MOST, MOST)

    def channels(self) -> tuple[str, ...]:
        """The names of the joints, the hand, the goal and the way to it."""
        return (
            *mujoco_names.positions(self.model),
            *mujoco_names.velocities(self.model),
            *triple("hand"),
            *triple("goal"),
            *triple("goal from hand"),
            *triple("hand velocity"),
        )

    def evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        """The reward of having the hand, as it is seen, at the goal."""
        hand, _ = self.hand(ALL)
        distance = np.linalg.norm(self.goal - hand, axis=1)
        reach = np.exp(-5.0 * distance)
        squares = np.square(actions, dtype=np.float64)
        ctrl = -0.01 * squares.sum(1)

        terminated = np.zeros(self.num_envs, np.bool_)
        info = {
            "distance": distance,
            "reward_reach": reach,
            "reward_ctrl": ctrl,
        }
        return reach + ctrl, terminated, info

    def outcome(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """The outcome of `evaluate`; after a trial the next one begins, or the episode ends."""
        rewards, terminated, info = super().outcome(actions)
        if self.trials is None:
            return rewards, terminated, info

        elapsed = self.elapsed
        info["rotation"] = self.rotation.copy()
        info["trial"] = (elapsed - 1) // STEPS
        terminated |= elapsed >= self.trials * STEPS
        over = (elapsed > 0) & (elapsed % STEPS == 0)
        rows = np.flatnonzero(over & ~terminated)
        if len(rows):
            self.next_trial(rows)

        return rewards, terminated, info

    def next_trial(self, rows: np.ndarray) -> None:
        """Bring the arm back to its start and show another goal; the rest of the episode's state
        goes on.
        """
        for i in rows.tolist():
            qpos, qvel = self.reset_state(self.rngs[i])
            self.qpos[i] = qpos
            self.qvel[i] = qvel
            self.draw_goal(i)
        self.batch.forward(rows)

        block_over = self.elapsed[rows] % (BLOCK * STEPS) == 0
        self.rotate(rows[block_over])

    def frames(self) -> tuple[Any, ...]:
        """The arm; under rotations with a cursor, a ball that has no part in the physics."""
        if self.trials is None:
            return super().frames()
        away = self.cursor.copy()
        self.cursor[:], _ = self.hand(ALL)
        frames = super().frames()
        self.cursor[:] = away
        return frames


def reach_rotated(
    num_envs: int = 1, max_episode_steps: int | None = None, *, trials: int = 60, **kwargs: Any
) -> Reach:
    """Reach-v0 with a visuomotor rotation, in an episode of `trials` trials of 100 steps; it
    terminates with the last one.

    As in Krakauer et al. 2000 (J. Neurosci. 20:8916) a cursor stands for the hand: its way from the
    start of the reach is the hand's, turned by an angle θ about the vertical through the start.
    Goals are where they are seen, and the cursor has to get there: d is its distance, and "hand" in
    observations is the cursor; the joints are felt as they are.
        cursor = start + R(θ) (hand - start),   v_cursor = R(θ) v_hand,
            θ ~ ± U(30°, 90°), anew every 20 trials
    θ is no observation, though who knows the arm's geometry can compare what is felt with what is
    seen. Infos: rotation in rad, trial from 0. The goals' ring is its own image under R, so that
    all of them stay within reach.
    """

    # random, expert: means over 100 episodes, ± 4.4 and 1.0 (standard error); Reach-v0's expert,
    # which is static: 2523 ± 31
    reference = {"random": 775.0, "expert": 5767.0}
    return Reach(num_envs, max_episode_steps, trials=trials, reference=reference, **kwargs)


def draw_goal(rng: np.random.Generator) -> np.ndarray:
    """A goal relative to the start [3] in m, uniform in the ring."""
    low, high = np.square(RADIUS)
    radius = np.sqrt(rng.uniform(low, high))
    angle = rng.uniform(-np.pi, np.pi)
    height = rng.uniform(-HEIGHT, HEIGHT)

    x = radius * np.cos(angle)
    y = radius * np.sin(angle)
    return np.array([x, y, height])


def hand_at(model: mujoco.MjModel, qpos: np.ndarray) -> np.ndarray:
    """Where the hand is, [3] in m, at joint angles qpos [nq]."""
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    return data.site("hand").xpos.copy()


make: Callable[..., gym.Env] = partial(SingleEnv, Reach)
make_rotated: Callable[..., gym.Env] = partial(SingleEnv, reach_rotated)
