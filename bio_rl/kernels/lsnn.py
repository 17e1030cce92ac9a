"""The K ticks of a decision of recurrent ALIF neurons under a current that is held.

    drive = current + jump · W z        z, v, a: neurons.alif        x ← κ x + z

A product at every tick, of a matrix with few spikes: the Numba loop adds the weights of those neurons that spiked.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.neurons.alif import ALIF, ALIFState


class Ticks(NamedTuple):
    neurons: ALIFState
    x: Tensor
    """[B, N] the leaky count of spikes after the last tick."""
    spikes: Tensor
    """[K, B, N]"""
    over: Tensor
    """[K, B, N] by how much membranes exceeded thresholds; -∞ where a neuron could not spike."""
    membranes: Tensor
    """[K, B, N] after each tick."""


def decision(
    p: ALIF, s: ALIFState, z: Tensor, x: Tensor, current: Tensor, inside: Tensor | None,
    *, jump: float, keep: float, ticks: int, dt: float, backend: str | None = None,
) -> Ticks:  # fmt: skip
    """z [B, N], spikes of the tick before; x [B, N]; current [B, N]; inside [post, pre], None where neurons do not meet.

    The torch reference runs where gradients are wanted, on a device other than the CPU, and without Numba; backend: to insist.
    """
    if backend is None:
        wanted = torch.is_grad_enabled() and (current.requires_grad or (inside is not None and inside.requires_grad))
        fused = current.is_cpu and not wanted and p.tau_refractory > 0 and p.v_reset is None
        backend = "numba" if fused and importlib.util.find_spec("numba") else "torch"
    if backend == "numba":
        module = importlib.import_module("bio_rl.kernels._numba_eprop")
        return Ticks(*module.decision(p, s, z, x, current, inside, jump, keep, ticks, dt))
    spikes, over, membranes = [], [], []
    columns = None if inside is None else jump * inside.T
    for _ in range(ticks):
        drive = current if columns is None else torch.addmm(current, z, columns)
        z, s, distance = p.observed(s, drive, dt)
        x = keep * x + z
        spikes.append(z)
        over.append(distance)
        membranes.append(s.v)
    return Ticks(s, x, torch.stack(spikes), torch.stack(over), torch.stack(membranes))
