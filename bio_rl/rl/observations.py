"""Observations as features: what every network sees, whatever the observation space.

Numbers, choices and bits need nothing learned: they become one flat vector. Pictures and tokens
stay as they are until a learned encoder in front of a network (`bio_rl.rl.encoders`) turns them
into numbers too.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from bio_rl.rl.normalize import RunningNorm

ONE_HOT = 64
"""A MultiDiscrete of at most so many values in total becomes one-hot vectors, which lose nothing,
as does any of unequal counts; a longer one of equal counts is tokens.
"""
VOCABULARY = 65_536
"""A row of integers with more values than this is taken as numbers."""


class Picture(NamedTuple):
    """Bytes or bits [..., C, H, W], in whatever order the axes come."""

    shape: tuple[int, ...]
    """(C, H, W)."""
    axes: tuple[int, ...]
    """Of the observation, in the order C, H, W."""
    high: float
    """The largest value: 255, or 1 for bits."""


class Tokens(NamedTuple):
    """Integers [..., positions] from one vocabulary, as the words of an instruction."""

    positions: int
    words: int
    first: int
    """The smallest of them."""


class Mixed(NamedTuple):
    """The size of features that are not all numbers. They are a tuple: [..., flat] where flat > 0,
    then each of the others.
    """

    flat: int
    others: tuple[Picture | Tokens, ...]
    names: tuple[str, ...]
    """Of the others: their keys, or "" for a space that is no dictionary."""


class Features(nn.Module):
    """Observations [..., *obs] of a space as features: float32 [..., F], or a tuple as `Mixed`
    says. `size` is F, or a Mixed.

    Box: normalised and flattened, with running statistics in the state dict (`RunningNorm`) where
    `normalise`. Discrete and short MultiDiscrete: one-hot. MultiBinary: flattened. Box of bytes or
    bits [H, W, C] or [C, H, W]: a `Picture`. Box of integers [J] with common bounds and long
    MultiDiscrete: `Tokens`. Dict of these: its numbers in one vector, in the order of its keys,
    then its pictures and tokens. With `flatten` a picture becomes numbers from 0 to 1, for learners
    that have no encoder. Raises ValueError for other spaces.
    """

    def __init__(self, space: gym.Space, normalise: bool, flatten: bool = False) -> None:
        super().__init__()
        if not isinstance(space, gym.Space):
            raise ValueError(
                f"observation space {space!r} cannot be served: it is no space of Gymnasium"
            )
        self.norm: RunningNorm | None = None
        self.raw = _picture(space) or _tokens(space)
        self.keys: tuple[str, ...] = ()
        self.choices, self.high = 0, 0.0
        self.size: int | Mixed
        if isinstance(space, spaces.Dict) and space.spaces:
            self._open(space, normalise, flatten)
        elif flatten and isinstance(self.raw, Picture):
            self.shape, self.size, self.high, self.raw = (
                space.shape,
                math.prod(space.shape),
                self.raw.high,
                None,
            )
        elif self.raw is not None:
            self.size = Mixed(0, (self.raw,), ("",))
        elif isinstance(space, spaces.Discrete):
            self.choices = self.size = int(space.n)
        elif isinstance(space, spaces.MultiDiscrete):
            counts = torch.from_numpy(space.nvec.astype(np.int64)).flatten()
            self.shape, self.choices, self.size = space.shape, int(counts.sum()), int(counts.sum())
            self.first = nn.Buffer(counts.cumsum(0) - counts, persistent=False)
        elif isinstance(space, spaces.Box | spaces.MultiBinary) and math.prod(space.shape):
            self.shape, self.size = space.shape, math.prod(space.shape)
            self.norm = (
                RunningNorm((self.size,)) if normalise and isinstance(space, spaces.Box) else None
            )
        else:
            known = "Box, Discrete, MultiDiscrete, MultiBinary, and a Dict of these"
            raise ValueError(f"observation space {space} cannot be served; known: {known}")

    def forward(self, obs: Any) -> Any:
        """[..., F] float32, or a tuple as `Mixed` says."""
        if self.keys:
            return self._gather(obs)
        if self.raw is not None:
            return (obs,)
        if self.choices:
            return self._one_hot(obs)
        flat = self._flat(obs)
        if self.norm is not None:
            return self.norm(flat)
        flat = flat.to(torch.float32)
        return flat / self.high if self.high else flat

    def update(self, obs: Any, valid: Tensor) -> None:
        """Take obs [T, B, *obs] of the rows where valid [T, B] into the running statistics."""
        for key, part in zip(self.keys, self.parts if self.keys else (), strict=True):
            part.update(obs[key], valid)
        if self.norm is not None:
            self.norm.update(self._flat(obs), valid)

    def _open(self, space: spaces.Dict, normalise: bool, flatten: bool) -> None:
        """Serve each entry of a dictionary by features of its own."""
        nested = [key for key, part in space.spaces.items() if isinstance(part, spaces.Dict)]
        if nested:
            raise ValueError(
                f"observation space {space} cannot be served: {nested[0]!r} is a Dict within a Dict; flatten it"
            )
        self.keys = tuple(space.spaces)
        self.parts = nn.ModuleList(
            Features(part, normalise, flatten) for part in space.spaces.values()
        )
        flat = sum(part.size for part in self.parts if part.raw is None)
        raw = [
            (key, part.raw)
            for key, part in zip(self.keys, self.parts, strict=True)
            if part.raw is not None
        ]
        self.size = (
            Mixed(flat, tuple(r for _, r in raw), tuple(key for key, _ in raw)) if raw else flat
        )

    def _gather(self, obs: dict[str, Tensor]) -> Any:
        flat = [
            part(obs[key])
            for key, part in zip(self.keys, self.parts, strict=True)
            if part.raw is None
        ]
        numbers = torch.cat(flat, -1) if flat else None
        raw = tuple(
            obs[key]
            for key, part in zip(self.keys, self.parts, strict=True)
            if part.raw is not None
        )
        return ((numbers, *raw) if numbers is not None else raw) if raw else numbers

    def _one_hot(self, obs: Tensor) -> Tensor:
        """[..., F] of choices from 0, one vector after the other."""
        if not hasattr(self, "first"):
            return nn.functional.one_hot(obs, self.choices).to(torch.float32)
        flat = obs.flatten(obs.dim() - len(self.shape)) + self.first
        return nn.functional.one_hot(flat, self.choices).sum(-2).to(torch.float32)

    def _flat(self, obs: Tensor) -> Tensor:
        """[..., F] numbers; in float64 where float32 might cut digits that a normaliser brings out."""
        flat = obs.flatten(obs.dim() - len(self.shape)) if self.shape else obs.unsqueeze(-1)
        if flat.dtype == torch.float32 or self.norm is None:
            return flat
        return flat.to(torch.float64)

    def narrowed(self, obs: Any) -> Any:
        """Observations in the least precision from which the same features come, for those that
        keep many of them.
        """
        if self.keys:
            return {
                key: part.narrowed(obs[key])
                for key, part in zip(self.keys, self.parts, strict=True)
            }
        return obs.to(torch.float32) if self.norm is None and obs.dtype == torch.float64 else obs


def _picture(space: gym.Space) -> Picture | None:
    """How to look at a space of pictures; None for another space.

    The channels are the axis that makes the others square, else the smaller of the first and the
    last.
    """
    bits = isinstance(space, spaces.MultiBinary) or (
        isinstance(space, spaces.Box) and space.dtype.kind == "b"
    )
    if (
        not (bits or (isinstance(space, spaces.Box) and space.dtype == np.uint8))
        or len(space.shape) != 3
    ):
        return None
    a, b, c = space.shape
    last = (a == b) if (a == b) != (b == c) else c <= a
    axes = (2, 0, 1) if last else (0, 1, 2)
    high = 1.0 if bits else float(space.high.max())
    return Picture(tuple(space.shape[axis] for axis in axes), axes, high)


def _tokens(space: gym.Space) -> Tokens | None:
    """The vocabulary of a row of integers; None for another space."""
    if len(space.shape or ()) != 1:
        return None
    if isinstance(space, spaces.MultiDiscrete):
        n = space.nvec
        return Tokens(len(n), int(n[0]), 0) if (n == n[0]).all() and n.sum() > ONE_HOT else None
    if not isinstance(space, spaces.Box) or space.dtype.kind not in "iu" or space.dtype == np.uint8:
        return None
    low, high = int(space.low[0]), int(space.high[0])
    common = (space.low == low).all() and (space.high == high).all()
    return (
        Tokens(space.shape[0], high - low + 1, low) if common and high - low < VOCABULARY else None
    )
