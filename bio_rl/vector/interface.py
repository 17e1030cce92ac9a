"""The interface of environments that the training loop plays: tensors in and out, resets inside.

Whatever fulfils it can be trained in: `Vector` around a Gymnasium environment, `SideBySide` for
several seeds, or a simulator of one's own whose tensors never leave the device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor


class Ended(NamedTuple):
    """An episode that ended."""

    row: int
    """The row of its environment."""
    ret: float
    """Undiscounted return."""
    length: int
    """Steps."""


class Step(NamedTuple):
    """The result of one decision in B environments."""

    obs: Any
    """[B, *obs] the next observation: the new episode's first one where `reset`."""
    reward: Tensor
    """[B] float32."""
    terminated: Tensor
    """[B] bool, the episode ended by itself."""
    truncated: Tensor
    """[B] bool, a time limit cut the episode."""
    final_obs: Any
    """[B, *obs] the true next observation, before any reset."""
    reset: Tensor
    """[B] bool, obs starts an episode."""
    valid: Tensor | None
    """[B] bool, False where a NEXT_STEP environment only reset itself; None where every row is
    valid.
    """


class TensorVectorEnv(ABC):
    """B environments stepped as one, from tensors to tensors: what the training loop needs."""

    num_envs: int
    """B."""
    device: torch.device
    """Where observations and rewards are."""
    observation_space: gym.Space
    """The space of a single environment's observations."""
    action_space: gym.Space
    """The space of a single environment's actions."""
    mode: AutoresetMode
    """When an episode that has ended is begun anew."""

    @property
    def exact(self) -> bool:
        """Whether `state_dict` holds the very episodes; else a resume starts new ones."""
        return False

    @abstractmethod
    def no_action(self) -> Tensor:
        """Zeros in the form of an action [B] or [B, A]: what came before the first decision."""

    @abstractmethod
    def reset(self, seed: int | None = None, stream: int = 0) -> Any:
        """The first observations [B, *obs]; starts all episodes anew.

        seed, stream: every environment draws from a seed of its own (`seeding.world_seeds`).
        """

    @abstractmethod
    def step(self, action: Tensor) -> Step:
        """The result of one decision in all environments, `action` [B] or [B, A]."""

    @abstractmethod
    def take_episodes(self) -> list[Ended]:
        """The episodes that ended since the last call, in the order of their ends."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the episodes need to go on; nothing where they start anew."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the saved episodes. Only called where the environment is `exact`."""
        raise ValueError(f"{type(self).__name__} cannot go on with saved episodes: it saves none")

    @abstractmethod
    def close(self) -> None:
        """Give back what the environments hold, such as processes and windows."""
