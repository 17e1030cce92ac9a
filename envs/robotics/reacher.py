"""Reacher-v5: bring the fingertip of a two-joint arm to a target. Gymnasium's task, vectorised,
bit-identical.
"""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.mujoco.reacher_v5 import DEFAULT_CAMERA_CONFIG, ReacherEnv

from bio_rl.vector.mujoco import ALL, BatchVectorEnv, Info, Rows
from bio_rl.vector.mujoco_model import single_env

ENV_IDS = {
    "bio_rl/Reacher-v5": {
        "entry_point": ":make",
        "vector_entry_point": ":Reacher",
        "max_episode_steps": 50,
        "reward_threshold": -3.75,
    }
}


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
        self._reward_dist_weight = reward_dist_weight
        self._reward_control_weight = reward_control_weight
        model = {
            "xml_file": xml_file,
            "frame_skip": frame_skip,
            "default_camera_config": default_camera_config,
        }
        super().__init__(num_envs, max_episode_steps, **model, **kwargs)

    def _reset_state(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        qpos = rng.uniform(-0.1, 0.1, self.model.nq) + self.init_qpos
        goal = rng.uniform(-0.2, 0.2, 2)
        while np.linalg.norm(goal) >= 0.2:  # uniform on the disk of radius 0.2 m
            goal = rng.uniform(-0.2, 0.2, 2)
        qpos[-2:] = goal
        qvel = self.init_qvel + rng.uniform(-0.005, 0.005, self.model.nv)
        qvel[-2:] = 0
        return qpos, qvel

    def _to_target(self, rows: Rows) -> np.ndarray:
        """fingertip - target in m, [rows, 3]."""
        xpos = self.derived["xpos"]
        return (
            xpos[rows, self.model.body("fingertip").id] - xpos[rows, self.model.body("target").id]
        )

    def _observe(self, rows: Rows) -> np.ndarray:
        angles = self.qpos[rows, :2]
        rest = (self.qpos[rows, 2:], self.qvel[rows, :2], self._to_target(rows)[:, :2])
        return np.concatenate((np.cos(angles), np.sin(angles), *rest), axis=1)

    def _evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        to_target = self._to_target(ALL)
        distance = np.sqrt(
            np.vecdot(to_target, to_target)
        )  # as np.linalg.norm of one vector: the same BLAS dot product
        reward_dist = -distance * self._reward_dist_weight
        reward_ctrl = -np.square(actions).sum(1) * self._reward_control_weight
        info = {"reward_dist": reward_dist, "reward_ctrl": reward_ctrl}
        return reward_dist + reward_ctrl, np.zeros(self.num_envs, np.bool_), info


make = partial(single_env, ReacherEnv, Reacher)
