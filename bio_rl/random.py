"""Counter-based noise: a draw is a pure function of a key that lives in the state.

A network that draws while it acts keeps one key per row in its state. `unroll` from the same state re-derives the very
same draws, so a policy-gradient ratio compares the same noise and a checkpoint needs no generator.
"""

from __future__ import annotations

import torch
from torch import Tensor

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
    """Keys [B] for the n-th of several uses of one key, independent of each other and of `advance`."""
    return _mix(key ^ ((n + 1) * _MIX_1 & 0x7FFFFFFFFFFFFFFF))


def uniform(key: Tensor, *shape: int) -> Tensor:
    """Uniform draws in [0, 1), [*key.shape, *shape] float32: the same key gives the same draws on every device."""
    n = torch.Size(shape).numel()
    lane = torch.arange(1, n + 1, dtype=torch.int64, device=key.device) * _GOLDEN
    bits = _shift(_mix(key.unsqueeze(-1) + lane), 40)  # 24 bits: every float32 in the grid is exact
    return (bits.to(torch.float32) * 2.0**-24).view(*key.shape, *shape)
