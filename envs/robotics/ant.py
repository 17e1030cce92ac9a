"""Ant-v5: run forward on four legs. Gymnasium's task, natively vectorised, bit-identical, contact
forces included.
"""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.mujoco.ant_v5 import DEFAULT_CAMERA_CONFIG, AntEnv

from bio_rl.vector.mujoco import ALL, BatchVectorEnv, Info, Rows
from bio_rl.vector.mujoco_model import single_env
from bio_rl.vector.mujoco_pool import ContactBatch

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

    simulations = ContactBatch
    derived_fields = ("xpos", "cfrc_ext")

    def __init__(
        self,
        num_envs: int = 1,
        xml_file: str = "ant.xml",
        frame_skip: int = 5,
        default_camera_config: dict[str, Any] = DEFAULT_CAMERA_CONFIG,
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
        **kwargs: Any,
    ) -> None:
        self._forward_reward_weight = forward_reward_weight
        self._ctrl_cost_weight = ctrl_cost_weight
        self._contact_cost_weight = contact_cost_weight
        self._healthy_reward = healthy_reward
        self._terminate_when_unhealthy = terminate_when_unhealthy
        self._healthy_z_range = healthy_z_range
        self._contact_force_range = contact_force_range
        self._reset_noise_scale = reset_noise_scale
        self._skip = 2 * int(exclude_current_positions_from_observation)
        self._contacts_seen = include_cfrc_ext_in_observation
        model = {
            "xml_file": xml_file,
            "frame_skip": frame_skip,
            "default_camera_config": default_camera_config,
        }
        super().__init__(num_envs, **model, **kwargs)
        self._main_body = self.model.body(main_body).id
        self._xy_before = self._xy(ALL)

    def _reset_state(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        noise = self._reset_noise_scale
        qpos = self.init_qpos + rng.uniform(-noise, noise, self.model.nq)
        return qpos, self.init_qvel + noise * rng.standard_normal(self.model.nv)

    def _reset_rows(self, rows: np.ndarray) -> None:
        super()._reset_rows(rows)
        self._xy_before[rows] = self._xy(rows)

    def _xy(self, rows: Rows) -> np.ndarray:
        """Where the main body is, in m, [rows, 2]."""
        return self.derived["xpos"][rows, self._main_body, :2].copy()

    def _contact_forces(self, rows: Rows) -> np.ndarray:
        """Clipped wrenches on all bodies, the world's first, [rows, 14, 6]."""
        return np.clip(self.derived["cfrc_ext"][rows], *self._contact_force_range)

    def _observe(self, rows: Rows) -> np.ndarray:
        parts = [self.qpos[rows, self._skip :], self.qvel[rows]]
        if self._contacts_seen:
            forces = self._contact_forces(rows)[:, 1:]
            parts.append(forces.reshape(len(forces), -1))
        return np.concatenate(parts, axis=1)

    def _healthy(self) -> np.ndarray:
        """Rows that stand: the state finite and the height within its closed range, bool [N]."""
        min_z, max_z = self._healthy_z_range
        z, finite = self.qpos[:, 2], np.isfinite(self.qpos).all(1) & np.isfinite(self.qvel).all(1)
        return finite & (min_z <= z) & (z <= max_z)

    def _evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        xy = self._xy(ALL)
        velocity = (xy - self._xy_before) / self.dt
        self._xy_before = xy
        healthy = self._healthy()
        forward = velocity[:, 0] * self._forward_reward_weight
        survive = healthy * self._healthy_reward
        ctrl_cost = self._ctrl_cost_weight * np.square(actions).sum(1)
        squares = np.square(self._contact_forces(ALL)).reshape(self.num_envs, -1)
        contact_cost = self._contact_cost_weight * squares.sum(1)
        info = {
            **self._reset_info(ALL),
            "x_velocity": velocity[:, 0].copy(),
            "y_velocity": velocity[:, 1].copy(),
            "reward_forward": forward,
            "reward_ctrl": -ctrl_cost,
            "reward_contact": -contact_cost,
            "reward_survive": survive,
        }
        terminated = (
            ~healthy if self._terminate_when_unhealthy else np.zeros(self.num_envs, np.bool_)
        )
        return forward + survive - (ctrl_cost + contact_cost), terminated, info

    def _reset_info(self, rows: Rows) -> Info:
        xy = self.qpos[rows, :2].copy()
        distance = np.sqrt(
            np.vecdot(xy, xy)
        )  # as np.linalg.norm of one vector: the same BLAS dot product
        return {
            "x_position": xy[:, 0].copy(),
            "y_position": xy[:, 1].copy(),
            "distance_from_origin": distance,
        }

    def _world_state(self) -> dict[str, np.ndarray]:
        """physics, and xy [N, 2]: where the main body was at the end of the last step."""
        return {**super()._world_state(), "xy": self._xy_before}

    def _set_world_state(self, state: dict[str, np.ndarray]) -> None:
        super()._set_world_state(state)
        self._xy_before = np.array(state["xy"])


make = partial(single_env, AntEnv, Ant)
