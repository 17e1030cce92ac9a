"""Leaky integrate-and-fire.      dt and the τ in ms; v and drive in units of the threshold.

    τ_mem dv/dt = v_leak - v + drive
        v ≥ v_threshold → spike, then v ← v_reset (hard) or v ← v - v_threshold (soft)

The decay is exact for a drive that is constant over one tick. Gerstner et al., Neuronal Dynamics
(2014), §1.3.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from bio_rl.neurons import (
    Core,
    Neuron,
    after_spike,
    checked,
    exp,
    refuse_attached_reset,
    resting,
    some,
)
from bio_rl.surrogates import spike


class LIFState(NamedTuple):
    v: Tensor
    """[B, N] membrane potential after the last tick's reset."""
    refractory: Tensor | tuple[()] = ()
    """[B, N] ms for which the neuron is still held; empty without a refractory period."""


class Constants(NamedTuple):
    """Names as in NIR."""

    tau_mem: float = 2.0
    """ms, membrane time constant."""
    v_threshold: float = 1.0
    v_leak: float = 0.0
    """Resting potential."""
    v_reset: float | None = 0.0
    """Potential after a spike; None subtracts the threshold instead (soft reset)."""
    tau_refractory: float = 0.0
    """ms after a spike during which the membrane is held and cannot spike."""
    surrogate: str = "atan"
    slope: float = 2.0
    """Slope of the surrogate derivative, per unit of membrane potential."""
    detach_reset: bool = True
    """Let the reset pass no gradient (Zenke & Vogels 2021)."""


@checked(
    tau_mem="positive", v_threshold="positive", tau_refractory="non-negative", slope="positive"
)
class LIF(Constants, Neuron):
    """A leaky membrane with a threshold."""

    def init(self, batch: int, n: int, device: torch.device | None = None) -> LIFState:
        v = resting(self.v_leak, batch, n, device)
        refractory = torch.zeros_like(v) if some(self.tau_refractory) else ()
        return LIFState(v, refractory)

    def step(self, s: LIFState, drive: Tensor, dt: float = 1.0) -> tuple[Tensor, LIFState]:
        decay = exp(-dt / self.tau_mem)
        above_rest = s.v - self.v_leak
        charge = (1.0 - decay) * drive
        v = self.v_leak + decay * above_rest + charge
        refractory = ()
        if some(self.tau_refractory):
            before = cast(Tensor, s.refractory)  # `init` has made it one
            # half a tick, since what is left of a period is a sum of ticks with rounding
            held = before > 0.5 * dt
            v = torch.where(held, s.v, v)
            z = spike(v - self.v_threshold, self.surrogate, self.slope)
            z = torch.where(held, 0.0, z)
            left = (before - dt).clamp(min=0.0)
            refractory = torch.where(z.detach() > 0, self.tau_refractory, left)
        else:
            z = spike(v - self.v_threshold, self.surrogate, self.slope)
        v = after_spike(v, z, self.v_threshold, self.v_reset, self.detach_reset)
        return z, LIFState(v, refractory)

    def core(self, dt: float) -> Core:
        """Raises ValueError for a reset that carries gradient."""
        refuse_attached_reset("lif", self.detach_reset)
        decay = exp(-dt / self.tau_mem)
        return Core(
            decay=decay,
            gain=1.0 - decay,
            v_threshold=self.v_threshold,
            v_leak=self.v_leak,
            v_reset=self.v_reset,
            refractory=self.tau_refractory,
            surrogate=self.surrogate,
            slope=self.slope,
        )


NEURON = LIF
