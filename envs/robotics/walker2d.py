"""Walker2d-v5: walk forward on two legs in the plane. Gymnasium's task, natively vectorised,
bit-identical.
"""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv

from bio_rl.envs.robotics._planar_walker import (
    Weights,
    evaluate_walk,
    observe_walk,
    upright,
    walk_info,
)
from bio_rl.envs.robotics._robots import named_state
from bio_rl.vector.infos import Info
from bio_rl.vector.mujoco import BatchVectorEnv
from bio_rl.vector.mujoco_model import single_env
from bio_rl.vector.native import Rows

ENV_IDS = {
    "bio_rl/Walker2d-v5": {
        "entry_point": ":make",
        "vector_entry_point": ":Walker2d",
        "max_episode_steps": 1000,
    }
}


class Walker2d(BatchVectorEnv):
    """r = w_f (x' - x) / dt + r_healthy - w_c |a|²; ends on a fall. Arguments and semantics of
    Gymnasium's Walker2dEnv.

    Observations: qpos [9, without x: 8] in m and rad, qvel [9] in m/s and rad/s, clipped to ±10.
    Actions: 6 torques.
    """

    # random: mean of 2000 episodes; expert: about SAC's and TD3's at 1M steps (Haarnoja 2018;
    # Fujimoto 2018)
    metadata: ClassVar[dict[str, Any]] = {
        **BatchVectorEnv.metadata,
        "reference": {"random": 1.4, "expert": 4700.0},
    }

    def __init__(
        self,
        num_envs: int = 1,
        xml_file: str = "walker2d_v5.xml",
        frame_skip: int = 4,
        default_camera_config: dict[str, Any] | None = None,
        forward_reward_weight: float = 1.0,
        ctrl_cost_weight: float = 1e-3,
        healthy_reward: float = 1.0,
        terminate_when_unhealthy: bool = True,
        healthy_z_range: tuple[float, float] = (0.8, 2.0),
        healthy_angle_range: tuple[float, float] = (-1.0, 1.0),
        reset_noise_scale: float = 5e-3,
        exclude_current_positions_from_observation: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_envs, xml_file, frame_skip, default_camera_config, **kwargs)
        self.weights = Weights(
            forward_reward_weight, ctrl_cost_weight, healthy_reward, terminate_when_unhealthy
        )
        self.healthy_z_range = healthy_z_range
        self.healthy_angle_range = healthy_angle_range
        self.reset_noise_scale = reset_noise_scale
        self.skip = int(exclude_current_positions_from_observation)
        self.make_spaces()

    def observe(self, rows: Rows) -> np.ndarray:
        """Positions and clipped velocities."""
        return observe_walk(self, rows)

    def channels(self) -> tuple[str, ...]:
        """The names of the joints."""
        return named_state(self)

    def healthy(self) -> np.ndarray:
        """Rows that stand, bool [N]: height and angle within their open ranges."""
        return upright(self, self.healthy_z_range, self.healthy_angle_range)

    def evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        """The reward of walking; the end where the robot has fallen."""
        healthy = self.healthy()
        return evaluate_walk(self, self.weights, healthy, actions, qpos_before)

    def reset_info(self, rows: Rows) -> Info:
        """The place."""
        return walk_info(self, rows)


make = partial(single_env, Walker2dEnv, Walker2d)
