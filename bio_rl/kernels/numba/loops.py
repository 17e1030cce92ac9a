"""The time loop over blocks of rows: one pass over memory forwards, one backwards.

Rows are taken in blocks small enough that a block's state stays in the first-level cache through
all ticks:

    rows    lo            top           top + rows            hi
            |-- block --|-- this block --|-- … ---------------|
    flat    lo · N        left           left + m             a row's N neurons lie side by side

Row s // hold of the drive belongs to tick s, and row s // span of the output. All tensors are
addresses; see `numba.memory`.
"""

from __future__ import annotations

import numpy as np

from bio_rl.kernels.numba.compile import loop
from bio_rl.kernels.numba.memory import bits, clear, load, part, store, unless_none
from bio_rl.kernels.numba.surrogates import derivative
from bio_rl.kernels.numba.tick import membrane_after, named, tick, tick_back

BLOCK = 4096
"""Neurons of a block: 16 KiB of membranes."""


@loop
def _begin(v, i, a, r, n, starts, v_leak):
    """Set the rows [B] where `starts` is set to the state at rest."""
    zero = np.float32(0.0)
    clear(v, n, starts, v_leak)
    clear(i, n, starts, zero)
    clear(a, n, starts, zero)
    clear(r, n, starts, zero)


@loop
def forward(lo, hi, shape, times, numbers, learned, before, after, drive, reset, out, xs):
    """Rows lo to hi of shape (S, B, N).

    times: (ticks, hold, span, 1 for a soft reset); learned: None, or β of one block. Addresses:
    before and after (v, i, a, r) [B, N] each, drive [D, M], reset [T, B]; out [O, M] and, unless it
    is 0, xs [S, M] are written.
    """
    steps, batch, n = shape
    ticks, hold, span, reset_kind = times
    soft = reset_kind != 0
    c = named(numbers)
    size = batch * n
    rows = max(1, BLOCK // n)
    unsaved = np.empty(min(rows, hi - lo) * n, np.float32)
    for top in range(lo, hi, rows):
        left = top * n
        m = (min(top + rows, hi) - top) * n
        v = part(after[0], left, m)
        i = part(after[1], left, m)
        a = part(after[2], left, m)
        r = part(after[3], left, m)
        load(before[0], left, v)
        load(before[1], left, i)
        load(before[2], left, a)
        load(before[3], left, r)
        for s in range(steps):
            if s % ticks == 0:
                starts = bits(reset, s // ticks * batch + top, m // n)
                _begin(v, i, a, r, n, starts, c.v_leak)
            # this block's numbers of the rows to which tick s belongs
            x = unsaved[:m] if xs == 0 else part(xs, s * size + left, m)
            current = part(drive, s // hold * size + left, m)
            z = part(out, s // span * size + left, m)
            if s % span == 0:
                tick(None, current, v, i, a, r, z, x, learned, c, soft)
            else:
                tick(True, current, v, i, a, r, z, x, learned, c, soft)


@loop
def backward(
    lo,
    hi,
    shape,
    times,
    numbers,
    learned,
    surrogate,
    ends,
    starts,
    grad_out,
    grad_drive,
    reset,
    xs,
    drive,
    v0,
):
    """Rows lo to hi of shape (S, B, N).

    surrogate: its place in the table. Addresses: the gradients `ends` of the final state (v, i, a;
    for r any) [B, N] each, 0 for zero; grad_out [O, M], reset [T, B], xs [S, M]. Written:
    grad_drive [D, M] and, unless it is 0, each of `starts`, the gradients of the initial state.
    Returns, where the decay is learned, its gradient summed over blocks of rows; then drive [D, M]
    and v0 [B, N] are what went in.
    """
    steps, batch, n = shape
    ticks, hold, span, reset_kind = times
    soft = reset_kind != 0
    c = named(numbers)
    size = batch * n
    rows = max(1, BLOCK // n)
    most = min(rows, hi - lo) * n
    slopes = np.empty(most, np.float32)
    membrane = np.empty(most, np.float32)
    grads = np.empty((3, most), np.float32)
    gdecay = unless_none(learned, np.zeros(most, np.float32))
    for top in range(lo, hi, rows):
        left = top * n
        m = (min(top + rows, hi) - top) * n
        slope = slopes[:m]
        before = membrane[:m]
        gv = grads[0, :m]
        gi = unless_none(ends[1], grads[1, :m])
        ga = unless_none(ends[2], grads[2, :m])
        load(ends[0], left, gv)
        load(ends[1], left, gi)
        load(ends[2], left, ga)
        weight = np.float32(1.0)
        for s in range(steps - 1, -1, -1):
            # A spike counts for the sum by `keep` to the power of the ticks that follow in it.
            weight = np.float32(1.0) if s % span == span - 1 else weight * c.keep
            x = part(xs, s * size + left, m)
            derivative(surrogate, x, c.slope, slope)
            current = part(drive, s // hold * size + left, m)
            fresh = bits(reset, s // ticks * batch + top, m // n)
            # The membrane before this tick follows from x of the tick before.
            if gdecay is not None:
                if s > 0:
                    earlier = part(xs, (s - 1) * size + left, m)
                    membrane_after(earlier, c.v_threshold, c.v_reset, soft, before)
                else:
                    load(v0, left, before)
                if s % ticks == 0:
                    clear(before, n, fresh, c.v_leak)
            z = part(grad_out, s // span * size + left, m)
            charge = part(grad_drive, s // hold * size + left, m)
            # The last tick of a held row comes first, and writes its gradient.
            inputs = (z, weight, gv, gi, ga, ends[3], x, slope, learned, c, soft)
            if s % hold == hold - 1:
                tick_back(None, *inputs, charge, before, current, gdecay)
            else:
                tick_back(True, *inputs, charge, before, current, gdecay)
            # Nothing flows back beyond the beginning of an episode.
            if s % ticks == 0:
                clear(gv, n, fresh, np.float32(0.0))
                clear(gi, n, fresh, np.float32(0.0))
                clear(ga, n, fresh, np.float32(0.0))
        store(starts[0], left, gv)
        store(starts[1], left, gi)
        store(starts[2], left, ga)
    return gdecay
