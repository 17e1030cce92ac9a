"""HalfCheetah-v5: run forward on two legs in the plane. Gymnasium's task, natively vectorised,
bit-identical.
"""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.mujoco.half_cheetah_v5 import DEFAULT_CAMERA_CONFIG, HalfCheetahEnv

from bio_rl.vector.mujoco import BatchVectorEnv, Info, Rows
from bio_rl.vector.mujoco_model import single_env

ENV_IDS = {
    "bio_rl/HalfCheetah-v5": {
        "entry_point": ":make",
        "vector_entry_point": ":HalfCheetah",
        "max_episode_steps": 1000,
        "reward_threshold": 4800.0,
    }
}


class HalfCheetah(BatchVectorEnv):
    """r = w_f (x' - x) / dt - w_c |a|²; never terminates. Arguments and semantics of Gymnasium's
    HalfCheetahEnv.

    Observations: qpos [9, without x: 8] in m and rad, qvel [9] in m/s and rad/s. Actions: 6 torques
    in [-1, 1] x gear.
    """

    # random: mean of 100 episodes; expert: about SAC's and TD3's at 1-3M steps (Haarnoja 2018;
    # Fujimoto 2018)
    metadata: ClassVar[dict[str, Any]] = {
        **BatchVectorEnv.metadata,
        "reference": {"random": -280.0, "expert": 10000.0},
    }

    def __init__(
        self,
        num_envs: int = 1,
        xml_file: str = "half_cheetah.xml",
        frame_skip: int = 5,
        default_camera_config: dict[str, Any] = DEFAULT_CAMERA_CONFIG,
        forward_reward_weight: float = 1.0,
        ctrl_cost_weight: float = 0.1,
        reset_noise_scale: float = 0.1,
        exclude_current_positions_from_observation: bool = True,
        **kwargs: Any,
    ) -> None:
        self._forward_reward_weight = forward_reward_weight
        self._ctrl_cost_weight = ctrl_cost_weight
        self._reset_noise_scale = reset_noise_scale
        self._skip = int(exclude_current_positions_from_observation)
        model = {
            "xml_file": xml_file,
            "frame_skip": frame_skip,
            "default_camera_config": default_camera_config,
        }
        super().__init__(num_envs, **model, **kwargs)

    def _reset_state(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        noise = self._reset_noise_scale
        qpos = self.init_qpos + rng.uniform(-noise, noise, self.model.nq)
        return qpos, self.init_qvel + noise * rng.standard_normal(self.model.nv)

    def _observe(self, rows: Rows) -> np.ndarray:
        return np.concatenate((self.qpos[rows, self._skip :], self.qvel[rows]), axis=1)

    def _evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        x = self.qpos[:, 0].copy()
        x_velocity = (x - qpos_before[:, 0]) / self.dt
        forward = self._forward_reward_weight * x_velocity
        ctrl_cost = self._ctrl_cost_weight * np.square(actions).sum(1)
        info = {
            "x_position": x,
            "x_velocity": x_velocity,
            "reward_forward": forward,
            "reward_ctrl": -ctrl_cost,
        }
        return forward - ctrl_cost, np.zeros(self.num_envs, np.bool_), info

    def _reset_info(self, rows: Rows) -> Info:
        return {"x_position": self.qpos[rows, 0]}


make = partial(single_env, HalfCheetahEnv, HalfCheetah)
