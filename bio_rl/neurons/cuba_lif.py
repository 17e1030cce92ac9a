"""Current-based leaky integrate-and-fire: a first-order synapse before the membrane.
    dt and the τ in ms.

    τ_syn di/dt = -i,  i ← i + drive at a spike        τ_mem dv/dt = v_leak - v + R i,
        R = τ_mem per ms

i ← e^{-dt/τ_syn} i + drive;   v ← v_leak + e^{-dt/τ_mem} (v - v_leak) + dt i;   spike and reset as
LIF. The drive is an impulse: a steady current of x per ms is a drive of x dt. The defaults are
PopSAN's at dt = 1 (Tang et al. 2020, eq. 2-4: current decay ½, voltage decay ¾, threshold ½,
rectangular surrogate of width 1).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.neurons import Core, Neuron, after_spike, checked, exp, refuse_attached_reset, resting
from bio_rl.surrogates import spike


class CubaLIFState(NamedTuple):
    v: Tensor
    """[B, N] membrane potential after the last tick's reset."""
    i: Tensor
    """[B, N] synaptic current."""


class Constants(NamedTuple):
    """Names as in NIR."""

    tau_mem: float = -1.0 / math.log(0.75)
    """ms, membrane time constant."""
    tau_syn: float = 1.0 / math.log(2.0)
    """ms, of the synaptic current."""
    v_threshold: float = 0.5
    v_leak: float = 0.0
    v_reset: float | None = 0.0
    """Potential after a spike; None subtracts the threshold instead (soft reset)."""
    surrogate: str = "rectangle"
    slope: float = 1.0
    """Slope of the surrogate derivative, per unit of membrane potential."""
    detach_reset: bool = True
    """Let the reset pass no gradient."""


@checked(tau_mem="positive", tau_syn="positive", v_threshold="positive", slope="positive")
class CubaLIF(Constants, Neuron):
    """A leaky membrane behind a synaptic current."""

    def init(self, batch: int, n: int, device: torch.device | None = None) -> CubaLIFState:
        v = resting(self.v_leak, batch, n, device)
        i = torch.zeros_like(v)
        return CubaLIFState(v, i)

    def step(self, s: CubaLIFState, drive: Tensor, dt: float = 1.0) -> tuple[Tensor, CubaLIFState]:
        i = exp(-dt / self.tau_syn) * s.i + drive
        decay = exp(-dt / self.tau_mem)
        above_rest = s.v - self.v_leak
        # not dt/τ_mem: the current of a spike moves the membrane as far whatever its leak
        charge = dt * i
        v = self.v_leak + decay * above_rest + charge
        z = spike(v - self.v_threshold, self.surrogate, self.slope)
        v = after_spike(v, z, self.v_threshold, self.v_reset, self.detach_reset)
        return z, CubaLIFState(v, i)

    def core(self, dt: float) -> Core:
        """Raises ValueError for a reset that carries gradient."""
        refuse_attached_reset("cuba_lif", self.detach_reset)
        return Core(
            decay=exp(-dt / self.tau_mem),
            gain=dt,
            decay_synapse=exp(-dt / self.tau_syn),
            v_threshold=self.v_threshold,
            v_leak=self.v_leak,
            v_reset=self.v_reset,
            surrogate=self.surrogate,
            slope=self.slope,
        )


NEURON = CubaLIF
