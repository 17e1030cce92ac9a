"""LSNN's ticks and e-prop's traces for the CPU with Numba: see `kernels.lsnn` and `kernels.eprop`."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from bio_rl.kernels.numba.compile import compiled
from bio_rl.neurons.alif import ALIF, ALIFState

_jit = compiled(nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


@_jit
def _ticks(current, inside, v, a, r, z, x, beta, spikes, over, membranes, numbers):
    """Neurons v, a, r, z, x [B, N] go on in place; inside [pre, post], empty where neurons do not
    meet.
    """
    alpha, rho, keep, jump, threshold, leak, refractory, dt = numbers
    ticks, batch, n = spikes.shape
    drive = np.empty(n, np.float32)
    one, zero, gain, half = (
        np.float32(1.0),
        np.float32(0.0),
        np.float32(1.0) - alpha,
        np.float32(0.5) * dt,
    )
    for b in range(batch):
        for k in range(ticks):
            drive[:] = current[b]
            for i in range(len(inside)):
                if z[b, i] != zero:
                    weights = inside[i]
                    for j in range(n):
                        drive[j] += jump * weights[j]
            for j in range(n):
                h = leak + alpha * (v[b, j] - leak) + gain * drive[j]
                if r[b, j] > half:
                    spike, distance = zero, np.float32(-np.inf)
                else:
                    distance = h - threshold - beta[j] * a[b, j]
                    spike = one if distance >= zero else zero
                r[b, j] = refractory if spike > zero else max(r[b, j] - dt, zero)
                v[b, j] = h - spike * threshold
                a[b, j] = rho * a[b, j] + spike
                x[b, j] = keep * x[b, j] + spike
                z[b, j] = spike
                spikes[k, b, j], over[k, b, j], membranes[k, b, j] = spike, distance, v[b, j]


@_jit
def _traces(
    eps,
    of_a,
    of_e,
    keep_a,
    keep_e,
    cross,
    keep_f,
    signal,
    beta,
    old,
    new,
    before,
    after,
    pull,
    asked,
):
    """One pass over the synapses, neuron by neuron so that its row of `asked` stays in cache;
    arguments as in `traces`.
    """
    (a0, e0, f0), (a1, e1, f1) = old, new
    batch, post, pre = e0.shape
    ticks = eps.shape[1]
    zero = np.float32(0.0)
    for j in range(post):
        adapts = beta[j] != zero
        ask = asked[j]
        for b in range(batch):
            fade, mix, was = keep_e[b], cross[b, j], before[b]
            e_old, e, f_old, f = e0[b, j], e1[b, j], f0[b, j], f1[b, j]
            for i in range(pre):
                e[i] = fade * e_old[i]
            if adapts:
                a_old, a, left = a0[b, j], a1[b, j], keep_a[b, j]
                for i in range(pre):
                    e[i] += mix * a_old[i]
                    a[i] = left * a_old[i]
                for k in range(ticks):
                    ca, ce, source = of_a[k, b, j], of_e[k, b, j], eps[b, k]
                    if ca != zero or ce != zero:
                        for i in range(pre):
                            a[i] += ca * source[i]
                            e[i] += ce * source[i]
            else:
                for k in range(ticks):
                    ce, source = of_e[k, b, j], eps[b, k]
                    if ce != zero:
                        for i in range(pre):
                            e[i] += ce * source[i]
            fade, now, then, level = keep_f[b], signal[b, j], after[b], pull[b, j]
            for i in range(pre):
                new_f = fade * f_old[i] + now * e[i]
                ask[i] += was * f_old[i] + then * new_f + level * e[i]
                f[i] = new_f


def decision(
    p: ALIF, s: ALIFState, z: Tensor, x: Tensor, current: Tensor, inside: Tensor | None,
    jump: float, keep: float, ticks: int, dt: float,
) -> tuple[ALIFState, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """See `kernels.lsnn.decision`."""
    batch, n = current.shape
    v, a, r, z, x = (t.detach().clone() for t in (*s, z, x))
    spikes, over, membranes = torch.empty(3, ticks, batch, n).unbind()
    beta = torch.as_tensor(p.beta, dtype=torch.float32).expand(n)
    weights = torch.empty(0, n) if inside is None else inside.detach().T
    numbers = tuple(
        np.float32(y)
        for y in (
            math.exp(-dt / p.tau_mem), math.exp(-dt / p.tau_adapt), keep, jump, p.v_threshold, p.v_leak, p.tau_refractory, dt
        )
    )  # fmt: skip
    arrays = (current, weights, v, a, r, z, x, beta, spikes, over, membranes)
    _ticks(*(t.detach().contiguous().numpy() for t in arrays), numbers)
    return ALIFState(v, a, r), x, spikes, over, membranes


def traces(
    eps: Tensor, of_a: Tensor, of_e: Tensor, keep_a: Tensor, keep_e: Tensor, cross: Tensor, keep_f: Tensor, signal: Tensor,
    beta: Tensor, old: tuple[Tensor, ...], new: tuple[Tensor, ...], before: Tensor, after: Tensor, pull: Tensor, asked: Tensor,
) -> None:  # fmt: skip
    """ε^a, ē and f of `old` into `new`, [B, post, pre] each, and what they ask for added to asked
    [post, pre].

    eps [B, K, pre]; of_a, of_e [K, B, post], what ε of a tick adds to ε^a and ē; keep_a, cross [B,
    post], what is left of ε^a and what it adds to ē; keep_e, keep_f, before, after [B]; signal,
    pull [B, post]; beta [post], 0 where there is no ε^a.
    """

    def array(t: Tensor) -> np.ndarray:
        return t.contiguous().numpy()

    given = (eps, of_a, of_e, keep_a, keep_e, cross, keep_f, signal, beta)
    _traces(
        *map(array, given), tuple(t.numpy() for t in old), tuple(t.numpy() for t in new),
        *map(array, (before, after, pull)), asked.numpy(),
    )  # fmt: skip
