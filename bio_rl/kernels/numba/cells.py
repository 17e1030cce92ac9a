"""The answer of a population's cells fused for the CPU with Numba: a block of rows goes from
features to spikes in cache.

The ticks are those of `numba.loops`, and the currents into them are computed as `Grid` does, with
torch's own exponential in between: not one spike differs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bio_rl.codes.conjunctive import Grid
from bio_rl.kernels.numba import memory, threads
from bio_rl.kernels.numba.compile import loop
from bio_rl.kernels.numba.loops import BLOCK, forward
from bio_rl.kernels.numba.memory import part
from bio_rl.kernels.numba.unroll import plan
from bio_rl.kernels.unroll import Schedule
from bio_rl.neurons import Core

_MEMBRANE = (True, False, False, False)
"""The fields of `unroll.PER_NEURON` that the neurons have."""
_NO_STATE = (0, None, None, None)
"""The address of no membrane: neurons are at rest."""
_NOWHERE = np.empty((0, 0), np.int64)
"""The corner of a code whose parts are its activities."""


def run(
    code: Callable[[Tensor], Tensor], core: Core, features: Tensor, gain: float, ticks: int
) -> tuple[Tensor, Tensor]:
    """See `kernels.cells.respond`. Raises ValueError for a device or dtype that the loops do not
    run on.
    """
    memory.check("features", (features,))
    lead = features.shape[:-1]
    if isinstance(code, Grid):
        parts, corner = _fields(code, features, lead)
    else:
        parts = code(features).contiguous()
        corner = _NOWHERE
    _check(parts, lead)
    m = parts.shape[-1]
    n = corner.shape[1] or m
    # Each decision is one row of the drive, and one of the output: the number of its spikes.
    planned = plan(core, _MEMBRANE, Schedule(ticks, ticks, ticks, 1.0, 1.0))
    rates = torch.empty(*lead, n)
    powers = torch.empty(*lead, 1)
    inputs = (m, n, planned.times, planned.numbers, parts.data_ptr(), corner, float(gain))
    written = (rates.data_ptr(), powers.data_ptr())
    threads.run(_respond, inputs + written, lead.numel(), ticks * n)
    return rates, powers


def _check(parts: Tensor, lead: torch.Size) -> None:
    """Raise ValueError for activities that are not of these rows, or that loops cannot read."""
    # A code is anybody's function, and a loop would read what lies beyond its numbers.
    fits = parts.shape[:-1] == lead
    if not fits or parts.dtype is not torch.float32 or not parts.is_cpu:
        met = f"{tuple(parts.shape)} of {parts.dtype} on {parts.device}"
        expected = f"{(*lead, 'N')} of torch.float32 on cpu"
        raise ValueError(f"the code gave activities {met}, expected {expected}")


def _fields(grid: Grid, features: Tensor, lead: torch.Size) -> tuple[Tensor, np.ndarray]:
    """([..., F · most] fields along each dimension, [F, N] those that each cell multiplies)."""
    grid.check(features)
    if grid.reach.dtype is not torch.float32 or not grid.reach.is_cpu:
        kind = f"{grid.reach.dtype} on {grid.reach.device}"
        raise ValueError(f"the grid is of {kind}, the features of torch.float32 on cpu")
    *constants, corner = _constants(grid)
    features = features.contiguous()
    fields = torch.empty(*lead, constants[1].size)
    _exponents(lead.numel(), features.data_ptr(), *constants, fields.data_ptr())
    return fields.exp_(), corner


@functools.lru_cache(maxsize=64)
def _constants(grid: Grid) -> tuple[np.ndarray, ...]:
    """(reach, centres, scale, corner) of a grid, which never change, as arrays."""
    return (
        grid.reach.numpy(),
        grid.centres.numpy(),
        grid.scale.flatten().numpy(),
        grid.corner.numpy(),
    )


# ---------------------------------- the loops


@loop
def _exponents(batch, features, reach, centres, scale, out):
    """The exponents of a grid's fields, relative to the strongest of each dimension. Addresses:
    features [B, F]; out [B, F, most].
    """
    dimensions, most = centres.shape
    one = np.float32(1.0)
    for b in range(batch):
        row = part(features, b * dimensions, dimensions)
        for d in range(dimensions):
            inside = row[d] / reach[d]
            # not min and max: NaN stays NaN
            inside = -one if inside < -one else one if inside > one else inside
            field = part(out, (b * dimensions + d) * most, most)
            least = np.float32(np.inf)
            for k in range(most):
                away = (inside - centres[d, k]) * scale[d]
                field[k] = away * away
                least = min(least, field[k])
            for k in range(most):
                field[k] = least - field[k]


@loop
def _drive(parts, corner, gain, drive):
    """Currents [N] of one row's parts [M]: their products at corner [F, N]; F = 0 where parts are
    the activities.
    """
    for k in range(len(drive)):
        drive[k] = parts[corner[0, k]] if len(corner) else parts[k]
    # A dimension at a time, in the order of `Grid`, so that products round as there.
    for d in range(1, len(corner)):
        for k in range(len(drive)):
            drive[k] *= parts[corner[d, k]]
    for k in range(len(drive)):
        drive[k] *= gain


@loop
def _rates(counts, scale):
    """Numbers of spikes [N] become rates, in place; returns the sum of their squares."""
    power = np.float32(0.0)
    for k in range(len(counts)):
        counts[k] *= scale
        power += counts[k] * counts[k]
    return power


@loop
def _respond(lo, hi, m, n, times, numbers, parts, corner, gain, rates, powers):
    """Rows lo to hi of B. Addresses: parts [B, M]; rates [B, N] and powers [B] are written."""
    rows = max(1, BLOCK // n)
    ticks = times[0]
    drive = np.empty(rows * n, np.float32)
    v = np.empty(rows * n, np.float32)
    starts = np.ones(rows, np.bool_)
    gain = np.float32(gain)
    scale = np.float32(1.0 / ticks)
    for top in range(lo, hi, rows):
        count = min(rows, hi - top)
        for b in range(count):
            row = part(parts, (top + b) * m, m)
            _drive(row, corner, gain, drive[b * n : (b + 1) * n])
        # One decision from rest: `ticks` of one row of the drive, whose spikes are summed into the
        # block's rates, four bytes each.
        shape = (ticks, count, n)
        out = rates + 4 * top * n
        currents = drive.ctypes.data
        rest = starts.ctypes.data
        after = (v.ctypes.data, None, None, None)
        forward(0, count, shape, times, numbers, None, _NO_STATE, after, currents, rest, out, 0)
        for b in range(top, top + count):
            part(powers, b, 1)[0] = _rates(part(rates, b * n, n), scale)
