"""Reacher-v5: bring the fingertip of a two-joint arm to a target. Gymnasium's task, vectorised,
bit-identical.
"""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.mujoco.reacher_v5 import DEFAULT_CAMERA_CONFIG, ReacherEnv

from bio_rl.envs.robotics._robots import lengths
from bio_rl.vector.infos import Info
from bio_rl.vector.mujoco import BatchVectorEnv
from bio_rl.vector.mujoco_model import single_env
from bio_rl.vector.native import ALL, Rows

ENV_IDS = {
    "bio_rl/Reacher-v5": {
        "entry_point": ":make",
        "vector_entry_point": ":Reacher",
        "max_episode_steps": 50,
        "reward_threshold": -3.75,
    }
}

RADIUS = 0.2  # m, of the disk in which the target lies


class Reacher(BatchVectorEnv):
    """r = -w_d |fingertip - target| - w_c |a|²; never terminates. Arguments and semantics of
    Gymnasium's ReacherEnv.

    Observations: cos and sin of both angles, the target's x and y in m, both velocities in rad/s,
    fingertip - target in m. Actions: 2 torques. The fingertip lags one substep behind the angles,
    as in Gymnasium. qpos holds the target.
    """

    # random: mean of 1000 episodes; expert: Gymnasium's reward threshold; TD3 reaches -3.6
    # (Fujimoto 2018)
    metadata: ClassVar[dict[str, Any]] = {
        **BatchVectorEnv.metadata,
        "reference": {"random": -42.8, "expert": -3.75},
    }

    derived_fields = ("xpos",)

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = 50,
        xml_file: str = "reacher.xml",
        frame_skip: int = 2,
        default_camera_config: dict[str, Any] = DEFAULT_CAMERA_CONFIG,
        reward_dist_weight: float = 1,
        reward_control_weight: float = 1,
        **kwargs: Any,
    ) -> None:
        model = (xml_file, frame_skip, default_camera_config)
        super().__init__(num_envs, *model, max_episode_steps=max_episode_steps, **kwargs)
        self.reward_dist_weight = reward_dist_weight
        self.reward_control_weight = reward_control_weight
        self.make_spaces()

    def reset_state(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The arm nearly straight, and the target uniform on its disk."""
        nq = self.model.nq
        nv = self.model.nv
        qpos = rng.uniform(-0.1, 0.1, nq) + self.init_qpos

        target = rng.uniform(-RADIUS, RADIUS, 2)
        while np.linalg.norm(target) >= RADIUS:
            target = rng.uniform(-RADIUS, RADIUS, 2)
        qpos[-2:] = target

        qvel = self.init_qvel + rng.uniform(-0.005, 0.005, nv)
        qvel[-2:] = 0

        return qpos, qvel

    def from_target(self, rows: Rows) -> np.ndarray:
        """The vector from the target to the fingertip in m, [rows, 3]."""
        model = self.model
        fingertip = model.body("fingertip").id
        target = model.body("target").id
        xpos = self.derived["xpos"]
        return xpos[rows, fingertip] - xpos[rows, target]

    def observe(self, rows: Rows) -> np.ndarray:
        """Angles, target, velocities and the vector from the target to the fingertip."""
        angles = self.qpos[rows, :2]
        target = self.qpos[rows, 2:]
        velocities = self.qvel[rows, :2]
        way = self.from_target(rows)[:, :2]
        parts = (
            np.cos(angles),
            np.sin(angles),
            target,
            velocities,
            way,
        )
        return np.concatenate(parts, axis=1)

    def channels(self) -> tuple[str, ...]:
        """The names of the arm's angles, the target, the velocities and the way."""
        # the sines follow the cosines of both joints, as in `observe`
        return (
            "cos shoulder",
            "cos elbow",
            "sin shoulder",
            "sin elbow",
            "target x",
            "target y",
            "shoulder velocity",
            "elbow velocity",
            "tip from target x",
            "tip from target y",
        )

    def evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        """The reward of having the fingertip at the target."""
        distance = lengths(self.from_target(ALL))
        reward_dist = -distance * self.reward_dist_weight
        reward_ctrl = -np.square(actions).sum(1) * self.reward_control_weight

        terminated = np.zeros(self.num_envs, np.bool_)
        info = {
            "reward_dist": reward_dist,
            "reward_ctrl": reward_ctrl,
        }
        return reward_dist + reward_ctrl, terminated, info


make = partial(single_env, ReacherEnv, Reacher)
