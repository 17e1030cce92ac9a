"""The LIF time loop fused for the CPU with Numba: one pass over memory forward, one backward.

Rows are taken in blocks small enough that a block's membranes stay in the first-level cache through all ticks. Row d of the
drive is held for `hold` ticks; row o of the output sums the spikes of `span` ticks, a tick keeping `keep` of the sum so far
(span 1: the spikes themselves). S ticks, B rows, N neurons; arrays without a B axis are flat, M = B·N.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from torch import Tensor

from bio_rl.neurons.lif import LIF

_SURROGATE_IDS = {"atan": 0, "fast_sigmoid": 1, "rectangle": 2}
_BLOCK = 4096
"""Neurons per block: 16 KiB of membranes."""

_jit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_jit
def _clear(v, reset_t, value):
    """Set the rows of v [B, N] where reset_t [B] is set."""
    for b in range(len(reset_t)):
        if reset_t[b]:
            v[b, :] = value


@_jit
def _tick(drive, v, out, keep, charged, decay, gain, threshold, leak, v_reset, soft):
    """One tick of M neurons; all arrays [M], so that the loop vectorises. v is advanced in place; out ← keep·out + spikes."""
    zero, one = np.float32(0.0), np.float32(1.0)
    for m in range(len(v)):
        h = leak + decay * (v[m] - leak) + gain * drive[m]
        fired = h >= threshold
        charged[m] = h
        out[m] = keep * out[m] + (one if fired else zero)
        after = h - threshold if soft else v_reset
        v[m] = after if fired else h


@_jit
def _forward(drive, v, reset, ticks, hold, span, keep, decay, gain, threshold, leak, v_reset, soft, out, charged):
    """drive [D, M], v [B, N], reset [T, B], out [O, M]; charged [S, M] is the membrane before its reset, kept to go back."""
    batch, n = v.shape
    rows = max(1, _BLOCK // n)
    for top in range(0, batch, rows):
        block = v[top : top + rows]
        flat = block.reshape(-1)
        a, z = top * n, top * n + flat.size
        for s in range(len(charged)):
            if s % ticks == 0:
                _clear(block, reset[s // ticks, top : top + rows], leak)
            _tick(
                drive[s // hold, a:z], flat, out[s // span, a:z], np.float32(0.0) if s % span == 0 else keep, charged[s, a:z],
                decay, gain, threshold, leak, v_reset, soft,
            )  # fmt: skip


@_jit
def _derivative(charged, threshold, kind, slope, out):
    """The surrogate derivative at every neuron's charged membrane, [M] into out [M]."""
    one, half, zero = np.float32(1.0), np.float32(0.5), np.float32(0.0)
    if kind == 0:
        height, curve = half * slope, np.float32(0.5 * math.pi) * slope
        for m in range(len(out)):
            y = curve * (charged[m] - threshold)
            out[m] = height / (one + y * y)
    elif kind == 1:
        for m in range(len(out)):
            y = one + slope * abs(charged[m] - threshold)
            out[m] = one / (y * y)
    else:
        width = half / slope
        for m in range(len(out)):
            out[m] = slope if abs(charged[m] - threshold) < width else zero


@_jit
def _tick_back(grad_out, weight, grad_v, charged, derivative, decay, gain, threshold, soft, fresh, grad_drive):
    """One tick backwards, all arrays [M]: grad_v becomes the gradient of the membrane before this tick."""
    zero = np.float32(0.0)
    for m in range(len(grad_v)):
        through = grad_v[m] if (soft or charged[m] < threshold) else zero
        dh = weight * grad_out[m] * derivative[m] + through
        grad_drive[m] = (zero if fresh else grad_drive[m]) + gain * dh
        grad_v[m] = decay * dh


@_jit
def _backward(grad_out, grad_v, charged, reset, ticks, hold, span, keep, decay, gain, threshold, soft, kind, slope, grad_drive):
    """grad_v [B, N] enters as the final state's gradient and leaves as the initial one's; grad_drive [D, M] is written."""
    batch, n = grad_v.shape
    rows = max(1, _BLOCK // n)
    derivative = np.empty(min(rows, batch) * n, np.float32)
    for top in range(0, batch, rows):
        block = grad_v[top : top + rows]
        flat = block.reshape(-1)
        a, z = top * n, top * n + flat.size
        weight = np.float32(1.0)
        for s in range(len(charged) - 1, -1, -1):
            weight = np.float32(1.0) if s % span == span - 1 else weight * keep
            _derivative(charged[s, a:z], threshold, kind, slope, derivative[: flat.size])
            _tick_back(
                grad_out[s // span, a:z], weight, flat, charged[s, a:z], derivative[: flat.size],
                decay, gain, threshold, soft, s % hold == hold - 1, grad_drive[s // hold, a:z],
            )  # fmt: skip
            if s % ticks == 0:
                _clear(block, reset[s // ticks, top : top + rows], np.float32(0.0))


class LIFUnroll(torch.autograd.Function):
    """See `kernels.lif.lif_unroll`."""

    @staticmethod
    def forward(ctx, drive: Tensor, v: Tensor, reset: Tensor, p: LIF, ticks: int, hold: int, span: int, keep: float, dt: float):  # type: ignore[override]
        decay = math.exp(-dt / p.tau_mem)
        drive, reset = drive.contiguous(), reset.contiguous()
        steps, shape = drive.shape[0] * hold, drive.shape[1:]
        charged, out = torch.empty(steps, *shape), torch.zeros(steps // span, *shape)
        v = v.clone(memory_format=torch.contiguous_format)
        ctx.constants = (
            ticks,
            hold,
            span,
            np.float32(keep),
            np.float32(decay),
            np.float32(1.0 - decay),
            np.float32(p.v_threshold),
        )
        ctx.soft, ctx.kind, ctx.slope = p.v_reset is None, _SURROGATE_IDS[p.surrogate], np.float32(p.slope)
        ctx.save_for_backward(charged, reset)
        ctx.set_materialize_grads(False)
        _forward(
            drive.detach().flatten(1).numpy(), v.detach().numpy(), reset.numpy(), *ctx.constants,
            np.float32(p.v_leak), np.float32(p.v_reset or 0.0), ctx.soft, out.flatten(1).numpy(), charged.flatten(1).numpy(),
        )  # fmt: skip
        return out, v

    @staticmethod
    def backward(ctx, grad_out: Tensor | None, grad_v: Tensor | None):  # type: ignore[override]
        charged, reset = ctx.saved_tensors
        hold, span, shape = ctx.constants[1], ctx.constants[2], charged.shape[1:]
        grad_drive = torch.empty(charged.shape[0] // hold, *shape)
        grad_out = torch.zeros(charged.shape[0] // span, *shape) if grad_out is None else grad_out.contiguous()
        grad_v = torch.zeros(shape) if grad_v is None else grad_v.clone(memory_format=torch.contiguous_format)
        _backward(
            grad_out.flatten(1).numpy(), grad_v.numpy(), charged.flatten(1).numpy(), reset.numpy(),
            *ctx.constants, ctx.soft, ctx.kind, ctx.slope, grad_drive.flatten(1).numpy(),
        )  # fmt: skip
        return grad_drive, grad_v, None, None, None, None, None, None, None
