"""The LIF time loop fused for the CPU with Numba: one pass over memory forward, one backward."""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from torch import Tensor

from bio_rl.neurons.lif import LIF

_SURROGATE_IDS = {"atan": 0, "fast_sigmoid": 1, "rectangle": 2}


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _clear(v, reset_t, value):
    """Set the rows of v [B, N] where reset_t [B] is set."""
    for b in range(len(reset_t)):
        if reset_t[b]:
            v[b, :] = value


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _tick(drive, v, spikes, charged, decay, gain, threshold, leak, v_reset, soft):
    """One tick of M = B·N neurons; all arrays [M], so that the loop vectorises. v is advanced in place."""
    for m in range(len(v)):
        h = leak + decay * (v[m] - leak) + gain * drive[m]
        fired = h >= threshold
        charged[m] = h
        spikes[m] = np.float32(1.0) if fired else np.float32(0.0)
        after = h - threshold if soft else v_reset
        v[m] = after if fired else h


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _forward(drive, v, reset, ticks, hold, decay, gain, threshold, leak, v_reset, soft, spikes, charged):
    """drive [D, M], v [B, N], reset [T, B]; `charged` [S, M] is the membrane before its reset, kept for the backward."""
    flat = v.reshape(-1)
    for s in range(len(charged)):
        if s % ticks == 0:
            _clear(v, reset[s // ticks], leak)
        _tick(drive[s // hold], flat, spikes[s], charged[s], decay, gain, threshold, leak, v_reset, soft)


@numba.njit(cache=True, nogil=True, error_model="numpy")
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _tick_back(grad_spikes, grad_v, charged, derivative, decay, gain, threshold, soft, grad_drive):
    """One tick backwards, all arrays [M]: grad_v becomes the gradient of the membrane before this tick."""
    zero = np.float32(0.0)
    for m in range(len(grad_v)):
        through = grad_v[m] if (soft or charged[m] < threshold) else zero
        dh = grad_spikes[m] * derivative[m] + through
        grad_drive[m] += gain * dh
        grad_v[m] = decay * dh


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _backward(grad_spikes, grad_v, charged, reset, ticks, hold, decay, gain, threshold, soft, kind, slope, grad_drive):
    """grad_v [B, N] enters as the final state's gradient and leaves as the initial one's; grad_drive [D, M] starts at 0."""
    flat = grad_v.reshape(-1)
    derivative = np.empty_like(flat)
    for s in range(len(charged) - 1, -1, -1):
        _derivative(charged[s], threshold, kind, slope, derivative)
        _tick_back(grad_spikes[s], flat, charged[s], derivative, decay, gain, threshold, soft, grad_drive[s // hold])
        if s % ticks == 0:
            _clear(grad_v, reset[s // ticks], np.float32(0.0))


class LIFUnroll(torch.autograd.Function):
    """See `kernels.lif.lif_unroll`."""

    @staticmethod
    def forward(ctx, drive: Tensor, v: Tensor, reset: Tensor, p: LIF, ticks: int, hold: int, dt: float):  # type: ignore[override]
        decay = math.exp(-dt / p.tau_mem)
        drive, reset = drive.contiguous(), reset.contiguous()
        shape = (drive.shape[0] * hold, *drive.shape[1:])
        charged, spikes, v = torch.empty(shape), torch.empty(shape), v.clone()
        ctx.constants = (ticks, hold, np.float32(decay), np.float32(1.0 - decay), np.float32(p.v_threshold))
        ctx.soft, ctx.kind, ctx.slope = p.v_reset is None, _SURROGATE_IDS[p.surrogate], np.float32(p.slope)
        ctx.save_for_backward(charged, reset)
        _forward(
            drive.detach().flatten(1).numpy(), v.detach().numpy(), reset.numpy(), *ctx.constants,
            np.float32(p.v_leak), np.float32(p.v_reset or 0.0), ctx.soft, spikes.flatten(1).numpy(), charged.flatten(1).numpy(),
        )  # fmt: skip
        return spikes, v

    @staticmethod
    def backward(ctx, grad_spikes: Tensor, grad_v: Tensor):  # type: ignore[override]
        charged, reset = ctx.saved_tensors
        hold = ctx.constants[1]
        grad_drive = torch.zeros(charged.shape[0] // hold, *charged.shape[1:])
        grad_v = grad_v.clone()
        _backward(
            grad_spikes.contiguous().flatten(1).numpy(), grad_v.numpy(), charged.flatten(1).numpy(), reset.numpy(),
            *ctx.constants, ctx.soft, ctx.kind, ctx.slope, grad_drive.flatten(1).numpy(),
        )  # fmt: skip
        return grad_drive, grad_v, None, None, None, None, None
