"""HalfCheetah-v5: run forward on two legs in the plane. Gymnasium's task, natively vectorised,
bit-identical.
"""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv

from bio_rl.envs.robotics._robots import (
    named_state,
    normal_velocities,
    positions_and_velocities,
)
from bio_rl.vector.infos import Info
from bio_rl.vector.mujoco import BatchVectorEnv
from bio_rl.vector.mujoco_model import single_env
from bio_rl.vector.native import Rows

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
        default_camera_config: dict[str, Any] | None = None,
        forward_reward_weight: float = 1.0,
        ctrl_cost_weight: float = 0.1,
        reset_noise_scale: float = 0.1,
        exclude_current_positions_from_observation: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_envs, xml_file, frame_skip, default_camera_config, **kwargs)
        self.forward_reward_weight = forward_reward_weight
        self.ctrl_cost_weight = ctrl_cost_weight
        self.reset_noise_scale = reset_noise_scale
        self.skip = int(exclude_current_positions_from_observation)
        self.make_spaces()

    def reset_state(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Positions are drawn uniformly, velocities normally."""
        return normal_velocities(self, rng)

    def observe(self, rows: Rows) -> np.ndarray:
        """Positions and velocities."""
        return positions_and_velocities(self, rows)

    def channels(self) -> tuple[str, ...]:
        """The names of the joints."""
        return named_state(self)

    def evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        """The reward of running forward."""
        x = self.qpos[:, 0].copy()
        x_velocity = (x - qpos_before[:, 0]) / self.dt
        forward = self.forward_reward_weight * x_velocity
        ctrl_cost = self.ctrl_cost_weight * np.square(actions).sum(1)
        info = {
            "x_position": x,
            "x_velocity": x_velocity,
            "reward_forward": forward,
            "reward_ctrl": -ctrl_cost,
        }
        terminated = np.zeros(self.num_envs, np.bool_)
        return forward - ctrl_cost, terminated, info

    def reset_info(self, rows: Rows) -> Info:
        """The place."""
        return {"x_position": self.qpos[rows, 0]}


make = partial(single_env, HalfCheetahEnv, HalfCheetah)
