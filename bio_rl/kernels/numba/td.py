"""The prediction error for the CPU with Numba: one loop. Tensors are handed over by address, as
`numba.unroll` does.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor

from bio_rl.kernels.numba.unroll import _bytes_at, _jit, _part
from bio_rl.kernels.td import Judged


@_jit
def _bits(address, n):
    """The n bools at an address, as bytes."""
    return numba.carray(_bytes_at(np.int64(address)), (n,))  # type: ignore[call-arg]


@_jit
def _judge(n, numbers, bools, gamma, fade, rpe, decay):
    """Addresses: numbers (reward, value, next_value) and bools (terminated, cut, reset, valid) [n];
    rpe and decay, written.
    """
    reward, value, beyond = (
        _part(numbers[0], 0, n),
        _part(numbers[1], 0, n),
        _part(numbers[2], 0, n),
    )
    terminated, cut, reset, valid = (
        _bits(bools[0], n),
        _bits(bools[1], n),
        _bits(bools[2], n),
        _bits(bools[3], n),
    )
    error, left = _part(rpe, 0, n), _part(decay, 0, n)
    gamma, fade, zero = np.float32(gamma), np.float32(fade), np.float32(0.0)
    counted, ended, total, size, worth = 0, 0, 0.0, 0.0, 0.0
    for b in range(n):
        delta = reward[b] + gamma * (zero if terminated[b] else beyond[b]) - value[b]
        error[b] = delta * np.float32(valid[b])
        left[b] = zero if reset[b] else fade
        counted += valid[b]
        ended += cut[b] & valid[b]
        total += error[b]
        size += abs(error[b])
        worth += value[b]
    return counted, ended, total / n, size / n, worth / n


def run(
    reward: Tensor, value: Tensor, next_value: Tensor, terminated: Tensor, cut: Tensor, reset: Tensor, valid: Tensor,
    gamma: float, lam: float,
) -> Judged:  # fmt: skip
    """See `kernels.td.judge`. Raises ValueError for a device or dtype that the loop does not run
    on.
    """
    numbers = [
        x.contiguous() for x in (reward, value, next_value)
    ]  # held until the loop is done with their addresses
    bools = [x.contiguous() for x in (terminated, cut, reset, valid)]
    for tensors, dtype in ((numbers, torch.float32), (bools, torch.bool)):
        for x in tensors:
            if x.dtype != dtype or not x.is_cpu:
                raise ValueError(
                    f"backend 'numba' got a tensor of {x.dtype} on {x.device}, expected {dtype} on cpu"
                )
    rpe, decay = torch.empty_like(numbers[0]), torch.empty_like(numbers[0])
    at = tuple([x.data_ptr() for x in numbers]), tuple([x.data_ptr() for x in bools])
    return Judged(
        rpe, decay, *_judge(len(rpe), *at, gamma, gamma * lam, rpe.data_ptr(), decay.data_ptr())
    )
