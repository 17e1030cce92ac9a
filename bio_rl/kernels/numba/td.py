"""The prediction error for the CPU with Numba: one loop. See `kernels.td`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bio_rl.kernels.numba import memory
from bio_rl.kernels.numba.compile import loop
from bio_rl.kernels.numba.memory import bits, part
from bio_rl.kernels.td import TDError


def run(
    numbers: tuple[Tensor, ...], flags: tuple[Tensor, ...], gamma: float, lam: float
) -> TDError:
    """See `kernels.td.td_error`: numbers are reward, value and next_value, flags terminated, cut,
    reset and valid. Raises ValueError for a device or dtype that the loop does not run on.
    """
    memory.check("a reward or a value", numbers)
    memory.check("a flag", flags, torch.bool)
    numbers = tuple([x.contiguous() for x in numbers])
    flags = tuple([x.contiguous() for x in flags])
    rpe = torch.empty_like(numbers[0])
    decay = torch.empty_like(numbers[0])
    summary = _errors(
        len(rpe),
        tuple([x.data_ptr() for x in numbers]),
        tuple([x.data_ptr() for x in flags]),
        gamma,
        gamma * lam,
        rpe.data_ptr(),
        decay.data_ptr(),
    )
    return TDError(rpe, decay, *summary)


@loop
def _errors(n, numbers, flags, gamma, fade, rpe, decay):
    """Addresses: numbers (reward, value, next_value) and flags (terminated, cut, reset, valid) [n];
    rpe and decay [n] are written.
    """
    reward = part(numbers[0], 0, n)
    value = part(numbers[1], 0, n)
    next_value = part(numbers[2], 0, n)
    terminated = bits(flags[0], 0, n)
    cut = bits(flags[1], 0, n)
    reset = bits(flags[2], 0, n)
    valid = bits(flags[3], 0, n)
    error = part(rpe, 0, n)
    left = part(decay, 0, n)
    gamma = np.float32(gamma)
    fade = np.float32(fade)
    zero = np.float32(0.0)
    for b in range(n):
        after = zero if terminated[b] else next_value[b]
        delta = reward[b] + gamma * after - value[b]
        error[b] = delta * np.float32(valid[b])
        left[b] = zero if reset[b] else fade
    return _summary(n, error, value, cut, valid)


@loop
def _summary(n, error, value, cut, valid):
    """(valid, ended, mean, mean_abs, mean_value) of a `TDError`, all arrays [n]."""
    counted = 0
    ended = 0
    # 0.0 is a double: the sums of many rows lose nothing
    total = 0.0
    total_abs = 0.0
    total_value = 0.0
    for b in range(n):
        counted += valid[b]
        ended += cut[b] & valid[b]
        total += error[b]
        total_abs += abs(error[b])
        total_value += value[b]
    return counted, ended, total / n, total_abs / n, total_value / n
