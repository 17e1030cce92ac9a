"""The time loop as two Triton kernels, one forwards and one backwards, the state in registers.

A program runs BLOCK neurons through all ticks; neurons never meet, so M = B·N of them lie side by
side, and tick s of a tensor [S, M] begins at s · M. How many ticks there are is an argument, not a
constant of the compiled kernel. A branch on a constant in capitals is taken when the kernel is
compiled: variables of the other branch do not exist.
"""

from __future__ import annotations

import triton
import triton.language as tl

from bio_rl.kernels.triton.surrogates import derivative

_LARGEST = tl.constexpr(65504.0)
_SMALLEST = tl.constexpr(2.0**-24)
"""The limits of float16, the narrowest x: a rounded x must be neither -∞, which says held, nor zero
where it was negative.
"""

_RUNTIME = ["n", "batch", "decisions", "ticks", "hold"]
"""Arguments of which no value compiles a kernel of its own."""


@triton.jit(do_not_specialize=_RUNTIME)
def forward(
    drive_ptr,
    v_ptr,
    i_ptr,
    a_ptr,
    r_ptr,
    decay_ptr,
    reset_ptr,
    out_ptr,
    x_ptr,
    v_end_ptr,
    i_end_ptr,
    a_end_ptr,
    r_end_ptr,
    size,
    n,
    batch,
    decisions,
    ticks,
    hold,
    decay,
    gain,
    v_threshold,
    v_leak,
    v_reset,
    decay_synapse,
    decay_adaptation,
    adaptation,
    refractory,
    dt,
    keep,
    HAS_I: tl.constexpr,
    HAS_A: tl.constexpr,
    HAS_R: tl.constexpr,
    LEARN: tl.constexpr,
    SOFT: tl.constexpr,
    HOLDS: tl.constexpr,
    READOUT: tl.constexpr,
    HALF: tl.constexpr,
    SAVE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """All ticks of BLOCK neurons. drive [D, M]; v, i, a, r [M]; decay [N]; reset [T, B]; out [O,
    M], x [S, M] are written.
    """
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = m < size
    row = m // n
    stride = tl.cast(size, tl.int64)
    steps = decisions * ticks
    v = tl.load(v_ptr + m, mask=inside, other=0.0)
    if HAS_I:
        i = tl.load(i_ptr + m, mask=inside, other=0.0)
    if HAS_A:
        a = tl.load(a_ptr + m, mask=inside, other=0.0)
    if HAS_R:
        r = tl.load(r_ptr + m, mask=inside, other=0.0)
    if LEARN:
        decay = tl.load(decay_ptr + m % n, mask=inside, other=0.0)
        gain = 1.0 - decay
    # A row of the drive is fetched while the one before is worked on.
    next_drive = tl.load(drive_ptr + m, mask=inside, other=0.0)
    for t in range(decisions):
        # Neurons of rows whose episode begins are at rest.
        fresh = tl.load(reset_ptr + t * batch + row, mask=inside, other=0) != 0
        v = tl.where(fresh, v_leak, v)
        if HAS_I:
            i = tl.where(fresh, 0.0, i)
        if HAS_A:
            a = tl.where(fresh, 0.0, a)
        if HAS_R:
            r = tl.where(fresh, 0.0, r)
        if READOUT:
            y = tl.zeros([BLOCK], tl.float32)
        for k in range(ticks):
            s = t * ticks + k
            following = tl.minimum(s + 1, steps - 1)
            if HOLDS:
                following = following // hold
            current = next_drive.to(tl.float32)
            next_drive = tl.load(drive_ptr + following * stride + m, mask=inside, other=0.0)
            if HAS_I:
                current = decay_synapse * i + current
                i = current
            h = v_leak + decay * (v - v_leak) + gain * current
            x = h - v_threshold
            if HAS_A:
                x = x - adaptation * a
            if HALF:
                # What is kept of x must neither overflow to -∞ nor round to zero.
                x = tl.where(x < 0.0, tl.minimum(tl.maximum(x, -_LARGEST), -_SMALLEST), x)
            if HAS_R:
                # A neuron that cannot spike yet keeps its membrane, and x says so.
                held = r > 0.5 * dt
                h = tl.where(held, v, h)
                x = tl.where(held, -float("inf"), x)
            fired = x >= 0.0
            z = tl.where(fired, 1.0, 0.0)
            if SOFT:
                v = tl.where(fired, h - v_threshold, h)
            else:
                v = tl.where(fired, v_reset, h)
            if HAS_A:
                a = decay_adaptation * a + z
            if HAS_R:
                r = tl.where(fired, refractory, tl.maximum(r - dt, 0.0))
            if SAVE:
                tl.store(x_ptr + s * stride + m, x, mask=inside)
            # With a readout a decision has one row of output, else every tick.
            if READOUT:
                y = keep * y + z
            else:
                tl.store(out_ptr + s * stride + m, z, mask=inside)
        if READOUT:
            tl.store(out_ptr + t * stride + m, y, mask=inside)
    tl.store(v_end_ptr + m, v, mask=inside)
    if HAS_I:
        tl.store(i_end_ptr + m, i, mask=inside)
    if HAS_A:
        tl.store(a_end_ptr + m, a, mask=inside)
    if HAS_R:
        tl.store(r_end_ptr + m, r, mask=inside)


@triton.jit(do_not_specialize=_RUNTIME)
def backward(
    grad_out_ptr,
    gv_end_ptr,
    gi_end_ptr,
    ga_end_ptr,
    reset_ptr,
    x_ptr,
    drive_ptr,
    v_ptr,
    decay_ptr,
    grad_drive_ptr,
    gv_ptr,
    gi_ptr,
    ga_ptr,
    grad_decay_ptr,
    size,
    n,
    batch,
    decisions,
    ticks,
    hold,
    keep,
    slope,
    decay,
    gain,
    v_threshold,
    v_leak,
    v_reset,
    decay_synapse,
    decay_adaptation,
    adaptation,
    HAS_I: tl.constexpr,
    HAS_A: tl.constexpr,
    HAS_R: tl.constexpr,
    LEARN: tl.constexpr,
    SOFT: tl.constexpr,
    HOLDS: tl.constexpr,
    READOUT: tl.constexpr,
    SURROGATE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """All ticks of BLOCK neurons, backwards. gv, gi, ga [M]: gradients of the final state go in, of
    the initial one come out.

    grad_out [O, M], x [S, M]; grad_drive [D, M] is written. LEARN: also grad_decay [M], from drive
    [D, M] and v [M] as given.
    """
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = m < size
    row = m // n
    stride = tl.cast(size, tl.int64)
    steps = decisions * ticks
    gv = tl.load(gv_end_ptr + m, mask=inside, other=0.0)
    if HAS_I:
        gi = tl.load(gi_end_ptr + m, mask=inside, other=0.0)
    if HAS_A:
        ga = tl.load(ga_end_ptr + m, mask=inside, other=0.0)
    if LEARN:
        decay = tl.load(decay_ptr + m % n, mask=inside, other=0.0)
        gain = 1.0 - decay
        v_first = tl.load(v_ptr + m, mask=inside, other=0.0)
        grad_decay = tl.zeros([BLOCK], tl.float32)
    if HOLDS:
        charges = tl.zeros([BLOCK], tl.float32)
    # x and dz of the earlier tick are fetched while those of this one are worked on.
    x_earlier = tl.load(x_ptr + (steps - 1) * stride + m, mask=inside, other=0.0)
    if not READOUT:
        dz_earlier = tl.load(grad_out_ptr + (steps - 1) * stride + m, mask=inside, other=0.0)
    for u in range(decisions):
        t = decisions - 1 - u
        fresh = tl.load(reset_ptr + t * batch + row, mask=inside, other=0) != 0
        if READOUT:
            dy = tl.load(grad_out_ptr + t * stride + m, mask=inside, other=0.0).to(tl.float32)
        for q in range(ticks):
            s = t * ticks + (ticks - 1 - q)
            earlier = tl.maximum(s - 1, 0)
            x = x_earlier.to(tl.float32)
            x_earlier = tl.load(x_ptr + earlier * stride + m, mask=inside, other=0.0)
            # With a readout the ticks of a decision share one gradient, faded by the ticks after.
            if READOUT:
                dz = dy
                dy = keep * dy
            else:
                dz = dz_earlier.to(tl.float32)
                dz_earlier = tl.load(grad_out_ptr + earlier * stride + m, mask=inside, other=0.0)
            if HAS_A:
                dz = dz + ga
            dx = dz * derivative(x, slope, SURROGATE)
            # A hard reset cuts the gradient of the membrane where there was a spike.
            through = gv
            if not SOFT:
                through = tl.where(x >= 0.0, 0.0, gv)
            dh = dx + through
            if HAS_A:
                ga = decay_adaptation * ga - adaptation * dx
            gv = decay * dh
            charge = gain * dh
            if HAS_R:
                held = x == -float("inf")
                gv = tl.where(held, through, gv)
                charge = tl.where(held, 0.0, charge)
            if HAS_I:
                charge = charge + gi
                gi = decay_synapse * charge
            at = s
            if HOLDS:
                at = s // hold
            if LEARN:
                # The membrane before this tick: after the reset of the earlier one, if there was.
                last = x_earlier.to(tl.float32)
                before = last + v_threshold
                if SOFT:
                    before = tl.where(last >= 0.0, last, before)
                else:
                    before = tl.where(last >= 0.0, v_reset, before)
                before = tl.where(s > 0, before, v_first)
                before = tl.where(fresh & (q == ticks - 1), v_leak, before)
                drive = tl.load(drive_ptr + at * stride + m, mask=inside, other=0.0).to(tl.float32)
                grad_decay = grad_decay + dh * (before - v_leak - drive)
            if HOLDS:
                # A row of the drive gets the sum over the ticks that it is held for.
                charges = charges + charge
                if s % hold == 0:
                    tl.store(grad_drive_ptr + at * stride + m, charges, mask=inside)
                charges = tl.where(s % hold == 0, 0.0, charges)
            else:
                tl.store(grad_drive_ptr + at * stride + m, charge, mask=inside)
        # Nothing flows back beyond the beginning of an episode.
        gv = tl.where(fresh, 0.0, gv)
        if HAS_I:
            gi = tl.where(fresh, 0.0, gi)
        if HAS_A:
            ga = tl.where(fresh, 0.0, ga)
    tl.store(gv_ptr + m, gv, mask=inside)
    if HAS_I:
        tl.store(gi_ptr + m, gi, mask=inside)
    if HAS_A:
        tl.store(ga_ptr + m, ga, mask=inside)
    if LEARN:
        tl.store(grad_decay_ptr + m, grad_decay, mask=inside)
