"""CartPole-v1, and MaskedCartPole-v0 without its velocities, so that balancing needs memory.
Native, bit-identical.
"""

import math
from functools import partial
from importlib.util import find_spec
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.vector import AutoresetMode

from bio_rl.vector.native import Info, NativeVectorEnv, Rows, SingleEnv
from bio_rl.vector.perturb import constants, signals
from bio_rl.vector.perturb.layer import Layer, Perturb

ENV_IDS = {
    "bio_rl/CartPole-v1": {
        "entry_point": ":make",
        "vector_entry_point": ":CartPole",
        "max_episode_steps": 500,
        "reward_threshold": 475.0,
    },
    "bio_rl/MaskedCartPole-v0": {
        "entry_point": ":make_masked",
        "vector_entry_point": ":MaskedCartPole",
        "max_episode_steps": 500,
        "reward_threshold": 475.0,
    },
}

CONSTANTS = {  # Barto, Sutton & Anderson 1983, appendix, and CartPole-v1
    "gravity": 9.8,  # m/s²
    "pole_mass": 0.1,  # kg
    "cart_mass": 1.0,  # kg
    "length": 0.5,  # m, half the pole's
    "force": 10.0,  # N
}
DT = 0.02  # s
MAX_POSITION = 2.4  # m
MAX_ANGLE = 12 * 2 * math.pi / 360  # rad
RESET_NOISE = 0.05  # each of the four variables starts within ± this


class CartPole(NativeVectorEnv):
    """r = 1 a step, the last one too; the episode ends where |x| > 2.4 m or |θ| > 12°, and after
    500 steps.

    Observations, float32 [N, 4]: cart position x in m, x' in m/s, pole angle θ in rad (0 is
    upright), θ' in rad/s. Actions, int [N]: push the cart to the left (0) or to the right (1) with
    10 N. Dynamics, reward and start as in Gymnasium's CartPole-v1, after Barto, Sutton & Anderson
    1983.
    """

    # random: mean of 100 episodes, seeds 0 to 99 (22.3 over 10,000); expert: the highest possible
    # return
    metadata: ClassVar[dict[str, Any]] = {
        "render_modes": ["rgb_array"],
        "render_fps": 50,
        "reference": {"random": 22.5, "expert": 500.0},
    }
    seen: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)  # of x, x', θ, θ'

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = 500,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        perturb: Perturb = (),
    ) -> None:
        """max_episode_steps: None or -1 for no limit. perturb: see docs/perturbations.md."""
        super().__init__(num_envs, max_episode_steps, render_mode, autoreset_mode)
        if render_mode is not None and find_spec("pygame") is None:
            raise gym.error.DependencyNotInstalled(
                "pictures of the cart need the extra `video`: pip install 'bio-rl[video]'"
            )
        self.physics = np.zeros(
            (4, num_envs)
        )  # x, x', θ, θ' in SI units: contiguous rows, for NumPy's vector loops
        self.constants: dict[str, Any] = CONSTANTS
        self._painter: CartPoleEnv | None = None
        high = np.array([2 * MAX_POSITION, np.inf, 2 * MAX_ANGLE, np.inf], np.float32)[
            list(self.seen)
        ]
        self._set_spaces(gym.spaces.Box(-high, high, dtype=np.float32), gym.spaces.Discrete(2))
        if perturb:
            self._layer = Layer(self, perturb, constants.KINDS | signals.KINDS)
            self.constants = constants.attach(self._layer, CONSTANTS)

    def _reset_rows(self, rows: np.ndarray) -> None:
        for i in rows.tolist():
            self.physics[:, i] = self._rngs[i].uniform(-RESET_NOISE, RESET_NOISE, 4)
        self._perturb(rows)

    def _advance(self, actions: np.ndarray, begun: np.ndarray | None) -> None:
        self.physics = cart_pole_step(self.physics, actions == 1, **self.constants)

    def _outcome(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        x, _, theta, _ = self.physics
        return np.ones(self.num_envs), (np.abs(x) > MAX_POSITION) | (np.abs(theta) > MAX_ANGLE), {}

    def _observe(self, rows: Rows) -> np.ndarray:
        return self.physics[list(self.seen)][:, rows].T.astype(np.float32, order="C")

    def _world_state(self) -> dict[str, np.ndarray]:
        """physics [N, 4]: x, x', θ, θ'."""
        return {"physics": self.physics.T}

    def _set_world_state(self, state: dict[str, np.ndarray]) -> None:
        self.physics = np.array(state["physics"], np.float64).T.copy()

    def _frames(self) -> tuple[np.ndarray, ...]:
        painter = self._painter = self._painter or CartPoleEnv(render_mode="rgb_array")
        frames = []
        lengths = np.broadcast_to(self.constants["length"], self.num_envs)
        for state, length in zip(self.physics.T, lengths, strict=True):
            painter.state, painter.length = state, length
            frames.append(painter.render())
        return tuple(frames)

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer."""
        if self._painter is not None:
            self._painter.close()
            self._painter = None


class MaskedCartPole(CartPole):
    """CartPole whose velocities are hidden. Observations, float32 [N, 2]: x in m, θ in rad."""

    seen = (0, 2)


def cart_pole_step(
    state: np.ndarray,
    right: np.ndarray,
    gravity: Any,
    pole_mass: Any,
    cart_mass: Any,
    length: Any,
    force: Any,
) -> np.ndarray:
    """The state one time step Δt later, a fresh float64 array [4, N] of x in m, x' in m/s, θ in
    rad, θ' in rad/s.

    state: [4, N]. right: bool [N], the force F is `force` to the right, else to the left, in N.
    Constants: numbers or [N], in SI units. Without friction, g the gravity, M the mass of both, m
    of the pole, l half its length:
        θ'' = (g sin θ - cos θ (F + m l θ'² sin θ) / M) / (l (4/3 - m cos² θ / M))
        x'' = (F + m l (θ'² sin θ - θ'' cos θ)) / M
    then Euler: x + Δt x', x' + Δt x'', and θ likewise. Barto, Sutton & Anderson 1983, appendix
    (there with friction); the order of operations is Gymnasium's, so that results are the same to
    the last bit.
    """
    _, x_dot, theta, theta_dot = state
    cos, sin = np.cos(theta), np.sin(theta)
    mass, mass_length = pole_mass + cart_mass, pole_mass * length
    push = (np.where(right, force, -force) + mass_length * np.square(theta_dot) * sin) / mass
    theta_acc = (gravity * sin - cos * push) / (
        length * (4.0 / 3.0 - pole_mass * np.square(cos) / mass)
    )
    x_acc = push - mass_length * theta_acc * cos / mass
    return state + DT * np.array((x_dot, x_acc, theta_dot, theta_acc))


make = partial(SingleEnv, CartPole)
make_masked = partial(SingleEnv, MaskedCartPole)
