"""Observations as features: the numbers that every network sees, whatever the observation space.

One class serves each kind of space. Numbers, choices and bits need nothing learned: they become one
flat vector. Pictures and tokens stay as they are until a learned encoder in front of a network
(`bio_rl.rl.encoders`) turns them into numbers too.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

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
SERVED = "Box, Discrete, MultiDiscrete, MultiBinary, and a Dict of these"


class Picture(NamedTuple):
    """Bytes or bits [..., C, H, W], in whatever order the axes come."""

    shape: tuple[int, ...]
    """(C, H, W)."""
    axes: tuple[int, ...]
    """The axes of the observation in the order C, H, W."""
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
    """The keys of the others in their dictionary; "" for a space that is no dictionary."""


class Features(nn.Module, ABC):
    """Maps observations [..., *obs] of one kind of space to features."""

    size: int | Mixed
    """F where the features are float32 numbers [..., F]; else a Mixed, which says what they are."""
    raw: Picture | Tokens | None = None
    """Says what an encoder has to expect; None for numbers."""

    @property
    def scaled(self) -> int:
        """The numbers that a running mean and deviation scale."""
        return 0

    @abstractmethod
    def forward(self, obs: Any) -> Any:
        """[..., F] float32, or a tuple as `Mixed` says."""

    def update(self, obs: Any, valid: Tensor) -> None:
        """Take obs [T, B, *obs] of the rows where valid [T, B] into the running statistics. There
        are none by default.
        """
        return None

    def compact(self, obs: Any) -> Any:
        """Observations in the least precision from which the same features come, for those that
        store many of them.
        """
        if obs.dtype == torch.float64:
            return obs.to(torch.float32)
        return obs


def for_space(space: gym.Space, normalise: bool, flatten: bool = False) -> Features:
    """The features for observations of `space`.

    normalise: Box observations by their running statistics (`RunningNorm`). flatten: a picture
    becomes numbers from 0 to 1, for learners that have no encoder. Raises ValueError for a space
    that no kind of features serves.
    """
    if not isinstance(space, gym.Space):
        raise ValueError(
            f"observation space {space!r} cannot be served: it is no space of Gymnasium"
        )
    if isinstance(space, spaces.Dict) and space.spaces:
        return Entries(space, normalise, flatten)
    raw = picture_of(space) or tokens_of(space)
    if flatten and isinstance(raw, Picture):
        return FlatPicture(shape_of(space), raw.high)
    if raw is not None:
        return Raw(raw)
    if isinstance(space, spaces.Discrete):
        return Choice(int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        return Choices(space.nvec)
    if isinstance(space, spaces.Box | spaces.MultiBinary) and math.prod(shape_of(space)):
        return Numbers(shape_of(space), normalise and isinstance(space, spaces.Box))
    raise ValueError(f"observation space {space} cannot be served; known: {SERVED}")


class Numbers(Features):
    """Numbers of any shape as a vector: a Box, normalised if that is wanted, or bits."""

    def __init__(self, shape: tuple[int, ...], normalise: bool) -> None:
        super().__init__()
        self.shape = shape
        self.size: int = math.prod(shape)
        self.norm = RunningNorm((self.size,)) if normalise else None

    @property
    def scaled(self) -> int:
        return 0 if self.norm is None else self.size

    def forward(self, obs: Tensor) -> Tensor:
        if self.norm is None:
            numbers = flat(obs, self.shape)
            return numbers.to(torch.float32)
        return self.norm(self._precise(obs))

    def update(self, obs: Tensor, valid: Tensor) -> None:
        if self.norm is not None:
            self.norm.update(self._precise(obs), valid)

    def compact(self, obs: Tensor) -> Tensor:
        if self.norm is None:
            return super().compact(obs)
        # A normaliser may bring out digits that float32 has not.
        return obs

    def _precise(self, obs: Tensor) -> Tensor:
        """[..., F] in float64 where float32 might cut digits that a normaliser brings out."""
        numbers = flat(obs, self.shape)
        if numbers.dtype == torch.float32:
            return numbers
        return numbers.to(torch.float64)


class FlatPicture(Features):
    """A picture as a vector of numbers from 0 to 1."""

    def __init__(self, shape: tuple[int, ...], high: float) -> None:
        super().__init__()
        self.shape = shape
        self.size: int = math.prod(shape)
        self.high = high

    def forward(self, obs: Tensor) -> Tensor:
        numbers = flat(obs, self.shape)
        return numbers.to(torch.float32) / self.high


class Choice(Features):
    """One of n choices, counted from 0, as a one-hot vector."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.size: int = n

    def forward(self, obs: Tensor) -> Tensor:
        one_hot = nn.functional.one_hot(obs, self.size)
        return one_hot.to(torch.float32)


