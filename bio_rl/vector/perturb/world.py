"""The parts of a world that perturbations read: whatever has these attributes can be perturbed."""

from typing import Any, Protocol

import gymnasium as gym
import numpy as np


class World(Protocol):
    """A batch of N environments, such as a `NativeVectorEnv`."""

    num_envs: int
    max_episode_steps: int | None
    rngs: list[np.random.Generator]
    """A generator for each row."""
    elapsed: np.ndarray
    """Steps since each episode began, int [N]; the present one included while a step is made."""

    @property
    def single_observation_space(self) -> gym.Space[Any]:
        """The space of one row's observation."""
        ...

    @property
    def single_action_space(self) -> gym.Space[Any]:
        """The space of one row's action."""
        ...


class Formula(World, Protocol):
    """A world with equations of motion of its own."""

    constants: dict[str, Any]
    """Their constants by name, numbers or arrays [N]."""
