"""Hopper-v5: hop forward on one leg in the plane. Gymnasium's task, natively vectorised,
bit-identical.
"""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.mujoco.hopper_v5 import DEFAULT_CAMERA_CONFIG, HopperEnv

from bio_rl.vector.mujoco import BatchVectorEnv, Info, Rows
from bio_rl.vector.mujoco_model import single_env

ENV_IDS = {
    "bio_rl/Hopper-v5": {
        "entry_point": ":make",
        "vector_entry_point": ":Hopper",
        "max_episode_steps": 1000,
        "reward_threshold": 3800.0,
    }
}


class Hopper(BatchVectorEnv):
    """r = w_f (x' - x) / dt + r_healthy - w_c |a|²; ends on a fall. Arguments and semantics of
    Gymnasium's HopperEnv.

    Observations: qpos [6, without x: 5] in m and rad, qvel [6] in m/s and rad/s, clipped to ±10.
    Actions: 3 torques.
    """

    # random: mean of 2000 episodes; expert: about SAC's and TD3's at 1M steps (Haarnoja 2018;
    # Fujimoto 2018)
    metadata: ClassVar[dict[str, Any]] = {
        **BatchVectorEnv.metadata,
        "reference": {"random": 17.1, "expert": 3500.0},
    }

    def __init__(
        self,
        num_envs: int = 1,
        xml_file: str = "hopper.xml",
        frame_skip: int = 4,
        default_camera_config: dict[str, Any] = DEFAULT_CAMERA_CONFIG,
        forward_reward_weight: float = 1.0,
        ctrl_cost_weight: float = 1e-3,
        healthy_reward: float = 1.0,
        terminate_when_unhealthy: bool = True,
        healthy_state_range: tuple[float, float] = (-100.0, 100.0),
        healthy_z_range: tuple[float, float] = (0.7, float("inf")),
        healthy_angle_range: tuple[float, float] = (-0.2, 0.2),
        reset_noise_scale: float = 5e-3,
        exclude_current_positions_from_observation: bool = True,
        **kwargs: Any,
    ) -> None:
        self._forward_reward_weight = forward_reward_weight
        self._ctrl_cost_weight = ctrl_cost_weight
        self._healthy_reward = healthy_reward
        self._terminate_when_unhealthy = terminate_when_unhealthy
        self._healthy_state_range = healthy_state_range
        self._healthy_z_range = healthy_z_range
        self._healthy_angle_range = healthy_angle_range
        self._reset_noise_scale = reset_noise_scale
        self._skip = int(exclude_current_positions_from_observation)
        model = {
            "xml_file": xml_file,
            "frame_skip": frame_skip,
            "default_camera_config": default_camera_config,
        }
        super().__init__(num_envs, **model, **kwargs)

    def _observe(self, rows: Rows) -> np.ndarray:
        return np.concatenate(
            (self.qpos[rows, self._skip :], np.clip(self.qvel[rows], -10, 10)), axis=1
        )

    def _healthy(self) -> np.ndarray:
        """Rows that stand: height, angle and every other state within their open ranges, bool [N]."""
        low, high = self._healthy_state_range
        min_z, max_z = self._healthy_z_range
        min_angle, max_angle = self._healthy_angle_range
        z, angle = self.qpos[:, 1], self.qpos[:, 2]
        others = np.concatenate((self.qpos[:, 2:], self.qvel), axis=1)
        bounded = ((low < others) & (others < high)).all(1)
        return bounded & (min_z < z) & (z < max_z) & (min_angle < angle) & (angle < max_angle)

    def _evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        x = self.qpos[:, 0].copy()
        x_velocity = (x - qpos_before[:, 0]) / self.dt
        healthy = self._healthy()
        forward = self._forward_reward_weight * x_velocity
        survive = healthy * self._healthy_reward
        ctrl_cost = self._ctrl_cost_weight * np.square(actions).sum(1)
        info = {
            "x_position": x,
            "z_distance_from_origin": self.qpos[:, 1] - self.init_qpos[1],
            "x_velocity": x_velocity,
            "reward_forward": forward,
            "reward_ctrl": -ctrl_cost,
            "reward_survive": survive,
        }
        terminated = (
            ~healthy if self._terminate_when_unhealthy else np.zeros(self.num_envs, np.bool_)
        )
        return forward + survive - ctrl_cost, terminated, info

    def _reset_info(self, rows: Rows) -> Info:
        return {
            "x_position": self.qpos[rows, 0],
            "z_distance_from_origin": self.qpos[rows, 1] - self.init_qpos[1],
        }


make = partial(single_env, HopperEnv, Hopper)