class Choices(Features):
    """Several choices, counted from 0, as one-hot vectors one after the other."""

    def __init__(self, counts: np.ndarray) -> None:
        super().__init__()
        self.shape = counts.shape
        per_choice = torch.from_numpy(counts.astype(np.int64)).flatten()
        self.size: int = int(per_choice.sum())
        before = per_choice.cumsum(0) - per_choice
        self.first = nn.Buffer(before, persistent=False)
        """[choices] where the vector of each begins."""

    def forward(self, obs: Tensor) -> Tensor:
        ones = flat(obs, self.shape) + self.first
        # [..., choices, F]: their ones lie in parts that do not meet, so that they can be added.
        one_hot = nn.functional.one_hot(ones, self.size)
        return one_hot.sum(-2).to(torch.float32)


class Raw(Features):
    """A picture or a row of tokens as it is: an encoder looks at it."""

    def __init__(self, kind: Picture | Tokens) -> None:
        super().__init__()
        self.raw = kind
        self.size: Mixed = Mixed(0, (kind,), ("",))

    def forward(self, obs: Tensor) -> tuple[Tensor]:
        return (obs,)


class Entries(Features):
    """The entries of a dictionary: their numbers in one vector, in the order of the keys, then the
    pictures and tokens.
    """

    def __init__(self, space: spaces.Dict, normalise: bool, flatten: bool) -> None:
        super().__init__()
        for key, entry in space.spaces.items():
            if isinstance(entry, spaces.Dict):
                raise ValueError(
                    f"observation space {space} cannot be served: "
                    f"{key!r} is a Dict within a Dict; flatten it"
                )
        self.keys = tuple(space.spaces)
        entries = [for_space(entry, normalise, flatten) for entry in space.spaces.values()]
        self.parts = nn.ModuleList(entries)
        by_key = dict(zip(self.keys, entries, strict=True))
        others = {key: part.raw for key, part in by_key.items() if part.raw is not None}
        self.others = tuple(others)
        width = sum(part.size for part in entries if isinstance(part.size, int))
        mixed = Mixed(width, tuple(others.values()), self.others)
        self.size: int | Mixed = mixed if others else width

    @property
    def scaled(self) -> int:
        return sum(part.scaled for _, part in self._entries())

    def forward(self, obs: Mapping[str, Tensor]) -> Any:
        numbers = [part(obs[key]) for key, part in self._entries() if part.raw is None]
        others = tuple(obs[key] for key in self.others)
        if not numbers:
            return others
        vector = torch.cat(numbers, -1)
        return (vector, *others) if others else vector

    def update(self, obs: Mapping[str, Tensor], valid: Tensor) -> None:
        for key, part in self._entries():
            part.update(obs[key], valid)

    def compact(self, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        compact = {}
        for key, part in self._entries():
            compact[key] = part.compact(obs[key])
        return compact

    def _entries(self) -> Iterator[tuple[str, Features]]:
        """(key, its features) of every entry."""
        pairs = zip(self.keys, self.parts, strict=True)
        # A ModuleList forgets what kind of modules it holds.
        return cast("Iterator[tuple[str, Features]]", pairs)


def flat(obs: Tensor, shape: tuple[int, ...]) -> Tensor:
    """obs [..., *shape] as [..., F]; of a scalar space, F = 1."""
    if not shape:
        return obs.unsqueeze(-1)
    leading = obs.dim() - len(shape)
    return obs.flatten(leading)


def shape_of(space: gym.Space) -> tuple[int, ...]:
    """The shape of a space; () for one that has none."""
    return space.shape or ()


def picture_of(space: gym.Space) -> Picture | None:
    """The way to look at a space of pictures; None for another space.

    The channels are the axis that makes the others square, else the smaller of the first and the
    last.
    """
    shape = shape_of(space)
    if len(shape) != 3:
        return None
    box_of_bits = isinstance(space, spaces.Box) and space.dtype.kind == "b"
    if box_of_bits or isinstance(space, spaces.MultiBinary):
        high = 1.0
    elif isinstance(space, spaces.Box) and space.dtype == np.uint8:
        high = float(space.high.max())
    else:
        return None
    first_square = shape[0] == shape[1]
    last_square = shape[1] == shape[2]
    channels_last = first_square if first_square != last_square else shape[2] <= shape[0]
    axes = (2, 0, 1) if channels_last else (0, 1, 2)
    return Picture(tuple(shape[axis] for axis in axes), axes, high)


def tokens_of(space: gym.Space) -> Tokens | None:
    """The vocabulary of a row of integers; None for another space."""
    if len(shape_of(space)) != 1:
        return None
    if isinstance(space, spaces.MultiDiscrete):
        counts = space.nvec
        alike = bool((counts == counts[0]).all())
        if not alike or counts.sum() <= ONE_HOT:
            return None
        return Tokens(len(counts), int(counts[0]), 0)
    if not isinstance(space, spaces.Box):
        return None
    # A row of bytes, such as a computer's memory, is numbers.
    if space.dtype.kind not in "iu" or space.dtype == np.uint8:
        return None
    low = int(space.low[0])
    high = int(space.high[0])
    common = bool((space.low == low).all() and (space.high == high).all())
    if not common or high - low >= VOCABULARY:
        return None
    return Tokens(shape_of(space)[0], high - low + 1, low)
