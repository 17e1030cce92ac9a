"""Swimmer-v5: swim forward, three links in a viscous fluid. Gymnasium's task, natively vectorised,
bit-identical.
"""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.mujoco.swimmer_v5 import SwimmerEnv

from bio_rl.envs.robotics._robots import named_state, place_info, positions_and_velocities
from bio_rl.vector.infos import Info
from bio_rl.vector.mujoco import BatchVectorEnv
from bio_rl.vector.mujoco_model import single_env
from bio_rl.vector.native import ALL, Rows

ENV_IDS = {
    "bio_rl/Swimmer-v5": {
        "entry_point": ":make",
        "vector_entry_point": ":Swimmer",
        "max_episode_steps": 1000,
        "reward_threshold": 360.0,
    }
}


class Swimmer(BatchVectorEnv):
    """r = w_f (x' - x) / dt - w_c |a|²; never terminates. Arguments and semantics of Gymnasium's
    SwimmerEnv.

    Observations: qpos [5, without x and y: 3] in m and rad, qvel [5] in m/s and rad/s. Actions: 2
    torques.
    """

    # random: mean of 200 episodes; expert: Gymnasium's reward threshold (SAC and TD3 stay
    # far below it at gamma = 0.99 and reach it at 0.9999: Franceschetti et al. 2022,
    # arXiv:2208.07587)
    metadata: ClassVar[dict[str, Any]] = {
        **BatchVectorEnv.metadata,
        "reference": {"random": 0.8, "expert": 360.0},
    }
    camera_distance = 1.3  # its torso is the foremost of its links, at the edge of the model's view

    def __init__(
        self,
        num_envs: int = 1,
        xml_file: str = "swimmer.xml",
        frame_skip: int = 4,
        default_camera_config: dict[str, Any] | None = None,
        forward_reward_weight: float = 1.0,
        ctrl_cost_weight: float = 1e-4,
        reset_noise_scale: float = 0.1,
        exclude_current_positions_from_observation: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_envs, xml_file, frame_skip, default_camera_config, **kwargs)
        self.forward_reward_weight = forward_reward_weight
        self.ctrl_cost_weight = ctrl_cost_weight
        self.reset_noise_scale = reset_noise_scale
        self.skip = 2 * int(exclude_current_positions_from_observation)
        self.make_spaces()

    def observe(self, rows: Rows) -> np.ndarray:
        """Positions and velocities."""
        return positions_and_velocities(self, rows)

    def channels(self) -> tuple[str, ...]:
        """The names of the joints."""
        return named_state(self)

    def evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        """The reward of swimming forward."""
        velocity = (self.qpos[:, :2] - qpos_before[:, :2]) / self.dt
        forward = self.forward_reward_weight * velocity[:, 0]
        ctrl_cost = self.ctrl_cost_weight * np.square(actions).sum(1)
        info = {
            **self.reset_info(ALL),
            "x_velocity": velocity[:, 0].copy(),
            "y_velocity": velocity[:, 1].copy(),
            "reward_forward": forward,
            "reward_ctrl": -ctrl_cost,
        }

        terminated = np.zeros(self.num_envs, np.bool_)
        return forward - ctrl_cost, terminated, info

    def reset_info(self, rows: Rows) -> Info:
        """The place."""
        return place_info(self, rows)


make = partial(single_env, SwimmerEnv, Swimmer)
