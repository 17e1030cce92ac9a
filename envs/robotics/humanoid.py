"""Humanoid-v5: run forward on two legs. Gymnasium's task, natively vectorised, bit-identical,
contact forces included.
"""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.mujoco.humanoid_v5 import HumanoidEnv

from bio_rl.envs.robotics._humanoid import (
    READ,
    contact_cost,
    control_cost,
    humanoid_channels,
    humanoid_observation,
    observed,
    tendon_info,
)
from bio_rl.envs.robotics._robots import ends, place_info
from bio_rl.vector.infos import Info
from bio_rl.vector.mujoco import BatchVectorEnv
from bio_rl.vector.mujoco_model import single_env
from bio_rl.vector.mujoco_pool import ContactBatch
from bio_rl.vector.native import ALL, Rows

ENV_IDS = {
    "bio_rl/Humanoid-v5": {
        "entry_point": ":make",
        "vector_entry_point": ":Humanoid",
        "max_episode_steps": 1000,
    }
}


class Humanoid(BatchVectorEnv):
    """r = w_f (x' - x) / dt + r_healthy - w_c |u|² - clip(w_k |f|²); ends on a fall. As Gymnasium's
    HumanoidEnv.

    Observations: see `humanoid_observation`, 348 without x and y. Actions u: 17 torques in [-0.4,
    0.4] x gear. x is the centre of mass, one substep behind qpos; f are the contact forces on all
    bodies.
    """

    # random: mean of 100 episodes, seeds 0 to 99 (standard error 3.3); expert: about SAC's at 1M
    # steps, of v4, which has no
    # contact cost (CleanRL: 4996; Tianshou: 5489); on v5 PPO: 2661 at 10M (SLM-Lab). All before
    # MuJoCo 4.0 changed RK4
    metadata: ClassVar[dict[str, Any]] = {
        **BatchVectorEnv.metadata,
        "reference": {"random": 112.5, "expert": 5000.0},
    }

    derived_fields = ("xipos", *READ)

    def __init__(
        self,
        num_envs: int = 1,
        xml_file: str = "humanoid.xml",
        frame_skip: int = 5,
        default_camera_config: dict[str, Any] | None = None,
        forward_reward_weight: float = 1.25,
        ctrl_cost_weight: float = 0.1,
        contact_cost_weight: float = 5e-7,
        contact_cost_range: tuple[float, float] = (-np.inf, 10.0),
        healthy_reward: float = 5.0,
        terminate_when_unhealthy: bool = True,
        healthy_z_range: tuple[float, float] = (1.0, 2.0),
        reset_noise_scale: float = 1e-2,
        exclude_current_positions_from_observation: bool = True,
        include_cinert_in_observation: bool = True,
        include_cvel_in_observation: bool = True,
        include_qfrc_actuator_in_observation: bool = True,
        include_cfrc_ext_in_observation: bool = True,
        **kwargs: Any,
    ) -> None:
        model = (xml_file, frame_skip, default_camera_config)
        super().__init__(num_envs, *model, simulations=ContactBatch, **kwargs)
        self.forward_reward_weight = forward_reward_weight
        self.ctrl_cost_weight = ctrl_cost_weight
        self.contact_cost_weight = contact_cost_weight
        self.contact_cost_range = contact_cost_range
        self.healthy_reward = healthy_reward
        self.terminate_when_unhealthy = terminate_when_unhealthy
        self.healthy_z_range = healthy_z_range
        self.reset_noise_scale = reset_noise_scale
        self.skip = 2 * int(exclude_current_positions_from_observation)
        self.observed = observed(
            include_cinert_in_observation,
            include_cvel_in_observation,
            include_qfrc_actuator_in_observation,
            include_cfrc_ext_in_observation,
        )
        self.xy = self.state_array("xy", start=None, shape=(2,))
        """The centre of mass at the end of the last step, [N, 2] in m."""
        self.make_spaces()

    def after_reset(self, rows: np.ndarray) -> None:
        """Compute the centre of mass."""
        super().after_reset(rows)
        self.xy[rows] = self.place(rows)

    def place(self, rows: Rows) -> np.ndarray:
        """The centre of mass, in m, [rows, 2]."""
        mass = self.model.body_mass
        places = self.derived["xipos"][rows]
        # b: bodies, n: rows, j: x, y, z.
        moments = np.einsum("b,nbj->nj", mass, places)
        centre = moments / mass.sum()
        return centre[:, :2]

    def observe(self, rows: Rows) -> np.ndarray:
        """Positions, velocities and the derived fields that the settings name."""
        return humanoid_observation(self, rows, self.observed)

    def channels(self) -> tuple[str, ...]:
        """The names of the joints and of the derived fields."""
        return humanoid_channels(self, self.observed)

    def healthy(self) -> np.ndarray:
        """Rows that stand, bool [N]: the height within its open range."""
        min_z, max_z = self.healthy_z_range
        z = self.qpos[:, 2]
        above = min_z < z
        below = z < max_z
        return above & below

    def evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        """The reward of running forward; the end where the humanoid has fallen."""
        xy = self.place(ALL)
        velocity = (xy - self.xy) / self.dt
        self.xy = xy
        healthy = self.healthy()
        forward = self.forward_reward_weight * velocity[:, 0]
        survive = healthy * self.healthy_reward
        controls = control_cost(self, self.ctrl_cost_weight)
        contacts = contact_cost(self, self.contact_cost_weight, self.contact_cost_range)
        info = {
            **self.reset_info(ALL),
            "x_velocity": velocity[:, 0].copy(),
            "y_velocity": velocity[:, 1].copy(),
            "reward_survive": survive,
            "reward_forward": forward,
            "reward_ctrl": -controls,
            "reward_contact": -contacts,
        }
        rewards = forward + survive - (controls + contacts)
        return rewards, ends(healthy, self.terminate_when_unhealthy), info

    def reset_info(self, rows: Rows) -> Info:
        """The place and the tendons."""
        place = place_info(self, rows)
        tendons = tendon_info(self, rows)
        return place | tendons


make = partial(single_env, HumanoidEnv, Humanoid)
