"""The ticks of recurrent adaptive neurons for the CPU with Numba: see `kernels.lsnn`.

The equations are those of `numba.tick`, for neurons whose membranes go on while they cannot spike.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bio_rl.kernels.lsnn import Decision, Ticks
from bio_rl.kernels.numba.compile import fast_loop
from bio_rl.kernels.numba.tick import adapted, charged, waited
from bio_rl.neurons.alif import ALIFState


def run(d: Decision) -> Ticks:
    """See `kernels.lsnn.decision`."""
    batch, n = d.current.shape
    v, a, r, z, x = _copies(*d.s, d.z, d.x)
    spikes, over, membranes = torch.empty(3, d.ticks, batch, n).unbind()
    beta = torch.as_tensor(d.p.beta, dtype=torch.float32).expand(n)
    # [pre, post], so that the weights of a neuron that spiked lie side by side
    weights = torch.empty(0, n) if d.inside is None else d.inside.detach().T
    arrays = (d.current, weights, v, a, r, z, x, beta, spikes, over, membranes)
    _ticks(*_arrays(*arrays), _numbers(d))
    return Ticks(ALIFState(v, a, r), x, spikes, over, membranes)


def _numbers(d: Decision) -> tuple[np.float32, ...]:
    """The constants of the ticks in the order in which the loop unpacks them."""
    p = d.p
    numbers = (
        math.exp(-d.dt / p.tau_mem),
        math.exp(-d.dt / p.tau_adapt),
        d.keep,
        d.jump,
        p.v_threshold,
        p.v_leak,
        p.tau_refractory,
        d.dt,
    )
    return tuple(map(np.float32, numbers))


def _copies(*tensors: Any) -> list[Tensor]:
    """Copies that go on in place of a state's tensors."""
    # The state that came in stays as it was.
    return [t.detach().clone() for t in tensors]


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    """The same memory for the loops, where it is contiguous."""
    # A loop is compiled for one layout: a strided input would compile another one.
    contiguous = [t.detach().contiguous() for t in tensors]
    return [t.numpy() for t in contiguous]


@fast_loop
def _ticks(current, inside, v, a, r, z, x, beta, spikes, over, membranes, numbers):
    """Neurons v, a, r, z, x [B, N] go on in place; inside [pre, post], empty where neurons do not
    meet.
    """
    alpha, rho, keep, jump, threshold, leak, refractory, dt = numbers
    ticks, batch, n = spikes.shape
    drive = np.empty(n, np.float32)
    one = np.float32(1.0)
    zero = np.float32(0.0)
    gain = one - alpha
    half = np.float32(0.5) * dt
    for b in range(batch):
        for k in range(ticks):
            drive[:] = current[b]
            # a product with few spikes: only the weights of neurons that spiked are added
            for i in range(len(inside)):
                if z[b, i] != zero:
                    weights = inside[i]
                    for j in range(n):
                        drive[j] += jump * weights[j]
            for j in range(n):
                h = charged(v[b, j], drive[j], alpha, gain, leak)
                if r[b, j] > half:
                    spike = zero
                    distance = np.float32(-np.inf)
                else:
                    distance = h - threshold - beta[j] * a[b, j]
                    spike = one if distance >= zero else zero
                r[b, j] = waited(r[b, j], spike > zero, refractory, dt)
                v[b, j] = h - spike * threshold
                a[b, j] = adapted(a[b, j], spike, rho)
                x[b, j] = keep * x[b, j] + spike
                z[b, j] = spike
                spikes[k, b, j] = spike
                over[k, b, j] = distance
                membranes[k, b, j] = v[b, j]
