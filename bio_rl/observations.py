"""Observations as flat features: what every network sees, whatever the observation space."""

from __future__ import annotations

import math

import gymnasium as gym
import torch
from torch import Tensor, nn

from bio_rl.normalize import RunningNorm


class Features(nn.Module):
    """Observations [..., *obs] of a space as float features [..., F]: a Box normalised and flattened, a Discrete one-hot.

    Raises ValueError for other spaces. `normalise` keeps running statistics in the state dict (`RunningNorm`).
    """

    def __init__(self, space: gym.Space, normalise: bool) -> None:
        super().__init__()
        self.choices = 0
        self.norm: RunningNorm | None = None
        if isinstance(space, gym.spaces.Discrete):
            self.choices = self.size = int(space.n)
        elif isinstance(space, gym.spaces.Box) and space.shape:
            self.shape, self.size = space.shape, math.prod(space.shape)
            self.norm = RunningNorm((self.size,)) if normalise else None
        else:
            raise ValueError(f"observation space {space} cannot be served; known: Box, Discrete")

    def forward(self, obs: Tensor) -> Tensor:
        """[..., F] float32."""
        if self.choices:
            return nn.functional.one_hot(obs, self.choices).to(torch.float32)
        flat = self._flat(obs)
        return self.norm(flat) if self.norm is not None else flat

    def update(self, obs: Tensor, valid: Tensor) -> None:
        """Take obs [T, B, *obs] of the rows where valid [T, B] into the running statistics."""
        if self.norm is not None:
            self.norm.update(self._flat(obs), valid)

    def _flat(self, obs: Tensor) -> Tensor:
        return obs.flatten(obs.dim() - len(self.shape)).to(torch.float32)
