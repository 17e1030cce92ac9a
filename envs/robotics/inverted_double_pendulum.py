"""InvertedDoublePendulum-v5: balance two poles on a cart. Gymnasium's task, natively vectorised,
bit-identical.
"""

import math
from functools import partial
from itertools import repeat
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.mujoco.inverted_double_pendulum_v5 import InvertedDoublePendulumEnv

from bio_rl.envs.robotics._robots import normal_velocities
from bio_rl.vector.infos import Info
from bio_rl.vector.mujoco import BatchVectorEnv
from bio_rl.vector.mujoco_model import single_env
from bio_rl.vector.native import Rows

ENV_IDS = {
    "bio_rl/InvertedDoublePendulum-v5": {
        "entry_point": ":make",
        "vector_entry_point": ":InvertedDoublePendulum",
        "max_episode_steps": 1000,
        "reward_threshold": 9100.0,
    }
}

MIN_HEIGHT = 1.0  # m, of the upper pole's tip
MOST = 10.0  # at which velocities and the constraint force are clipped


class InvertedDoublePendulum(BatchVectorEnv):
    """r = alive - 0.01 x² - (y - 2)² - 0.001 v1² - 0.005 v2², (x, y) the tip in m; ends at y <= 1
    m. As Gymnasium's.

    Observations: cart position in m, sin and cos of both angles, the three velocities and the
    constraint force on the cart, both clipped to ±10. Action: the force on the cart. Tip and
    constraint force lag one substep, as in Gymnasium.
    """

    # random: mean of 3000 episodes; expert: what SAC and TD3 reach in 1M steps (TD3 9337: Fujimoto
    # 2018)
    metadata: ClassVar[dict[str, Any]] = {
        **BatchVectorEnv.metadata,
        "reference": {"random": 47.8, "expert": 9350.0},
    }

    derived_fields = ("site_xpos", "qfrc_constraint")

    def __init__(
        self,
        num_envs: int = 1,
        xml_file: str = "inverted_double_pendulum.xml",
        frame_skip: int = 5,
        default_camera_config: dict[str, Any] | None = None,
        healthy_reward: float = 10.0,
        reset_noise_scale: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_envs, xml_file, frame_skip, default_camera_config, **kwargs)
        self.healthy_reward = healthy_reward
        self.reset_noise_scale = reset_noise_scale
        self.make_spaces()

    def reset_state(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Positions are drawn uniformly, velocities normally."""
        return normal_velocities(self, rng)

    def observe(self, rows: Rows) -> np.ndarray:
        """The cart's position, the angles, the velocities and the force on the cart."""
        cart = self.qpos[rows, :1]
        angles = self.qpos[rows, 1:]
        velocities = np.clip(self.qvel[rows], -MOST, MOST)
        force = np.clip(self.derived["qfrc_constraint"][rows, :1], -MOST, MOST)
        parts = (
            cart,
            np.sin(angles),
            np.cos(angles),
            velocities,
            force,
        )
        return np.concatenate(parts, axis=1)

    def channels(self) -> tuple[str, ...]:
        """The names of the cart's place, the poles' angles, the velocities and the force."""
        # the sines of both angles come before the cosines, as in `observe`
        return (
            "cart position",
            "sin lower angle",
            "sin upper angle",
            "cos lower angle",
            "cos upper angle",
            "cart velocity",
            "lower velocity",
            "upper velocity",
            "force on the cart",
        )

    def evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        """The reward of balancing; the end where the tip is too low."""
        x, _, y = self.derived["site_xpos"][:, 0].T
        fallen = y <= MIN_HEIGHT
        first, second = self.qvel[:, 1:].T

        distance_penalty = 0.01 * _pow2(x) + _pow2(y - 2)
        velocity_penalty = 1e-3 * _pow2(first) + 5e-3 * _pow2(second)
        alive = self.healthy_reward * (~fallen).astype(np.int64)
        info = {
            "reward_survive": alive,
            "distance_penalty": -distance_penalty,
            "velocity_penalty": -velocity_penalty,
        }

        return alive - distance_penalty - velocity_penalty, fallen, info


def _pow2(values: np.ndarray) -> np.ndarray:
    """Squares by the C library's pow, as NumPy's scalars have them: array ** 2 differs in 1 of 1000
    last bits.
    """
    squares = map(math.pow, values.tolist(), repeat(2.0))
    return np.fromiter(squares, np.float64, len(values))


make = partial(single_env, InvertedDoublePendulumEnv, InvertedDoublePendulum)
