"""Observations as flat features: what every network sees, whatever the observation space."""

from __future__ import annotations

import math

import gymnasium as gym
import torch
from torch import Tensor, nn

from bio_rl.normalize import RunningNorm


class Features(nn.Module):
    """Observations [..., *obs] of a space as float features [..., F]: a Box normalised and flattened, a Discrete one-hot.

    With `image`, for networks that look at pictures, a Box of bytes [H, W, C] or [C, H, W] becomes [..., C, H, W] in [0, 1].
    `size` is F, or (C, H, W). Raises ValueError for other spaces. `normalise` keeps running statistics in the state dict
    (`RunningNorm`).
    """

    def __init__(self, space: gym.Space, normalise: bool, image: bool = False) -> None:
        super().__init__()
        self.choices = 0
        self.norm: RunningNorm | None = None
        self.image: tuple[int, ...] | None = None
        self.size: int | tuple[int, ...]
        if image:
            self.image, self.size = _picture(space)
        elif isinstance(space, gym.spaces.Discrete):
            self.choices = self.size = int(space.n)
        elif isinstance(space, gym.spaces.Box) and space.shape:
            self.shape, self.size = space.shape, math.prod(space.shape)
            self.norm = RunningNorm((self.size,)) if normalise else None
        else:
            raise ValueError(f"observation space {space} cannot be served; known: Box, Discrete")

    def forward(self, obs: Tensor) -> Tensor:
        """[..., F] float32."""
        if self.image is not None:
            lead = obs.dim() - 3
            return obs.permute(*range(lead), *(lead + axis for axis in self.image)).to(torch.float32) / 255.0
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


def _picture(space: gym.Space) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(axes of the observation in the order C, H, W; their sizes). The channels are the smaller of the first and last axis."""
    if not (isinstance(space, gym.spaces.Box) and len(space.shape) == 3 and space.dtype.kind == "u"):
        raise ValueError(f"observation space {space} cannot be served by a network for pictures; known: Box of bytes [H, W, C]")
    axes = (2, 0, 1) if space.shape[2] <= space.shape[0] else (0, 1, 2)
    return axes, tuple(space.shape[axis] for axis in axes)
