"""Humanoid-v5: run forward on two legs. Gymnasium's task, natively vectorised, bit-identical,
contact forces included.
"""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.mujoco.humanoid_v5 import DEFAULT_CAMERA_CONFIG, HumanoidEnv

from bio_rl.vector.mujoco import ALL, BatchVectorEnv, Info, Rows
from bio_rl.vector.mujoco_model import single_env
from bio_rl.vector.mujoco_pool import ContactBatch

ENV_IDS = {
    "bio_rl/Humanoid-v5": {
        "entry_point": ":make",
        "vector_entry_point": ":Humanoid",
        "max_episode_steps": 1000,
    }
}

OBSERVED = {
    "cinert": 1,
    "cvel": 1,
    "qfrc_actuator": 6,
    "cfrc_ext": 1,
}  # the first row: no world body, no free joint


def observed_fields(*included: bool) -> tuple[str, ...]:
    """Names of the derived fields that the observations hold; included: one bool for each of
    OBSERVED.
    """
    return tuple(name for name, there in zip(OBSERVED, included, strict=True) if there)


def humanoid_observation(
    env: BatchVectorEnv, rows: Rows, skip: int, fields: tuple[str, ...]
) -> np.ndarray:
    """Observations of rows, [rows, up to 350]: qpos without its first skip entries, qvel, then
    derived fields.

    cinert [13 bodies x 10]: masses in kg and inertias in kg m²; cvel [13 x 6] in rad/s and m/s;
    qfrc_actuator [17] in N m; cfrc_ext [13 x 6]: external wrenches in N m and N.
    """
    parts = [env.qpos[rows, skip:], env.qvel[rows]]
    for name in fields:
        field = env.derived[name][rows, OBSERVED[name] :]
        parts.append(field.reshape(len(field), -1))
    return np.concatenate(parts, axis=1)


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

    simulations = ContactBatch
    derived_fields = ("xipos", *OBSERVED, "ten_length", "ten_velocity")

    def __init__(
        self,
        num_envs: int = 1,
        xml_file: str = "humanoid.xml",
        frame_skip: int = 5,
        default_camera_config: dict[str, Any] = DEFAULT_CAMERA_CONFIG,
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
        self._forward_reward_weight = forward_reward_weight
        self._ctrl_cost_weight = ctrl_cost_weight
        self._contact_cost_weight = contact_cost_weight
        self._contact_cost_range = contact_cost_range
        self._healthy_reward = healthy_reward
        self._terminate_when_unhealthy = terminate_when_unhealthy
        self._healthy_z_range = healthy_z_range
        self._reset_noise_scale = reset_noise_scale
        self._skip = 2 * int(exclude_current_positions_from_observation)
        self._observed = observed_fields(
            include_cinert_in_observation,
            include_cvel_in_observation,
            include_qfrc_actuator_in_observation,
            include_cfrc_ext_in_observation,
        )
        model = {
            "xml_file": xml_file,
            "frame_skip": frame_skip,
            "default_camera_config": default_camera_config,
        }
        super().__init__(num_envs, **model, **kwargs)
        self._xy_before = self._xy(ALL)

    def _reset_rows(self, rows: np.ndarray) -> None:
        super()._reset_rows(rows)
        self._xy_before[rows] = self._xy(rows)

    def _xy(self, rows: Rows) -> np.ndarray:
        """The centre of mass, in m, [rows, 2]."""
        mass = self.model.body_mass
        return (np.einsum("b,nbj->nj", mass, self.derived["xipos"][rows]) / mass.sum())[:, :2]

    def _observe(self, rows: Rows) -> np.ndarray:
        return humanoid_observation(self, rows, self._skip, self._observed)

    def _evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        xy = self._xy(ALL)
        velocity = (xy - self._xy_before) / self.dt
        self._xy_before = xy
        min_z, max_z = self._healthy_z_range
        healthy = (min_z < self.qpos[:, 2]) & (self.qpos[:, 2] < max_z)
        forward = self._forward_reward_weight * velocity[:, 0]
        survive = healthy * self._healthy_reward
        ctrl_cost = self._ctrl_cost_weight * np.square(self.ctrl).sum(1)
        squares = np.square(self.derived["cfrc_ext"]).reshape(self.num_envs, -1)
        contact_cost = np.clip(
            self._contact_cost_weight * squares.sum(1), *self._contact_cost_range
        )
        info = {
            **self._reset_info(ALL),
            "x_velocity": velocity[:, 0].copy(),
            "y_velocity": velocity[:, 1].copy(),
            "reward_survive": survive,
            "reward_forward": forward,
            "reward_ctrl": -ctrl_cost,
            "reward_contact": -contact_cost,
        }
        terminated = (
            ~healthy if self._terminate_when_unhealthy else np.zeros(self.num_envs, np.bool_)
        )
        return forward + survive - (ctrl_cost + contact_cost), terminated, info

    def _reset_info(self, rows: Rows) -> Info:
        xy = self.qpos[rows, :2].copy()
        return {
            "x_position": xy[:, 0].copy(),
            "y_position": xy[:, 1].copy(),
            "tendon_length": self.derived["ten_length"][rows].copy(),
            "tendon_velocity": self.derived["ten_velocity"][rows].copy(),
            "distance_from_origin": np.sqrt(
                np.vecdot(xy, xy)
            ),  # as np.linalg.norm of one vector: the same BLAS dot product
        }

    def _world_state(self) -> dict[str, np.ndarray]:
        """physics, and xy [N, 2]: the centre of mass at the end of the last step."""
        return {**super()._world_state(), "xy": self._xy_before}

    def _set_world_state(self, state: dict[str, np.ndarray]) -> None:
        super()._set_world_state(state)
        self._xy_before = np.array(state["xy"])


make = partial(single_env, HumanoidEnv, Humanoid)
