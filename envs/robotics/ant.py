"""Ant-v5: run forward on four legs. Gymnasium's task, natively vectorised, bit-identical, contact
forces included.
"""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from mujoco.batch import Batch

from bio_rl.envs.robotics._robots import (
    ends,
    is_finite,
    named_state,
    normal_velocities,
    place_info,
    positions_and_velocities,
)
from bio_rl.vector import mujoco_names
from bio_rl.vector.infos import Info
from bio_rl.vector.mujoco import BatchVectorEnv
from bio_rl.vector.mujoco_model import single_env
from bio_rl.vector.mujoco_pool import ContactBatch
from bio_rl.vector.native import ALL, Rows

ENV_IDS = {
    "bio_rl/Ant-v5": {
        "entry_point": ":make",
        "vector_entry_point": ":Ant",
        "max_episode_steps": 1000,
        "reward_threshold": 6000.0,
    }
}


class Ant(BatchVectorEnv):
    """r = w_f (x' - x) / dt + r_healthy - w_c |a|² - w_k |f|²; ends on a fall. Arguments and
    semantics of Gymnasium's AntEnv.

    Observations: qpos [15, without x and y: 13] in m and rad, qvel [14] in m/s and rad/s, contact
    forces f [13 bodies x 6] in N m and N, clipped to ±1. Actions: 8 torques in [-1, 1] x gear. x is
    the torso's, one substep behind qpos.
    """

    # random: mean of 100 episodes, seeds 0 to 99 (standard error 9.3); expert: about SAC's on v5 at
    # 2M steps (SLM-Lab's
    # docs/BENCHMARKS.md: 4943), before MuJoCo 4.0 changed RK4 a little
    metadata: ClassVar[dict[str, Any]] = {
        **BatchVectorEnv.metadata,
        "reference": {"random": -53.6, "expert": 5000.0},
    }

    derived_fields = ("xpos", "cfrc_ext")

    def __init__(
        self,
        num_envs: int = 1,
        xml_file: str = "ant.xml",
        frame_skip: int = 5,
        default_camera_config: dict[str, Any] | None = None,
        forward_reward_weight: float = 1,
        ctrl_cost_weight: float = 0.5,
        contact_cost_weight: float = 5e-4,
        healthy_reward: float = 1.0,
        main_body: int | str = 1,
        terminate_when_unhealthy: bool = True,
        healthy_z_range: tuple[float, float] = (0.2, 1.0),
        contact_force_range: tuple[float, float] = (-1.0, 1.0),
        reset_noise_scale: float = 0.1,
        exclude_current_positions_from_observation: bool = True,
        include_cfrc_ext_in_observation: bool = True,
        simulations: type[Batch] = ContactBatch,
        **kwargs: Any,
    ) -> None:
        model = (xml_file, frame_skip, default_camera_config)
        super().__init__(num_envs, *model, simulations=simulations, **kwargs)
        self.forward_reward_weight = forward_reward_weight
        self.ctrl_cost_weight = ctrl_cost_weight
        self.contact_cost_weight = contact_cost_weight
        self.healthy_reward = healthy_reward
        self.terminate_when_unhealthy = terminate_when_unhealthy
        self.healthy_z_range = healthy_z_range
        self.contact_force_range = contact_force_range
        self.reset_noise_scale = reset_noise_scale
        self.skip = 2 * int(exclude_current_positions_from_observation)
        self.observes_contacts = include_cfrc_ext_in_observation
        self.main_body = self.model.body(main_body).id
        self.xy = self.state_array("xy", start=None, shape=(2,))
        """Where the main body was at the end of the last step, [N, 2] in m."""
        self.make_spaces()

    def reset_state(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Positions are drawn uniformly, velocities normally."""
        return normal_velocities(self, rng)

    def after_reset(self, rows: np.ndarray) -> None:
        """Compute where the main body is."""
        super().after_reset(rows)
        self.xy[rows] = self.place(rows)

    def place(self, rows: Rows) -> np.ndarray:
        """Where the main body is, in m, [rows, 2]."""
        xpos = self.derived["xpos"]
        return xpos[rows, self.main_body, :2].copy()

    def contact_forces(self, rows: Rows) -> np.ndarray:
        """Clipped wrenches on all bodies, the world's first, [rows, 14, 6]."""
        low, high = self.contact_force_range
        forces = self.derived["cfrc_ext"][rows]
        return np.clip(forces, low, high)

    def observe(self, rows: Rows) -> np.ndarray:
        """Positions, velocities and contact forces."""
        if not self.observes_contacts:
            return positions_and_velocities(self, rows)

        positions = self.qpos[rows, self.skip :]
        velocities = self.qvel[rows]
        # Those on the world's own body are left out; the others stand in a row.
        forces = self.contact_forces(rows)[:, 1:]
        flat = forces.reshape(len(forces), -1)
        return np.concatenate((positions, velocities, flat), axis=1)

    def channels(self) -> tuple[str, ...]:
        """The names of the joints, and of the wrenches on the bodies."""
        if not self.observes_contacts:
            return named_state(self)
        wrenches = mujoco_names.of_bodies(self.model, 1, mujoco_names.WRENCH)
        return named_state(self) + wrenches

    def healthy(self) -> np.ndarray:
        """Rows that stand, bool [N]: the state finite and the height within its closed range."""
        min_z, max_z = self.healthy_z_range
        z = self.qpos[:, 2]
        high_enough = (min_z <= z) & (z <= max_z)
        return high_enough & is_finite(self)

    def evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        """The reward of running forward; the end where the ant has fallen."""
        xy = self.place(ALL)
        velocity = (xy - self.xy) / self.dt
        self.xy = xy
        healthy = self.healthy()
        forward = velocity[:, 0] * self.forward_reward_weight
        survive = healthy * self.healthy_reward
        ctrl_cost = self.ctrl_cost_weight * np.square(actions).sum(1)
        squares = np.square(self.contact_forces(ALL)).reshape(self.num_envs, -1)
        contact_cost = self.contact_cost_weight * squares.sum(1)
        info = {
            **self.reset_info(ALL),
            "x_velocity": velocity[:, 0].copy(),
            "y_velocity": velocity[:, 1].copy(),
            "reward_forward": forward,
            "reward_ctrl": -ctrl_cost,
            "reward_contact": -contact_cost,
            "reward_survive": survive,
        }
        rewards = forward + survive - (ctrl_cost + contact_cost)
        return rewards, ends(healthy, self.terminate_when_unhealthy), info

    def reset_info(self, rows: Rows) -> Info:
        """The place."""
        return place_info(self, rows)


make = partial(single_env, AntEnv, Ant)
