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
from bio_rl.vector.mujoco import BatchVectorEnv
from bio_rl.vector.native import ALL, Info, Rows, SingleEnv

ENV_IDS = {
    "bio_rl/Reach-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":Reach",
        "max_episode_steps": 100,
    },
    "bio_rl/Reach-Rotated-v0": {
        "entry_point": ":make_rotated",
        "vector_entry_point": ":ReachRotated",
    },
}

ARM = str(Path(__file__).parent / "assets" / "arm.xml")
CAMERA = {
    "distance": 1.6,
    "azimuth": 140.0,
    "elevation": -25.0,
    "lookat": np.array([0.15, 0.0, 0.3]),
}
STEPS = 100  # of a trial: 2 s
BLOCK = 20  # trials under one rotation
ROTATION = np.radians((30.0, 90.0))  # sizes, in either direction
RADIUS, HEIGHT = (
    (0.10, 0.25),
    0.10,
)  # m: goals lie in a ring about the vertical through the start, and ± this above it
START_NOISE = 0.05  # rad, deviation of each joint at the start
MOST = np.repeat([3.5, 40.0, 2.0, 2.0, 4.0, 20.0], (7, 7, 3, 3, 3, 3)).astype(
    np.float32
)  # beyond what the arm can do


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

    derived_fields = ("site_xpos", "sensordata", "mocap_pos")  # the last is state: the goal

    def __init__(
        self, num_envs: int = 1, max_episode_steps: int | None = STEPS, **kwargs: Any
    ) -> None:
        """kwargs: those of BatchVectorEnv but for the model's."""
        model = {"xml_file": ARM, "frame_skip": 2, "default_camera_config": CAMERA}
        super().__init__(num_envs, max_episode_steps, **model, **kwargs)
        self.home = self.model.key("home").qpos.copy()
        self.start = _hand_at(self.model, self.home)

    def expert(self) -> Policy:
        """The scripted policy of `_reach_expert`, for any number of rows; it sees observations
        only.
        """
        return expert(self.model, self.home, self.start)

    # hooks

    def _set_spaces(self, observation: gym.Space, action: gym.Space) -> None:
        super()._set_spaces(gym.spaces.Box(-MOST, MOST, dtype=np.float32), action)

    def _reset_state(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return self.home + rng.uniform(-START_NOISE, START_NOISE, self.model.nq), self.init_qvel

    def _place(self, rows: np.ndarray) -> None:
        super()._place(rows)
        for i in rows.tolist():
            self.derived["mocap_pos"][i, 0] = self.start + draw_goal(self._rngs[i])

    def _observe(self, rows: Rows) -> np.ndarray:
        hand, velocity = self._hand(rows)
        goal = self.derived["mocap_pos"][rows, 0]
        parts = (self.qpos[rows], self.qvel[rows], hand, goal, goal - hand, velocity)
        return np.clip(np.concatenate(parts, 1, dtype=np.float32, casting="same_kind"), -MOST, MOST)

    def _evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        distance = np.linalg.norm(self.derived["mocap_pos"][:, 0] - self._hand(ALL)[0], axis=1)
        reach, ctrl = np.exp(-5.0 * distance), -0.01 * np.square(actions, dtype=np.float64).sum(1)
        info = {"distance": distance, "reward_reach": reach, "reward_ctrl": ctrl}
        return reach + ctrl, np.zeros(self.num_envs, np.bool_), info

    def _hand(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Position [n, 3] and velocity [n, 3] of the hand as they are seen."""
        return self.derived["site_xpos"][rows, 0], self.derived["sensordata"][rows]


class ReachRotated(Reach):
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
    metadata: ClassVar[dict[str, Any]] = {
        **BatchVectorEnv.metadata,
        "reference": {"random": 775.0, "expert": 5767.0},
    }

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        *,
        trials: int = 60,
        **kwargs: Any,
    ) -> None:
        """kwargs: those of BatchVectorEnv but for the model's."""
        if trials < 1:
            raise ValueError(f"trials is {trials}, expected at least 1")
        self.trials, self.start = trials, np.zeros(3)
        self.rotation = np.zeros(num_envs)
        super().__init__(num_envs, max_episode_steps, **kwargs)

    def expert(self) -> Policy:
        return expert(self.model, self.home, self.start, rotated=True)

    def _place(self, rows: np.ndarray) -> None:
        super()._place(rows)
        self._rotate(rows)

    def _hand(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        hand, velocity = super()._hand(rows)
        return self.start + turn(hand - self.start, self.rotation[rows]), turn(
            velocity, self.rotation[rows]
        )

    def _outcome(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        rewards, terminated, info = super()._outcome(actions)
        trial, over = (
            (self._elapsed - 1) // STEPS,
            (self._elapsed > 0) & (self._elapsed % STEPS == 0),
        )
        info |= {"rotation": self.rotation.copy(), "trial": trial}
        terminated |= self._elapsed >= self.trials * STEPS
        rows = np.flatnonzero(over & ~terminated)
        if len(rows):
            self._next_trial(rows)
        return rewards, terminated, info

    def _next_trial(self, rows: np.ndarray) -> None:
        """Bring the arm back to its start and show another goal; the rest of the episode's state
        goes on.
        """
        for i in rows.tolist():
            self.qpos[i], self.qvel[i] = self._reset_state(self._rngs[i])
            self.derived["mocap_pos"][i, 0] = self.start + draw_goal(self._rngs[i])
        self.batch.forward(rows)
        self._rotate(rows[self._elapsed[rows] % (BLOCK * STEPS) == 0])

    def _rotate(self, rows: np.ndarray) -> None:
        for i in rows.tolist():
            rng = self._rngs[i]
            self.rotation[i] = rng.uniform(*ROTATION) * rng.choice((-1.0, 1.0))

    def _frames(self) -> tuple[Any, ...]:
        """With the cursor, a ball that has no part in the physics."""
        cursor = self.derived["mocap_pos"][:, 1]
        away = cursor.copy()
        cursor[:] = self._hand(ALL)[0]
        frames = super()._frames()
        cursor[:] = away
        return frames

    def _world_state(self) -> dict[str, np.ndarray]:
        """As in BatchVectorEnv, and rotation [N]."""
        return super()._world_state() | {"rotation": self.rotation}

    def _set_world_state(self, state: dict[str, np.ndarray]) -> None:
        super()._set_world_state(state)
        self.rotation = np.array(state["rotation"])


def draw_goal(rng: np.random.Generator) -> np.ndarray:
    """A goal relative to the start [3] in m, uniform in the ring."""
    low, high = np.square(RADIUS)
    radius, angle = np.sqrt(rng.uniform(low, high)), rng.uniform(-np.pi, np.pi)
    return np.array([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(-HEIGHT, HEIGHT)])


def _hand_at(model: mujoco.MjModel, qpos: np.ndarray) -> np.ndarray:
    """Where the hand is, [3] in m, at joint angles qpos [nq]."""
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    return data.site("hand").xpos.copy()


make: Callable[..., gym.Env] = partial(SingleEnv, Reach)
make_rotated: Callable[..., gym.Env] = partial(SingleEnv, ReachRotated)
