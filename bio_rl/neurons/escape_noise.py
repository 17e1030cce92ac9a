"""A stochastic neuron: leaky integration, and spikes by an escape rate that grows exponentially
towards the threshold.

    ρ(v) = ρ_θ exp((v - v_threshold) / Δ)        P(spike in dt) = 1 - exp(-ρ(v) dt)
        v ← v_reset after a spike

dt and τ in ms, ρ in spikes per ms; v and drive in units of the threshold. Gerstner et al., Neuronal
Dynamics (2014), §9.1; the neuron of TD-LTP (Frémaux, Sprekeler & Gerstner 2013). The draws are a
pure function of a key in the state; the gradient is that of the spike probability.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl import seeding
from bio_rl.neurons import Neuron, Traced, after_spike, checked, exp, resting
from bio_rl.parts import Cost


class EscapeState(NamedTuple):
    v: Tensor
    """[B, N] membrane potential after the last tick's reset."""
    key: Tensor
    """[B] noise key of the next tick; a reset does not touch it."""


class Constants(NamedTuple):
    """Those of a lif, and the noise."""

    tau_mem: float = 20.0
    """ms, membrane time constant."""
    v_threshold: float = 1.0
    v_leak: float = 0.0
    v_reset: float | None = 0.0
    """Potential after a spike; None subtracts the threshold instead (soft reset)."""
    rate_threshold: float = 0.1
    """ρ_θ, spikes per ms of a membrane at the threshold."""
    delta: float = 0.2
    """Δ, width of the noisy threshold; towards 0 the neuron becomes a LIF."""
    seed: int = 0
    """Seed of the noise keys; a layer of its own takes a seed of its own."""
    detach_reset: bool = True
    """Let the reset pass no gradient."""


@checked(tau_mem="positive", v_threshold="positive", rate_threshold="positive", delta="positive")
class EscapeNoise(Constants, Neuron):
    """A leaky membrane that spikes at random, the more the nearer it is to the threshold."""

    noisy = True

    def init(self, batch: int, n: int, device: torch.device | None = None) -> EscapeState:
        v = resting(self.v_leak, batch, n, device)
        key = seeding.keys(self.seed, batch, device)
        return EscapeState(v, key)

    def probability(self, v: Tensor, dt: float = 1.0) -> Tensor:
        """The probability of a spike within dt at the potential v; an expm1 keeps it exact where it
        is small.
        """
        above = (v - self.v_threshold) / self.delta
        # at twenty widths a spike is certain in any tick, and e^x would soon leave the numbers
        rate = self.rate_threshold * above.clamp(max=20.0).exp()
        return -torch.expm1(-rate * dt)

    def step(self, s: EscapeState, drive: Tensor, dt: float = 1.0) -> tuple[Tensor, EscapeState]:
        traced = self.traced_step(s, drive, dt)
        return traced.spikes, traced.state

    def traced_step(self, s: EscapeState, drive: Tensor, dt: float = 1.0) -> Traced:
        """A tick with the probability of each spike."""
        decay = exp(-dt / self.tau_mem)
        above_rest = s.v - self.v_leak
        charge = (1.0 - decay) * drive
        v = self.v_leak + decay * above_rest + charge
        p = self.probability(v, dt)
        drawn = (seeding.uniform(s.key, v.shape[-1]) < p).to(v.dtype)
        z = drawn + (p - p.detach())  # the value drawn, the derivative of its mean
        v = after_spike(v, z, self.v_threshold, self.v_reset, self.detach_reset)
        return Traced(z, EscapeState(v, seeding.advance(s.key)), p=p.detach())

    def cost(self) -> Cost:
        """The probability of a spike is two exponentials, and a random number meets it."""
        return Cost(adds=1.0, macs=3.0, functions=3.0)


NEURON = EscapeNoise
