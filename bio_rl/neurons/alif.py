"""Adaptive leaky integrate-and-fire: every spike raises the threshold for a while.      dt and the τ in ms.

    v' = α v + (1 - α) drive,  α = e^{-dt/τ_mem}        z = H(v' - A),  A = v_threshold + β a        v ← v' - z v_threshold
    a ← ρ a + z,  ρ = e^{-dt/τ_adapt}

Bellec et al. 2018 (LSNN), eq. 1-3; 2020 (e-prop), methods, with the drive in units of the threshold. The gradient flows through
the adaptation, and not through the reset.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.neurons import Core, after_spike
from bio_rl.surrogates import spike


class ALIFState(NamedTuple):
    v: Tensor
    """[B, N] membrane potential after the last tick's reset."""
    a: Tensor
    """[B, N] adaptation, a decaying count of spikes."""


class ALIF(NamedTuple):
    """Constants."""

    tau_mem: float = 20.0
    """ms, membrane time constant."""
    tau_adapt: float = 200.0
    """ms, of the adaptation (200 on TIMIT, 2000 for evidence accumulation: Bellec 2020)."""
    beta: float = 1.6
    """Rise of the threshold by one spike (1.6 to 1.8: Bellec 2020)."""
    v_threshold: float = 1.0
    v_leak: float = 0.0
    v_reset: float | None = None
    """Potential after a spike; None subtracts v_threshold (soft reset), as published."""
    surrogate: str = "triangle"
    slope: float = 1.0
    """Of the surrogate derivative, per unit of membrane potential."""

    def init(self, batch: int, n: int, device: torch.device | None = None) -> ALIFState:
        v = torch.full((batch, n), self.v_leak, device=device)
        return ALIFState(v, torch.zeros_like(v))

    def step(self, s: ALIFState, drive: Tensor, dt: float = 1.0) -> tuple[Tensor, ALIFState]:
        decay = math.exp(-dt / self.tau_mem)
        v = self.v_leak + decay * (s.v - self.v_leak) + (1.0 - decay) * drive
        z = spike(v - self.v_threshold - self.beta * s.a, self.surrogate, self.slope)
        v = after_spike(v, z, self.v_threshold, self.v_reset)
        return z, ALIFState(v, math.exp(-dt / self.tau_adapt) * s.a + z)

    def core(self, dt: float) -> Core:
        decay = math.exp(-dt / self.tau_mem)
        return Core(
            decay=decay,
            gain=1.0 - decay,
            decay_adaptation=math.exp(-dt / self.tau_adapt),
            adaptation=self.beta,
            v_threshold=self.v_threshold,
            v_leak=self.v_leak,
            v_reset=self.v_reset,
            surrogate=self.surrogate,
            slope=self.slope,
        )


NEURON = ALIF
