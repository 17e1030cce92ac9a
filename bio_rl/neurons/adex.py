"""Adaptive exponential integrate-and-fire.
    v in mV, currents in pA, capacitance in pF, conductances in nS, dt and τ in ms.

    C dv/dt = -g_L (v - E_L) + g_L Δ_T exp((v - V_T) / Δ_T) - w + drive
        τ_w dw/dt = a (v - E_L) - w
    v ≥ v_threshold → spike, v ← v_reset, w ← w + b

Brette & Gerstner 2005, J. Neurophysiol. 94:3637, eq. 1-3, with its constants (a bursting-free
regular spiking neuron). The leak is integrated exactly over a tick, the exponential and w as they
are at its start.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.neurons import Neuron, capped, checked, exp, resting
from bio_rl.parts import Cost
from bio_rl.surrogates import spike


class AdExState(NamedTuple):
    v: Tensor
    """[B, N] mV, membrane potential after the last tick's reset."""
    w: Tensor
    """[B, N] pA, adaptation current."""


class Constants(NamedTuple):
    """The paper's."""

    capacitance: float = 281.0
    """pF."""
    g_leak: float = 30.0
    """nS; with the capacitance a membrane time constant of 9.37 ms."""
    v_leak: float = -70.6
    """mV."""
    v_t: float = -50.4
    """mV, where the exponential takes over (V_T)."""
    delta_t: float = 2.0
    """mV, sharpness of the spike's onset (Δ_T)."""
    v_threshold: float = 20.0
    """mV, peak of a spike."""
    v_reset: float = -70.6
    """mV."""
    tau_w: float = 144.0
    """ms, of the adaptation."""
    a: float = 4.0
    """nS, subthreshold adaptation."""
    b: float = 80.5
    """pA, jump of the adaptation at a spike."""
    surrogate: str = "atan"
    slope: float = 0.1
    """Slope of the surrogate derivative, per mV."""


@checked(
    above="v_reset",
    capacitance="positive",
    g_leak="positive",
    delta_t="positive",
    tau_w="positive",
    slope="positive",
)
class AdEx(Constants, Neuron):
    """A membrane with an exponential onset of the spike, and an adaptation current."""

    unit_drive = 5000.0  # pA
    span = 90.0  # mV

    def init(self, batch: int, n: int, device: torch.device | None = None) -> AdExState:
        v = resting(self.v_leak, batch, n, device)
        w = torch.zeros_like(v)
        return AdExState(v, w)

    def step(self, s: AdExState, drive: Tensor, dt: float = 1.0) -> tuple[Tensor, AdExState]:
        """The reset of v passes no gradient."""
        # where the membrane would settle, were the exponential and w to stay as they are
        target = self.v_leak + self._onset(s.v)
        target = target + (drive - s.w) / self.g_leak
        decay = exp(-dt * self.g_leak / self.capacitance)
        v = target + decay * (s.v - target)
        v = capped(v, self.v_threshold + 1.0)  # a spike has no height

        # w as it is at the start of the tick has moved v: the two equations are advanced in turn
        followed = 1.0 - exp(-dt / self.tau_w)
        subthreshold = self.a * (s.v - self.v_leak)
        w = s.w + followed * (subthreshold - s.w)

        z = spike(v - self.v_threshold, self.surrogate, self.slope)
        fired = z.detach()
        v = torch.where(fired.bool(), self.v_reset, v)
        w = w + fired * self.b
        return z, AdExState(v, w)

    def _onset(self, v: Tensor) -> Tensor:
        """Δ_T e^{(v - V_T)/Δ_T} [B, N], mV."""
        steepness = (v - self.v_t) / self.delta_t
        # beyond ten sharpnesses v spikes within a tick anyway, and e^x would leave the numbers
        return self.delta_t * steepness.clamp(max=10.0).exp()

    def cost(self) -> Cost:
        """The onset of a spike is an exponential of a scaled potential; v and w relax."""
        return Cost(adds=4.0, macs=6.0, functions=1.0)


NEURON = AdEx
