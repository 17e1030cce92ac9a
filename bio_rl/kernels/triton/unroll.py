"""The time loop of `neurons.Core` fused for GPUs with Triton: one kernel forward, one backward, the
state in registers.

A program runs BLOCK neurons through all ticks; neurons never meet, so M = B·N of them lie side by
side. Row d of the drive is held for `hold` ticks; with a readout (span = ticks) row t of the output
sums the spikes of decision t, a tick keeping `keep` of the sum so far, else it is the spikes
themselves. Kept for the way back is x, the membrane's distance from the threshold before the reset,
and -∞ where a neuron was held: the rest follows from it. Drive, output and x have the dtype of the
drive, float32 or half precision; the state is float32. How many ticks there are is an argument, not
a constant of the compiled kernel.

It runs on CUDA tensors; on CPU tensors only in Triton's interpreter (TRITON_INTERPRET=1), which is
for tests.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from bio_rl.contracts import State
from bio_rl.neurons import Core

_SURROGATES = {
    "atan": 0,
    "fast_sigmoid": 1,
    "triangle": 2,
    "rectangle": 3,
    "sigmoid": 4,
    "damped_triangle": 5,
}
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_FIELDS = ("v", "i", "a", "refractory")
"""Of a state, in the order in which the kernels take them."""
_MANY = 1 << 19
"""Neurons that fill a GPU even with eight to a thread, which then loads 16 bytes of half precision
at a time.
"""

_HALF_PI = tl.constexpr(1.5707963267948966)
_LARGEST = tl.constexpr(65504.0)
_SMALLEST = tl.constexpr(2.0**-24)
"""Of float16, the narrowest x: a rounded x must be neither -∞, which says held, nor zero where it
was negative.
"""

_RUNTIME = ["n", "batch", "decisions", "ticks", "hold"]
"""Arguments of which no value compiles a kernel of its own."""


@triton.jit
def _derivative(x, slope, SURROGATE: tl.constexpr):
    """The surrogate derivative at x; 0 at -∞."""
    if SURROGATE == 0:
        y = _HALF_PI * slope * x
        d = 0.5 * slope / (1.0 + y * y)
    elif SURROGATE == 1:
        y = 1.0 + slope * tl.abs(x)
        d = 1.0 / (y * y)
    elif SURROGATE == 2:
        d = slope * tl.maximum(1.0 - slope * tl.abs(x), 0.0)
    elif SURROGATE == 3:
        d = tl.where(slope * tl.abs(x) < 0.5, slope, 0.0)
    elif SURROGATE == 5:
        d = 0.3 * slope * tl.maximum(1.0 - slope * tl.abs(x), 0.0)
    else:
        e = tl.exp(-slope * tl.abs(x))
        d = slope * e / ((1.0 + e) * (1.0 + e))
    return d


@triton.jit(do_not_specialize=_RUNTIME)
def _forward(
    drive_ptr, v_ptr, i_ptr, a_ptr, r_ptr, decay_ptr, reset_ptr, out_ptr, x_ptr, v_end_ptr, i_end_ptr, a_end_ptr, r_end_ptr,
    size, n, batch, decisions, ticks, hold,
    decay, gain, v_threshold, v_leak, v_reset, decay_synapse, decay_adaptation, adaptation, refractory, dt, keep,
    HAS_I: tl.constexpr, HAS_A: tl.constexpr, HAS_R: tl.constexpr, LEARN: tl.constexpr, SOFT: tl.constexpr,
    HOLDS: tl.constexpr, READOUT: tl.constexpr, HALF: tl.constexpr, SAVE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """All ticks of BLOCK neurons. drive [D, M]; v, i, a, r [M]; decay [N]; reset [T, B]; out [O,
    M], x [S, M] are written.
    """
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here, row = m < size, m // n
    stride, steps = tl.cast(size, tl.int64), decisions * ticks
    v = tl.load(v_ptr + m, mask=here, other=0.0)
    if HAS_I:
        i = tl.load(i_ptr + m, mask=here, other=0.0)
    if HAS_A:
        a = tl.load(a_ptr + m, mask=here, other=0.0)
    if HAS_R:
        r = tl.load(r_ptr + m, mask=here, other=0.0)
    if LEARN:
        decay = tl.load(decay_ptr + m % n, mask=here, other=0.0)
        gain = 1.0 - decay
    ahead = tl.load(
        drive_ptr + m, mask=here, other=0.0
    )  # a row is fetched while the one before is worked on
    for t in range(decisions):
        fresh = tl.load(reset_ptr + t * batch + row, mask=here, other=0) != 0
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
            current = ahead.to(tl.float32)
            ahead = tl.load(drive_ptr + following * stride + m, mask=here, other=0.0)
            if HAS_I:
                current = decay_synapse * i + current
                i = current
            h = v_leak + decay * (v - v_leak) + gain * current
            x = h - v_threshold
            if HAS_A:
                x = x - adaptation * a
            if HALF:
                x = tl.where(x < 0.0, tl.minimum(tl.maximum(x, -_LARGEST), -_SMALLEST), x)
            if HAS_R:
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
                tl.store(x_ptr + s * stride + m, x, mask=here)
            if READOUT:
                y = keep * y + z
            else:
                tl.store(out_ptr + s * stride + m, z, mask=here)
        if READOUT:
            tl.store(out_ptr + t * stride + m, y, mask=here)
    tl.store(v_end_ptr + m, v, mask=here)
    if HAS_I:
        tl.store(i_end_ptr + m, i, mask=here)
    if HAS_A:
        tl.store(a_end_ptr + m, a, mask=here)
    if HAS_R:
        tl.store(r_end_ptr + m, r, mask=here)


@triton.jit(do_not_specialize=_RUNTIME)
def _backward(
    grad_out_ptr, gv_end_ptr, gi_end_ptr, ga_end_ptr, reset_ptr, x_ptr, drive_ptr, v_ptr, decay_ptr,
    grad_drive_ptr, gv_ptr, gi_ptr, ga_ptr, grad_decay_ptr,
    size, n, batch, decisions, ticks, hold,
    decay, gain, v_threshold, v_leak, v_reset, decay_synapse, decay_adaptation, adaptation, keep, slope,
    HAS_I: tl.constexpr, HAS_A: tl.constexpr, HAS_R: tl.constexpr, LEARN: tl.constexpr, SOFT: tl.constexpr,
    HOLDS: tl.constexpr, READOUT: tl.constexpr, SURROGATE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """All ticks of BLOCK neurons, backwards. gv, gi, ga [M]: gradients of the final state go in, of
    the initial one come out.

    grad_out [O, M], x [S, M]; grad_drive [D, M] is written. LEARN: also grad_decay [M], from drive
    [D, M] and v [M] as given.
    """
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here, row = m < size, m // n
    stride, steps = tl.cast(size, tl.int64), decisions * ticks
    gv = tl.load(gv_end_ptr + m, mask=here, other=0.0)
    if HAS_I:
        gi = tl.load(gi_end_ptr + m, mask=here, other=0.0)
    if HAS_A:
        ga = tl.load(ga_end_ptr + m, mask=here, other=0.0)
    if LEARN:
        decay = tl.load(decay_ptr + m % n, mask=here, other=0.0)
        gain = 1.0 - decay
        v_first = tl.load(v_ptr + m, mask=here, other=0.0)
        grad_decay = tl.zeros([BLOCK], tl.float32)
    if HOLDS:
        charges = tl.zeros([BLOCK], tl.float32)
    x_ahead = tl.load(x_ptr + (steps - 1) * stride + m, mask=here, other=0.0)
    if not READOUT:
        dz_ahead = tl.load(grad_out_ptr + (steps - 1) * stride + m, mask=here, other=0.0)
    for u in range(decisions):
        t = decisions - 1 - u
        fresh = tl.load(reset_ptr + t * batch + row, mask=here, other=0) != 0
        if READOUT:
            dy = tl.load(grad_out_ptr + t * stride + m, mask=here, other=0.0).to(tl.float32)
        for q in range(ticks):
            s = t * ticks + (ticks - 1 - q)
            earlier = tl.maximum(s - 1, 0)
            x = x_ahead.to(tl.float32)
            x_ahead = tl.load(x_ptr + earlier * stride + m, mask=here, other=0.0)
            if READOUT:
                dz = dy
                dy = keep * dy
            else:
                dz = dz_ahead.to(tl.float32)
                dz_ahead = tl.load(grad_out_ptr + earlier * stride + m, mask=here, other=0.0)
            if HAS_A:
                dz = dz + ga
            dx = dz * _derivative(x, slope, SURROGATE)
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
                last = x_ahead.to(tl.float32)
                before = last + v_threshold
                if SOFT:
                    before = tl.where(last >= 0.0, last, before)
                else:
                    before = tl.where(last >= 0.0, v_reset, before)
                before = tl.where(s > 0, before, v_first)
                before = tl.where(fresh & (q == ticks - 1), v_leak, before)
                drive = tl.load(drive_ptr + at * stride + m, mask=here, other=0.0).to(tl.float32)
                grad_decay = grad_decay + dh * (before - v_leak - drive)
            if HOLDS:
                charges = charges + charge
                if s % hold == 0:
                    tl.store(grad_drive_ptr + at * stride + m, charges, mask=here)
                charges = tl.where(s % hold == 0, 0.0, charges)
            else:
                tl.store(grad_drive_ptr + at * stride + m, charge, mask=here)
        gv = tl.where(fresh, 0.0, gv)
        if HAS_I:
            gi = tl.where(fresh, 0.0, gi)
        if HAS_A:
            ga = tl.where(fresh, 0.0, ga)
    tl.store(gv_ptr + m, gv, mask=here)
    if HAS_I:
        tl.store(gi_ptr + m, gi, mask=here)
    if HAS_A:
        tl.store(ga_ptr + m, ga, mask=here)
    if LEARN:
        tl.store(grad_decay_ptr + m, grad_decay, mask=here)


_INTERPRETED = not isinstance(_forward, triton.JITFunction)


class _Loop(NamedTuple):
    """How the ticks of a call hang together."""

    ticks: int
    hold: int
    span: int
    keep: float
    dt: float


def run(
    core: Core,
    state: State,
    drive: Tensor,
    reset: Tensor,
    ticks: int,
    hold: int,
    span: int,
    keep: float,
    dt: float,
) -> tuple[Tensor, Any]:
    """See `kernels.unroll.unroll`; the output is not yet divided by the sum of the readout's
    weights. span is 1 or `ticks`.

    Raises ValueError for a device or dtype that the kernels do not run on.
    """
    given = [getattr(state, name, ()) for name in _FIELDS]
    tensors = [x.float() if isinstance(x, Tensor) else None for x in given]
    decay = core.decay if isinstance(core.decay, Tensor) else None
    _check(drive)
    if decay is not None:
        core, decay = (
            core._replace(decay=0.0),
            decay.to(drive.device, torch.float32).expand(drive.shape[2]),
        )
    out, *after = _Unroll.apply(
        drive, *tensors, decay, reset, core, _Loop(ticks, hold, span, keep, dt)
    )  # type: ignore[misc]
    return out, state._replace(
        **{name: x for name, x in zip(_FIELDS, after, strict=True) if x is not None}
    )


def _check(drive: Tensor) -> None:
    if drive.device.type == "cpu" and not _INTERPRETED:
        raise ValueError(
            "backend 'triton' needs a CUDA device, or TRITON_INTERPRET=1 set before its first use for Triton's slow "
            "interpreter; the drive is on the CPU, for which there are: torch, numba"
        )
    if drive.dtype not in _DTYPES:
        raise ValueError(
            f"backend 'triton' got a drive of {drive.dtype}; known: {', '.join(map(str, _DTYPES))}"
        )


class _Unroll(torch.autograd.Function):
    """drive [D, B, N]; v, i, a, r [B, N] or None; decay [N], or None where it is the core's number."""

    @staticmethod
    def forward(ctx, drive, v, i, a, r, decay, reset, core: Core, loop: _Loop):  # type: ignore[override]
        drive, reset = drive.contiguous(), reset.to(torch.uint8).contiguous()
        state = [None if s is None else s.contiguous() for s in (v, i, a, r)]
        decay = None if decay is None else decay.contiguous()
        steps, shape, save = drive.shape[0] * loop.hold, drive.shape[1:], any(ctx.needs_input_grad)
        xs = drive.new_empty(steps, *shape) if save else None
        out = drive.new_empty(steps // loop.span, *shape)
        after = [None if s is None else torch.empty_like(s) for s in state]
        grid, sizes, flags = _plan(reset, shape, state, decay, core, loop)
        launch: Any = _forward[grid]
        with torch.cuda.device_of(drive):
            launch(
                drive, *state, decay, reset, out, xs, *after, *sizes, **_numbers(core, loop), refractory=float(core.refractory),
                dt=float(loop.dt), HALF=drive.dtype != torch.float32, SAVE=save, **flags,
            )  # fmt: skip
        ctx.save_for_backward(
            xs, reset, *((None,) * 3 if decay is None else (drive, state[0], decay))
        )
        ctx.plan = (core, loop, drive.shape, (grid, sizes, flags))
        ctx.set_materialize_grads(False)
        if r is not None:
            ctx.mark_non_differentiable(after[3])
        return out, *after

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_out, grad_v, grad_i, grad_a, _):  # type: ignore[override]
        core, loop, shape, (grid, sizes, flags) = ctx.plan
        xs, reset, drive, v, decay = ctx.saved_tensors
        steps, batch, n = xs.shape
        grad_out = (
            xs.new_zeros(steps // loop.span, batch, n)
            if grad_out is None
            else grad_out.contiguous()
        )
        present = (True, flags["HAS_I"], flags["HAS_A"])
        ends = [
            _given(g, xs[0]) if there else None
            for there, g in zip(present, (grad_v, grad_i, grad_a), strict=True)
        ]
        starts = [None if g is None else torch.empty_like(g) for g in ends]
        grad_drive = xs.new_empty(shape)
        grad_decay = None if decay is None else torch.empty_like(v)
        launch: Any = _backward[grid]
        with torch.cuda.device_of(xs):
            launch(
                grad_out, *ends, reset, xs, drive, v, decay, grad_drive, *starts, grad_decay, *sizes, **_numbers(core, loop),
                slope=float(core.slope), SURROGATE=_SURROGATES[core.surrogate], **flags,
            )  # fmt: skip
        return (
            grad_drive,
            *starts,
            None,
            None if grad_decay is None else grad_decay.sum(0),
            None,
            None,
            None,
        )


def _plan(
    reset: Tensor,
    shape: torch.Size,
    state: list[Tensor | None],
    decay: Tensor | None,
    core: Core,
    loop: _Loop,
) -> tuple[tuple[int], tuple[int, ...], dict[str, Any]]:
    """(grid, sizes, flags) of a launch: the loops' lengths, and what a kernel is compiled for."""
    decisions, (batch, n) = reset.shape[0], shape
    size = batch * n
    block = 1024 if size >= _MANY else 256
    flags = {
        "HAS_I": state[1] is not None,
        "HAS_A": state[2] is not None,
        "HAS_R": state[3] is not None,
        "LEARN": decay is not None,
        "SOFT": core.v_reset is None,
        "HOLDS": loop.hold > 1,
        "READOUT": loop.span > 1,
        "BLOCK": block,
        "num_warps": 4,
        # a fused multiply-add rounds once, the reference twice: spikes would differ
        "enable_fp_fusion": False,
    }
    return (triton.cdiv(size, block),), (size, n, batch, decisions, loop.ticks, loop.hold), flags


def _numbers(core: Core, loop: _Loop) -> dict[str, float]:
    """What both kernels take by name; floats even where an int was given, or a kernel would be
    compiled for it.
    """
    return {
        "decay": float(core.decay),
        "gain": float(core.gain),
        "v_threshold": float(core.v_threshold),
        "v_leak": float(core.v_leak),
        "v_reset": float(core.v_reset or 0.0),
        "decay_synapse": float(core.decay_synapse),
        "decay_adaptation": float(core.decay_adaptation),
        "adaptation": float(core.adaptation),
        "keep": float(loop.keep),
    }


def _given(grad: Tensor | None, like: Tensor) -> Tensor:
    """A state's gradient, float32 [B, N]; zeros for none."""
    return torch.zeros_like(like, dtype=torch.float32) if grad is None else grad.contiguous()
