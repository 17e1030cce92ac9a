"""Leaky integrate-and-fire.      dt and tau_mem in ms; v and drive in units of the threshold.

    τ_mem dv/dt = v_leak - v + drive      v ≥ v_threshold → spike, then v ← v_reset (hard) or v ← v - v_threshold (soft)

The decay is exact for a drive that is constant over one tick. Gerstner et al., Neuronal Dynamics (2014), §1.3.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.neurons.surrogate import spike


class LIF(NamedTuple):
    """Constants; names as in NIR."""

    tau_mem: float = 2.0
    """ms, membrane time constant."""
    v_threshold: float = 1.0
    v_leak: float = 0.0
    """Resting potential."""
    v_reset: float | None = 0.0
    """Potential after a spike; None subtracts the threshold instead (soft reset)."""
    surrogate: str = "atan"
    slope: float = 2.0
    """Of the surrogate derivative, per unit of membrane potential."""


class LIFState(NamedTuple):
    v: Tensor
    """[B, N] membrane potential after the last tick's reset."""


def init(p: LIF, batch: int, n: int, device: torch.device | None = None) -> LIFState:
    """`batch` x `n` neurons at rest."""
    return LIFState(torch.full((batch, n), p.v_leak, device=device))


def step(p: LIF, s: LIFState, drive: Tensor, dt: float = 1.0) -> tuple[Tensor, LIFState]:
    """Advance one tick. drive [B, N]. Returns spikes [B, N] in {0, 1} with a surrogate gradient, and the new state.

    The reset is detached from the gradient (Zenke & Vogels 2021).
    """
    decay = math.exp(-dt / p.tau_mem)
    v = p.v_leak + decay * (s.v - p.v_leak) + (1.0 - decay) * drive
    z = spike(v - p.v_threshold, p.surrogate, p.slope)
    fired = z.detach()
    v = v - fired * p.v_threshold if p.v_reset is None else torch.where(fired.bool(), p.v_reset, v)
    return z, LIFState(v)
