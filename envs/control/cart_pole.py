"""CartPole-v1, and MaskedCartPole-v0 without its velocities, so that balancing needs memory.
Native, bit-identical.
"""

import math
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.vector import AutoresetMode

from bio_rl.envs.control._painter import Painter
from bio_rl.vector.infos import Info
from bio_rl.vector.native import NativeVectorEnv, Rows
from bio_rl.vector.perturb import constants, signals
from bio_rl.vector.perturb.layer import Layer, Perturb
from bio_rl.vector.single import SingleEnv

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
CHANNELS = ("cart position", "cart velocity", "pole angle", "pole velocity")
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
        "dt": DT,
        "actions": ("push left", "push right"),
        "reference": {"random": 22.5, "expert": 500.0},
    }
    observed: ClassVar[list[int]] = [0, 1, 2, 3]
    """Indices of x, x', θ, θ' that are seen."""

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
        self.painter = Painter(CartPoleEnv, render_mode)

        # x, x', θ, θ' in SI units: contiguous rows, for NumPy's vector loops
        self.physics = np.zeros((4, num_envs))
        self.constants: dict[str, Any] = CONSTANTS
        # a masked form shows fewer of them
        self.metadata["channels"] = tuple(CHANNELS[i] for i in self.observed)
        self.set_spaces(observations(self.observed), gym.spaces.Discrete(2))

        if perturb:
            self.layer = Layer(self, perturb, constants.KINDS | signals.KINDS)
            self.constants = constants.attach(self.layer, CONSTANTS)

    def reset_rows(self, rows: np.ndarray) -> None:
        """Draw a start near the upright one."""
        for i in rows.tolist():
            rng = self.rngs[i]
            self.physics[:, i] = rng.uniform(-RESET_NOISE, RESET_NOISE, 4)

    def advance(self, actions: np.ndarray, begun: np.ndarray | None) -> None:
        """Push the carts."""
        right = actions == 1
        self.physics = cart_pole_step(self.physics, right, **self.constants)

    def outcome(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """A reward of 1; the end where a pole has fallen or a cart has left the track."""
        x, _, theta, _ = self.physics

        left = np.abs(x) > MAX_POSITION
        fallen = np.abs(theta) > MAX_ANGLE

        rewards = np.ones(self.num_envs)
        return rewards, left | fallen, {}

    def observe(self, rows: Rows) -> np.ndarray:
        """The observed variables, a row for each environment."""
        variables = self.physics[self.observed][:, rows]
        return variables.T.astype(np.float32, order="C")

    def world_state(self) -> dict[str, np.ndarray]:
        """physics [N, 4]: x, x', θ, θ'."""
        return {"physics": self.physics.T}

    def set_world_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `world_state` returned."""
        physics = np.array(state["physics"], np.float64)
        # Saved with a row for each environment, kept with a row for each variable.
        self.physics = physics.T.copy()

    def frames(self) -> tuple[np.ndarray, ...]:
        """The carts and poles as Gymnasium draws them."""
        lengths = np.broadcast_to(self.constants["length"], self.num_envs)
        frames = []
        for state, length in zip(self.physics.T, lengths, strict=True):
            frame = self.painter.frame(state=state, length=length)
            frames.append(frame)
        return tuple(frames)

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer."""
        self.painter.close()


class MaskedCartPole(CartPole):
    """CartPole whose velocities are hidden. Observations, float32 [N, 2]: x in m, θ in rad."""

    observed: ClassVar[list[int]] = [0, 2]


def observations(observed: list[int]) -> gym.Space:
    """The space of the observed variables, indices of x, x', θ, θ': twice as far as episodes go."""
    bounds = [2 * MAX_POSITION, np.inf, 2 * MAX_ANGLE, np.inf]
    high = np.array(bounds, np.float32)[observed]
    return gym.spaces.Box(-high, high, dtype=np.float32)


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
    cos = np.cos(theta)
    sin = np.sin(theta)
    mass = pole_mass + cart_mass
    mass_length = pole_mass * length

    # The acceleration that the force and the centrifugal pull of the pole would give the cart.
    signed_force = np.where(right, force, -force)
    centrifugal = mass_length * np.square(theta_dot) * sin
    push = (signed_force + centrifugal) / mass

    inertia = length * (4.0 / 3.0 - pole_mass * np.square(cos) / mass)
    theta_acc = (gravity * sin - cos * push) / inertia
    x_acc = push - mass_length * theta_acc * cos / mass

    rates = np.array((x_dot, x_acc, theta_dot, theta_acc))
    return state + DT * rates


make = partial(SingleEnv, CartPole)
make_masked = partial(SingleEnv, MaskedCartPole)
