"""HumanoidStandup-v5: rise from the floor. Gymnasium's task, natively vectorised, bit-identical,
contact forces included.
"""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.mujoco.humanoidstandup_v5 import HumanoidStandupEnv

from bio_rl.envs.robotics._humanoid import (
    READ,
    contact_cost,
    control_cost,
    humanoid_channels,
    humanoid_observation,
    observed,
    tendon_info,
)
from bio_rl.vector.infos import Info
from bio_rl.vector.mujoco import BatchVectorEnv
from bio_rl.vector.mujoco_model import single_env
from bio_rl.vector.mujoco_pool import ContactBatch
from bio_rl.vector.native import ALL, Rows

ENV_IDS = {
    "bio_rl/HumanoidStandup-v5": {
        "entry_point": ":make",
        "vector_entry_point": ":HumanoidStandup",
        "max_episode_steps": 1000,
    }
}


class HumanoidStandup(BatchVectorEnv):
    """r = w_z z / timestep - w_c |u|² - clip(w_k |f|²) + 1; never terminates. As Gymnasium's
    HumanoidStandupEnv.

    Observations: see `humanoid_observation`, 348 without x and y. Actions u: 17 torques in [-0.4,
    0.4] x gear. z is the torso's height in m; f are the contact forces on all bodies.
    """

    # random: mean of 100 episodes, seeds 0 to 99 (standard error 220); expert: about PPO's on v5 at
    # 4M steps (SLM-Lab's
    # docs/BENCHMARKS.md: 150105), before MuJoCo 4.0 changed RK4 a little
    metadata: ClassVar[dict[str, Any]] = {
        **BatchVectorEnv.metadata,
        "reference": {"random": 33600.0, "expert": 150000.0},
    }

    derived_fields = READ

    def __init__(
        self,
        num_envs: int = 1,
        xml_file: str = "humanoidstandup.xml",
        frame_skip: int = 5,
        default_camera_config: dict[str, Any] | None = None,
        uph_cost_weight: float = 1,
        ctrl_cost_weight: float = 0.1,
        impact_cost_weight: float = 0.5e-6,
        impact_cost_range: tuple[float, float] = (-np.inf, 10.0),
        reset_noise_scale: float = 1e-2,
        exclude_current_positions_from_observation: bool = True,
        include_cinert_in_observation: bool = True,
        include_cvel_in_observation: bool = True,
        include_qfrc_actuator_in_observation: bool = True,
        include_cfrc_ext_in_observation: bool = True,
        **kwargs: Any,
    ) -> None:
        """uph_cost_weight is without effect, as in Gymnasium."""
        del uph_cost_weight
        model = (xml_file, frame_skip, default_camera_config)
        super().__init__(num_envs, *model, simulations=ContactBatch, **kwargs)
        self.ctrl_cost_weight = ctrl_cost_weight
        self.impact_cost_weight = impact_cost_weight
        self.impact_cost_range = impact_cost_range
        self.reset_noise_scale = reset_noise_scale
        self.skip = 2 * int(exclude_current_positions_from_observation)
        self.observed = observed(
            include_cinert_in_observation,
            include_cvel_in_observation,
            include_qfrc_actuator_in_observation,
            include_cfrc_ext_in_observation,
        )
        self.make_spaces()

    def observe(self, rows: Rows) -> np.ndarray:
        """Positions, velocities and the derived fields that the settings name."""
        return humanoid_observation(self, rows, self.observed)

    def channels(self) -> tuple[str, ...]:
        """The names of the joints and of the derived fields."""
        return humanoid_channels(self, self.observed)

    def evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        """The reward of rising."""
        height = self.qpos[:, 2] / self.model.opt.timestep
        controls = control_cost(self, self.ctrl_cost_weight)
        impacts = contact_cost(self, self.impact_cost_weight, self.impact_cost_range)
        info = {
            **self.reset_info(ALL),
            "reward_linup": height,
            "reward_quadctrl": -controls,
            "reward_impact": -impacts,
        }
        terminated = np.zeros(self.num_envs, np.bool_)
        return height - controls - impacts + 1, terminated, info

    def reset_info(self, rows: Rows) -> Info:
        """The place and the tendons."""
        return {
            "x_position": self.qpos[rows, 0].copy(),
            "y_position": self.qpos[rows, 1].copy(),
            "z_distance_from_origin": self.qpos[rows, 2] - self.init_qpos[2],
            **tendon_info(self, rows),
        }


make = partial(single_env, HumanoidStandupEnv, HumanoidStandup)
