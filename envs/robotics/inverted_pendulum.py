"""InvertedPendulum-v5: balance a pole on a cart. Gymnasium's task, natively vectorised,
bit-identical.
"""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.mujoco.inverted_pendulum_v5 import DEFAULT_CAMERA_CONFIG, InvertedPendulumEnv

from bio_rl.envs.robotics._robots import is_finite, positions_and_velocities
from bio_rl.vector.infos import Info
from bio_rl.vector.mujoco import BatchVectorEnv
from bio_rl.vector.mujoco_model import single_env
from bio_rl.vector.native import Rows

ENV_IDS = {
    "bio_rl/InvertedPendulum-v5": {
        "entry_point": ":make",
        "vector_entry_point": ":InvertedPendulum",
        "max_episode_steps": 1000,
        "reward_threshold": 950.0,
    }
}

MAX_ANGLE = 0.2  # rad


class InvertedPendulum(BatchVectorEnv):
    """r = 1 while |angle| <= 0.2 rad, then the episode ends. Arguments and semantics of
    Gymnasium's.

    Observations: cart position in m, pole angle in rad, and their velocities. Action: the force on
    the cart.
    """

    # random: mean of 5000 episodes; expert: the highest possible return
    metadata: ClassVar[dict[str, Any]] = {
        **BatchVectorEnv.metadata,
        "reference": {"random": 5.0, "expert": 1000.0},
    }

    def __init__(
        self,
        num_envs: int = 1,
        xml_file: str = "inverted_pendulum.xml",
        frame_skip: int = 2,
        default_camera_config: dict[str, Any] = DEFAULT_CAMERA_CONFIG,
        reset_noise_scale: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_envs, xml_file, frame_skip, default_camera_config, **kwargs)
        self.reset_noise_scale = reset_noise_scale
        self.make_spaces()

    def observe(self, rows: Rows) -> np.ndarray:
        """Positions and velocities."""
        return positions_and_velocities(self, rows)

    def channels(self) -> tuple[str, ...]:
        """The names of the cart's and the pole's place and speed."""
        return ("cart position", "pole angle", "cart velocity", "pole velocity")

    def evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        """A reward of 1 while the pole is upright."""
        angle = np.abs(self.qpos[:, 1])
        upright = is_finite(self) & (angle <= MAX_ANGLE)

        survive = upright.astype(np.int64)
        rewards = upright.astype(np.float64)
        return rewards, ~upright, {"reward_survive": survive}


make = partial(single_env, InvertedPendulumEnv, InvertedPendulum)
