"""MaskedCartPole-v0: CartPole-v1 without its velocities, so that balancing needs memory. Natively vectorised, bit-identical."""

import math
from functools import partial
from importlib.util import find_spec
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.vector import AutoresetMode

from bio_rl.envs._vector import Info, NativeVectorEnv, Rows, SingleEnv

ENV_IDS = {
    "bio_rl/MaskedCartPole-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":MaskedCartPole",
        "max_episode_steps": 500,
        "reward_threshold": 475.0,
    }
}

GRAVITY = 9.8  # m/s²; this and the constants below: Barto, Sutton & Anderson 1983, appendix, and CartPole-v1
POLE_MASS = 0.1  # kg
TOTAL_MASS = POLE_MASS + 1.0  # kg, with the cart
HALF_LENGTH = 0.5  # m, of the pole
MASS_LENGTH = POLE_MASS * HALF_LENGTH  # kg m
FORCE = 10.0  # N
DT = 0.02  # s
MAX_POSITION = 2.4  # m
MAX_ANGLE = 12 * 2 * math.pi / 360  # rad
RESET_NOISE = 0.05  # each of the four variables starts within ± this


class MaskedCartPole(NativeVectorEnv):
    """r = 1 a step, the last one too; the episode ends where |x| > 2.4 m or |θ| > 12°, and after 500 steps.

    Observations, float32 [N, 2]: cart position x in m, pole angle θ in rad (0 is upright). The velocities are hidden.
    Actions, int [N]: push the cart to the left (0) or to the right (1) with 10 N.
    Dynamics, reward and start as in Gymnasium's CartPole-v1, after Barto, Sutton & Anderson 1983.
    """

    # random: mean of 100 episodes, seeds 0 to 99 (22.3 over 10,000); expert: the highest possible return
    metadata: ClassVar[dict[str, Any]] = {
        "render_modes": ["rgb_array"],
        "render_fps": 50,
        "reference": {"random": 22.5, "expert": 500.0},
    }

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = 500,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        """max_episode_steps: None or -1 for no limit."""
        super().__init__(num_envs, max_episode_steps, render_mode, autoreset_mode)
        if render_mode is not None and find_spec("pygame") is None:
            raise gym.error.DependencyNotInstalled("pictures of the cart need the extra `video`: pip install 'bio-rl[video]'")
        self.physics = np.zeros((4, num_envs))  # x, x', θ, θ' in SI units: contiguous rows, for NumPy's vector loops
        self._painter: CartPoleEnv | None = None
        high = np.array([2 * MAX_POSITION, 2 * MAX_ANGLE], np.float32)
        self._set_spaces(gym.spaces.Box(-high, high, dtype=np.float32), gym.spaces.Discrete(2))

    def _reset_rows(self, rows: np.ndarray) -> None:
        for i in rows.tolist():
            self.physics[:, i] = self._rngs[i].uniform(-RESET_NOISE, RESET_NOISE, 4)

    def _advance(self, actions: np.ndarray, begun: np.ndarray | None) -> None:
        self.physics = cart_pole_step(self.physics, np.where(actions == 1, FORCE, -FORCE))

    def _outcome(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        x, _, theta, _ = self.physics
        return np.ones(self.num_envs), (np.abs(x) > MAX_POSITION) | (np.abs(theta) > MAX_ANGLE), {}

    def _observe(self, rows: Rows) -> np.ndarray:
        x, _, theta, _ = self.physics
        return np.stack((x[rows], theta[rows]), axis=1, dtype=np.float32)

    def _world_state(self) -> dict[str, np.ndarray]:
        """physics [N, 4]: x, x', θ, θ'."""
        return {"physics": self.physics.T}

    def _set_world_state(self, state: dict[str, np.ndarray]) -> None:
        self.physics = np.array(state["physics"], np.float64).T.copy()

    def _frames(self) -> tuple[np.ndarray, ...]:
        if self._painter is None:
            self._painter = CartPoleEnv(render_mode="rgb_array")
        frames = []
        for state in self.physics.T:
            self._painter.state = state
            frames.append(self._painter.render())
        return tuple(frames)

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer."""
        if self._painter is not None:
            self._painter.close()
            self._painter = None


def cart_pole_step(state: np.ndarray, force: np.ndarray) -> np.ndarray:
    """The state one time step Δt later, a fresh float64 array [4, N] of x in m, x' in m/s, θ in rad, θ' in rad/s.

    state: [4, N]. force F: [N], in N. Without friction, M the mass of both, m of the pole, l half its length:
        θ'' = (g sin θ - cos θ (F + m l θ'² sin θ) / M) / (l (4/3 - m cos² θ / M))
        x'' = (F + m l (θ'² sin θ - θ'' cos θ)) / M
    then Euler: x + Δt x', x' + Δt x'', and θ likewise. Barto, Sutton & Anderson 1983, appendix (there with
    friction); the order of operations is Gymnasium's, so that results are the same to the last bit.
    """
    x, x_dot, theta, theta_dot = state
    cos, sin = np.cos(theta), np.sin(theta)
    push = (force + MASS_LENGTH * np.square(theta_dot) * sin) / TOTAL_MASS
    theta_acc = (GRAVITY * sin - cos * push) / (HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * np.square(cos) / TOTAL_MASS))
    x_acc = push - MASS_LENGTH * theta_acc * cos / TOTAL_MASS
    return np.stack((x + DT * x_dot, x_dot + DT * x_acc, theta + DT * theta_dot, theta_dot + DT * theta_acc))


make = partial(SingleEnv, MaskedCartPole)
