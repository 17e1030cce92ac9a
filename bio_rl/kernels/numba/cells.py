"""The answer of a population's cells fused for the CPU with Numba: a block of rows goes from
features to spikes in cache.

The ticks are those of `numba.unroll`, and what they are given is computed as `Grid` does, with torch's
own exponential in between: not one spike differs. Tensors are handed over by address, as `numba.unroll`
does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bio_rl.codes.conjunctive import Grid
from bio_rl.kernels.numba.unroll import _BLOCK, _forward, _jit, _part, _plan, _share
from bio_rl.neurons import Core

_MEMBRANE = (True, False, False, False)
"""Of `numba.unroll._FIELDS`, what the neurons have."""
_NOWHERE = np.empty((0, 0), np.int64)


@_jit
def _exponents(batch, features, reach, centres, scale, out):
    """Of a grid's fields, relative to the strongest of each dimension. Addresses: features [B, F];
    out [B, F, most].
    """
    dimensions, most = centres.shape
    one = np.float32(1.0)
    for b in range(batch):
        row = _part(features, b * dimensions, dimensions)
        for d in range(dimensions):
            inside = row[d] / reach[d]
            inside = -one if inside < -one else one if inside > one else inside  # NaN stays NaN
            field, least = _part(out, (b * dimensions + d) * most, most), np.float32(np.inf)
            for k in range(most):
                away = (inside - centres[d, k]) * scale[d]
                field[k] = away * away
                least = min(least, field[k])
            for k in range(most):
                field[k] = least - field[k]


@_jit
def _drive(parts, corner, gain, drive):
    """Currents [N] of one row's parts [M]: their products at corner [F, N]; F = 0 where parts are
    the activities.
    """
    for k in range(len(drive)):
        drive[k] = parts[corner[0, k]] if len(corner) else parts[k]
    for d in range(1, len(corner)):
        for k in range(len(drive)):
            drive[k] *= parts[corner[d, k]]
    for k in range(len(drive)):
        drive[k] *= gain


@_jit
def _rates(counts, scale):
    """Numbers of spikes [N] become rates, in place; returns the sum of their squares."""
    power = np.float32(0.0)
    for k in range(len(counts)):
        counts[k] *= scale
        power += counts[k] * counts[k]
    return power


@_jit
def _respond(lo, hi, m, n, loop, numbers, parts, corner, gain, rates, powers):
    """Rows lo to hi of B. Addresses: parts [B, M]; rates [B, N] and powers [B] are written."""
    rows, ticks = max(1, _BLOCK // n), loop[0]
    drive, v, starts = (
        np.empty(rows * n, np.float32),
        np.empty(rows * n, np.float32),
        np.ones(rows, np.bool_),
    )
    gain, scale = np.float32(gain), np.float32(1.0 / ticks)
    for top in range(lo, hi, rows):
        count = min(rows, hi - top)
        for b in range(count):
            _drive(_part(parts, (top + b) * m, m), corner, gain, drive[b * n : (b + 1) * n])
        _forward(
            0, count, (ticks, count, n), loop, numbers, None, (0, None, None, None), (v.ctypes.data, None, None, None),
            drive.ctypes.data, starts.ctypes.data, rates + 4 * top * n, 0,
        )  # fmt: skip
        for b in range(top, top + count):
            _part(powers, b, 1)[0] = _rates(_part(rates, b * n, n), scale)


def run(
    code: Callable[[Tensor], Tensor], core: Core, features: Tensor, gain: float, ticks: int
) -> tuple[Tensor, Tensor]:
    """See `kernels.cells.respond`. Raises ValueError for a device or dtype that the loops do not
    run on.
    """
    if features.dtype != torch.float32 or not features.is_cpu:
        raise ValueError(
            f"backend 'numba' got features of {features.dtype} on {features.device}; known: torch.float32 on cpu"
        )
    lead = features.shape[:-1]
    parts, corner = (
        _fields(code, features, lead)
        if isinstance(code, Grid)
        else (code(features).contiguous(), _NOWHERE)
    )
    if parts.shape[:-1] != lead or parts.dtype is not torch.float32 or not parts.is_cpu:
        given = f"{tuple(parts.shape)} of {parts.dtype} on {parts.device}"
        raise ValueError(
            f"the code gave activities {given}, expected {(*lead, 'N')} of torch.float32 on cpu"
        )
    m = parts.shape[-1]
    n = corner.shape[1] or m
    plan = _plan(core, _MEMBRANE, ticks, ticks, ticks, 1.0, 1.0)
    rates, powers = torch.empty(*lead, n), torch.empty(*lead, 1)
    addresses = parts.data_ptr(), corner, float(gain), rates.data_ptr(), powers.data_ptr()
    _share(_respond, (m, n, plan.loop, plan.numbers, *addresses), lead.numel(), ticks * n)
    return rates, powers


def _fields(grid: Grid, features: Tensor, lead: torch.Size) -> tuple[Tensor, np.ndarray]:
    """([..., F · most] fields along each dimension, [F, N] those that each cell multiplies)."""
    grid.check(features)
    if grid.reach.dtype is not torch.float32 or not grid.reach.is_cpu:
        raise ValueError(
            f"the grid is of {grid.reach.dtype} on {grid.reach.device}, the features of torch.float32 on cpu"
        )
    *constants, corner = _constants(grid)
    features, fields = features.contiguous(), torch.empty(*lead, constants[1].size)
    _exponents(lead.numel(), features.data_ptr(), *constants, fields.data_ptr())
    return fields.exp_(), corner


@functools.lru_cache(maxsize=64)
def _constants(grid: Grid) -> tuple[np.ndarray, ...]:
    """A grid's, which never change, as arrays."""
    return (
        grid.reach.numpy(),
        grid.centres.numpy(),
        grid.scale.flatten().numpy(),
        grid.corner.numpy(),
    )
