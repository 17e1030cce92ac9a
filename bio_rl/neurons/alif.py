"""Adaptive leaky integrate-and-fire: every spike raises the threshold for a while.
    dt and the τ in ms.

    v' = α v + (1 - α) drive,  α = e^{-dt/τ_mem}        z = H(v' - A),  A = v_threshold + β a
        v ← v' - z v_threshold
    a ← ρ a + z,  ρ = e^{-dt/τ_adapt}

For τ_refractory after a spike there is no other, though the membrane goes on. Bellec et al. 2018
(LSNN), eq. 1-3; 2020 (e-prop), methods, with the drive in units of the threshold. The gradient
flows through the adaptation, and not through the reset.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor

from bio_rl.neurons import (
    Core,
    Neuron,
    Traced,
    after_spike,
    checked,
    exp,
    refuse_attached_reset,
    resting,
    some,
)
from bio_rl.surrogates import spike


class ALIFState(NamedTuple):
    v: Tensor
    """[B, N] membrane potential after the last tick's reset."""
    a: Tensor
    """[B, N] adaptation, a decaying count of spikes."""
    refractory: Tensor | tuple[()] = ()
    """[B, N] ms for which the neuron cannot spike yet; empty without a refractory period."""


class Constants(NamedTuple):
    """As published, but for the threshold, which is one."""

    tau_mem: float = 20.0
    """ms, membrane time constant."""
    tau_adapt: float = 200.0
    """ms, of the adaptation (200 on TIMIT, 2000 for evidence accumulation: Bellec 2020)."""
    beta: float | Tensor = 1.6
    """Rise of the threshold by one spike (1.6 to 1.8: Bellec 2020); [N] where neurons differ: 0 for
    a lif.
    """
    v_threshold: float = 1.0
    v_leak: float = 0.0
    v_reset: float | None = None
    """Potential after a spike; None subtracts v_threshold (soft reset), as published."""
    tau_refractory: float = 0.0
    """ms after a spike during which the neuron cannot spike; its membrane is not held, unlike
    lif's.
    """
    surrogate: str = "triangle"
    slope: float = 1.0
    """Slope of the surrogate derivative, per unit of membrane potential."""
    detach_reset: bool = True
    """Let the reset pass no gradient, as published."""


@checked(
    tau_mem="positive",
    tau_adapt="positive",
    v_threshold="positive",
    tau_refractory="non-negative",
    slope="positive",
)
class ALIF(Constants, Neuron):
    """A leaky membrane whose threshold adapts."""

    def init(self, batch: int, n: int, device: torch.device | None = None) -> ALIFState:
        v = resting(self.v_leak, batch, n, device)
        a = torch.zeros_like(v)
        refractory = torch.zeros_like(v) if some(self.tau_refractory) else ()
        return ALIFState(v, a, refractory)

    def step(self, s: ALIFState, drive: Tensor, dt: float = 1.0) -> tuple[Tensor, ALIFState]:
        z, s, _ = self.observed(s, drive, dt)
        return z, s

    def observed(
        self, s: ALIFState, drive: Tensor, dt: float = 1.0
    ) -> tuple[Tensor, ALIFState, Tensor]:
        """(spikes, state, x [B, N]): x is by how much the membrane exceeded the threshold A; -∞
        where it could not spike.
        """
        decay = exp(-dt / self.tau_mem)
        above_rest = s.v - self.v_leak
        charge = (1.0 - decay) * drive
        v = self.v_leak + decay * above_rest + charge
        # the adaptation before this tick's spike: a spike raises the thresholds of later ticks
        x = v - self.v_threshold - self.beta * s.a
        refractory = ()
        if some(self.tau_refractory):
            before = cast(Tensor, s.refractory)  # `init` has made it one
            # half a tick, since what is left of a period is a sum of ticks with rounding
            x = torch.where(before > 0.5 * dt, -math.inf, x)
            z = spike(x, self.surrogate, self.slope)
            left = (before - dt).clamp(min=0.0)
            refractory = torch.where(z.detach() > 0, self.tau_refractory, left)
        else:
            z = spike(x, self.surrogate, self.slope)
        v = after_spike(v, z, self.v_threshold, self.v_reset, self.detach_reset)
        a = exp(-dt / self.tau_adapt) * s.a + z
        return z, ALIFState(v, a, refractory), x

    def traced_step(self, s: ALIFState, drive: Tensor, dt: float = 1.0) -> Traced:
        """A tick with ψ, 0 where a neuron could not spike."""
        spikes, s, excess = self.observed(s, drive, dt)
        return Traced(spikes, s, psi=self.psi(excess))

    def core(self, dt: float) -> Core:
        """Raises ValueError with a refractory period, in which the fused loops would hold the
        membrane, and for a reset that carries gradient.
        """
        refuse_attached_reset("alif", self.detach_reset)
        if some(self.tau_refractory):
            raise ValueError(
                f"alif.tau_refractory is {self.tau_refractory}, "
                "but the fused loops hold refractory membranes"
            )
        decay = exp(-dt / self.tau_mem)
        return Core(
            decay=decay,
            gain=1.0 - decay,
            decay_adaptation=exp(-dt / self.tau_adapt),
            adaptation=self.beta,
            v_threshold=self.v_threshold,
            v_leak=self.v_leak,
            v_reset=self.v_reset,
            surrogate=self.surrogate,
            slope=self.slope,
        )


NEURON = ALIF
