"""Seeds, and counter-based noise: a draw is a pure function of a key that lives in the state.

A network that draws while it acts keeps one key per row in its state. `unroll` from the same state
re-derives the very same draws, so a policy-gradient ratio compares the same noise and a checkpoint
needs no generator.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

_GLOBAL_GENERATOR = threading.RLock()
"""Held while torch's global generator draws the weights of an agent."""


def world_seeds(seed: int, n: int, stream: int = 0) -> list[int]:
    """Seeds of n environments, all different, of 31 bits each.

    They are drawn by a seed sequence, so runs of neighbouring seeds share no environment, as they
    would with seed, seed + 1, … stream: independent sets for one seed. C libraries and
    np.random.seed take no more than 31 or 32 bits.
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed is {seed!r}, expected a whole number, 0 or more")
    sequence, drawn = np.random.SeedSequence(seed, spawn_key=(stream,)), n
    while len(found := dict.fromkeys((sequence.generate_state(drawn) >> 1).tolist())) < n:
        drawn += n
    return list(found)[:n]


def torch_seed(seed: int) -> int:
    """`seed` where it has at most 32 bits, else 32 bits that depend on all of its bits: torch's
    generators take no more.
    """
    return seed if seed < 2**32 else int(np.random.SeedSequence(seed).generate_state(1)[0])


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own that draws from `seed`, a whole number of any size."""
    return torch.Generator(device).manual_seed(torch_seed(seed))


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Within, torch's global CPU generator draws from `seed`, for one thread at a time; afterwards
    it is as it was.

    Torch computes on one thread meanwhile: orthogonal weights differ in their last bits with the
    number of threads.
    """
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            torch.default_generator.manual_seed(torch_seed(seed))
            yield
        finally:
            torch.set_num_threads(threads)


_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15, the increment of splitmix64
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's is arithmetic)."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _mix(z: Tensor) -> Tensor:
    """The finaliser of splitmix64 (Steele, Lea & Flood 2014, fig. 15), int64 to int64."""
    z = (z ^ _shift(z, 30)) * _MIX_1
    z = (z ^ _shift(z, 27)) * _MIX_2
    return z ^ _shift(z, 31)


def keys(seed: int, batch: int, device: torch.device | str | None = None) -> Tensor:
    """One key per row, [B] int64."""
    return _mix(torch.arange(1, batch + 1, dtype=torch.int64, device=device) * _GOLDEN + seed)


def advance(key: Tensor) -> Tensor:
    """The keys [B] of the next decision."""
    return _mix(key + _GOLDEN)


def fold(key: Tensor, n: int) -> Tensor:
    """Keys [B] for the n-th of several uses of one key, independent of each other and of
    `advance`.
    """
    return _mix(key ^ ((n + 1) * _MIX_1 & 0x7FFFFFFFFFFFFFFF))


def uniform(key: Tensor, *shape: int) -> Tensor:
    """Uniform draws in [0, 1), [*key.shape, *shape] float32: the same key gives the same draws on
    every device.
    """
    n = torch.Size(shape).numel()
    lane = torch.arange(1, n + 1, dtype=torch.int64, device=key.device) * _GOLDEN
    bits = _shift(_mix(key.unsqueeze(-1) + lane), 40)  # 24 bits: every float32 in the grid is exact
    return (bits.to(torch.float32) * 2.0**-24).view(*key.shape, *shape)
