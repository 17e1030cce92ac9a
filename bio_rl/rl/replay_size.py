"""The memory that a replay takes, known before a run begins."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch

from bio_rl.machine.ram import available, size_text

FREE = 0.8
"""Fraction of the free memory that a proposed replay fills."""


def check_size(
    capacity: int, step_bytes: int, flag: str, device: torch.device, seeds: int = 1
) -> str:
    """A sentence with the size of a replay of `capacity` steps of `step_bytes` for every seed.

    Raises ValueError, with the flag to change, where memory has no room for it.
    """
    size = capacity * step_bytes * seeds
    free = available(device)
    each = f" for each of {seeds} seeds" if seeds > 1 else ""
    text = f"replay of {capacity:,} steps{each}: {size_text(size)} on {device}"
    if size > free:
        fitting = int(FREE * free / step_bytes / seeds)
        raise ValueError(f"{text}, where {size_text(free)} are free; {flag} {fitting} would fit")
    return text


def step_bytes(observation_space: gym.Space, action_space: gym.Space) -> int:
    """Bytes that a step takes: two observations, an action, a reward and the flags."""
    reward = 4
    flags = 1
    # What was seen, and the true next observation.
    observations = 2 * _bytes(observation_space)
    return observations + _bytes(action_space) + reward + flags


def _bytes(space: gym.Space) -> int:
    """Bytes of a value of the space, in the precision in which a replay stores it."""
    if isinstance(space, gym.spaces.Dict):
        return sum(_bytes(part) for part in space.spaces.values())
    kind = np.dtype(space.dtype or np.int64)
    if kind.kind == "f":
        number = 4
    elif kind.itemsize == 1:
        number = 1
    else:
        number = 8
    shape = space.shape or (1,)
    return number * int(np.prod(shape))
