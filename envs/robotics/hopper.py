"""Hopper-v5: hop forward on one leg in the plane. Gymnasium's task, natively vectorised,
bit-identical.
"""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv

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
        default_camera_config: dict[str, Any] | None = None,
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
        super().__init__(num_envs, xml_file, frame_skip, default_camera_config, **kwargs)
        self.weights = Weights(
            forward_reward_weight, ctrl_cost_weight, healthy_reward, terminate_when_unhealthy
        )
        self.healthy_state_range = healthy_state_range
        self.healthy_z_range = healthy_z_range
        self.healthy_angle_range = healthy_angle_range
        self.reset_noise_scale = reset_noise_scale
        self.skip = int(exclude_current_positions_from_observation)
        self.make_spaces()

    def observe(self, rows: Rows) -> np.ndarray:
        """Positions and clipped velocities."""
        return observe_walk(self, rows)

    def healthy(self) -> np.ndarray:
        """Rows that stand, bool [N]: height, angle and all other states within open ranges."""
        low, high = self.healthy_state_range
        # Every position but x and z.
        others = np.concatenate((self.qpos[:, 2:], self.qvel), axis=1)
        bounded = (low < others) & (others < high)
        stands = upright(self, self.healthy_z_range, self.healthy_angle_range)
        return stands & bounded.all(1)

    def evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        """The reward of walking; the end where the robot has fallen."""
        healthy = self.healthy()
        return evaluate_walk(self, self.weights, healthy, actions, qpos_before)

    def channels(self) -> tuple[str, ...]:
        """The names of the joints."""
        return named_state(self)

    def reset_info(self, rows: Rows) -> Info:
        """The place."""
        return walk_info(self, rows)


make = partial(single_env, HopperEnv, Hopper)
