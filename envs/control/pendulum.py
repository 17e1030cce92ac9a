"""Pendulum-v1: swing up and hold a pendulum with too little torque. Gymnasium's task, natively
vectorised, bit-identical.
"""

from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from gymnasium.vector import AutoresetMode

from bio_rl.envs.control._painter import Painter
from bio_rl.vector.infos import Info
from bio_rl.vector.native import NativeVectorEnv, Rows
from bio_rl.vector.perturb import constants, signals
from bio_rl.vector.perturb.layer import Layer, Perturb
from bio_rl.vector.single import SingleEnv

ENV_IDS = {
    "bio_rl/Pendulum-v1": {
        "entry_point": ":make",
        "vector_entry_point": ":Pendulum",
        "max_episode_steps": 200,
    }
}

CONSTANTS = {
    "gravity": 10.0,  # m/s²
    "pole_mass": 1.0,  # kg
    "length": 1.0,  # m
    "force": 1.0,  # torque per action
}
DT = 0.05  # s
MAX_SPEED = 8.0  # rad/s
MAX_TORQUE = 2.0  # N m
START = (np.pi, 1.0)  # θ in rad and θ' in rad/s start within ± these


class Pendulum(NativeVectorEnv):
    """r = -(θ² + 0.1 θ'² + 0.001 u²) of the state before the step, θ in (-π, π]; never terminates,
    200 steps.

    Observations, float32 [N, 3]: cos θ, sin θ (θ = 0 is upright), θ' in rad/s within ± 8. Actions
    [N, 1]: torque u in N m, clipped to ± 2. Dynamics, reward and start as in Gymnasium's
    Pendulum-v1.
    """

    # random: mean of 1,000 episodes; expert: about SAC's, TD3's and TQC's in RL Baselines3 Zoo
    # (-150)
    metadata: ClassVar[dict[str, Any]] = {
        "render_modes": ["rgb_array"],
        "render_fps": 30,
        "dt": DT,
        "channels": ("cos angle", "sin angle", "velocity"),
        "actions": ("torque",),
        "reference": {"random": -1224.0, "expert": -150.0},
    }
    carried = (*NativeVectorEnv.carried, "_torque")

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = 200,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        perturb: Perturb = (),
    ) -> None:
        """max_episode_steps: None or -1 for no limit. perturb: see docs/perturbations.md."""
        super().__init__(num_envs, max_episode_steps, render_mode, autoreset_mode)
        self.painter = Painter(PendulumEnv, render_mode)

        # θ in rad, θ' in rad/s
        self.physics = np.zeros((2, num_envs))
        self._before = self.physics
        self.constants: dict[str, Any] = CONSTANTS
        self._torque: np.ndarray | None = None  # [N] of the last step, for the pictures
        high = np.array([1.0, 1.0, MAX_SPEED], np.float32)
        action = gym.spaces.Box(-MAX_TORQUE, MAX_TORQUE, (1,), np.float32)
        self.set_spaces(gym.spaces.Box(-high, high, dtype=np.float32), action)

        if perturb:
            self.layer = Layer(self, perturb, constants.KINDS | signals.KINDS)
            self.constants = constants.attach(self.layer, CONSTANTS)

    def reset_rows(self, rows: np.ndarray) -> None:
        """Draw any angle and a low speed."""
        high = np.array(START)
        for i in rows.tolist():
            rng = self.rngs[i]
            self.physics[:, i] = rng.uniform(-high, high)
        self._torque = None

    def advance(self, actions: np.ndarray, begun: np.ndarray | None) -> None:
        """Turn the pendulums."""
        self._before = self.physics
        self._torque = clipped(actions)
        self.physics = pendulum_step(self.physics, self._torque, **self.constants)

    def outcome(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """The cost of the state before the step and of the torque that was chosen."""
        theta, speed = self._before

        # The agent's own torque: a perturbed actuator may have received another.
        torque = clipped(actions)
        angle = (theta + np.pi) % (2 * np.pi) - np.pi
        cost = _squared(angle) + 0.1 * _squared(speed) + 0.001 * _squared(torque)

        terminated = np.zeros(self.num_envs, np.bool_)
        return -cost, terminated, {}

    def observe(self, rows: Rows) -> np.ndarray:
        """The direction and the speed, a row for each environment."""
        theta, speed = self.physics[:, rows]
        cos = np.cos(theta)
        sin = np.sin(theta)
        return np.stack((cos, sin, speed), axis=1, dtype=np.float32)

    def world_state(self) -> dict[str, np.ndarray]:
        """physics [N, 2]: θ, θ'."""
        return {"physics": self.physics.T}

    def set_world_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `world_state` returned."""
        physics = np.array(state["physics"], np.float64)
        # Saved with a row for each environment, kept with a row for each variable.
        self.physics = physics.T.copy()

    def frames(self) -> tuple[np.ndarray, ...]:
        """The pendulums as Gymnasium draws them, with an arrow for the last torque."""
        torques = self._torque
        if torques is None:
            torques = [None] * self.num_envs
        frames = []
        for state, torque in zip(self.physics.T, torques, strict=True):
            frame = self.painter.frame(state=state, last_u=torque)
            frames.append(frame)
        return tuple(frames)

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer."""
        self.painter.close()


def clipped(actions: np.ndarray) -> np.ndarray:
    """The torques [N] that actions [N, 1] stand for."""
    torque = actions[:, 0]
    return np.clip(torque, -MAX_TORQUE, MAX_TORQUE)


def pendulum_step(
    state: np.ndarray, torque: np.ndarray, gravity: Any, pole_mass: Any, length: Any, force: Any
) -> np.ndarray:
    """The state one time step Δt later, a fresh float64 array [2, N] of θ in rad and θ' in rad/s.

    state: [2, N]. torque u: [N], in N m. Constants: numbers or [N], g the gravity, m and l mass and
    length of a rod that turns about its end, k = `force` the share of the torque that acts:
        θ'' = 3 g / (2 l) sin θ + 3 k u / (m l²),    θ' + Δt θ'' within ± 8,
            θ + Δt θ' with the new θ'
    The order and the precision of operations are Gymnasium's, so that results are the same to the
    last bit.
    """
    theta, speed = state

    # The drive is in the actions' precision.
    per_torque = np.asarray(3.0 / (pole_mass * length**2) * force)
    drive = per_torque.astype(torque.dtype) * torque

    weight = 3 * gravity / (2 * length) * np.sin(theta)
    acceleration = weight + drive
    speed = np.clip(speed + acceleration * DT, -MAX_SPEED, MAX_SPEED)

    theta = theta + speed * DT
    return np.stack((theta, speed))


def _squared(x: np.ndarray) -> np.ndarray:
    """x² [N] as `x ** 2` of one number has it, which is the C library's `pow`: in 1 of 1,000 its
    last bit is not that of x · x.

    NumPy's power of an array is another function on processors with AVX-512, so numbers are squared
    one by one.
    """
    squares = [number**2 for number in x]
    return np.array(squares, x.dtype)


make = partial(SingleEnv, Pendulum)
