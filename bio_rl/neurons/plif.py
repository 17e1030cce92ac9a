"""Leaky integrate-and-fire whose membrane time constant is learned.      dt and τ in ms.

    v ← v_leak + e^{-dt/τ} (v - v_leak) + (1 - e^{-dt/τ}) drive,     τ = τ_min + softplus(w),
        w learned

Spike and reset as LIF. Fang et al. 2021 (PLIF) learn 1/τ = σ(w) of the Euler step with one w a
layer; here the decay is exact in dt, so that halving dt converges, and a w for every neuron is
possible.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import softplus

from bio_rl.neurons import Core, Neuron, after_spike, checked, refuse_attached_reset, resting
from bio_rl.neurons.lif import LIFState
from bio_rl.surrogates import spike

TAU_MIN = 0.2
"""ms: a membrane that keeps less than 1 % per tick of 1 ms has no memory left to learn."""


class Constants(NamedTuple):
    """Those of a lif, with a parameter in place of its time constant."""

    w: float | Tensor = math.log(math.expm1(2.0 - TAU_MIN))
    """Learned, [] or [N]; it begins at 2 ms by default."""
    v_threshold: float = 1.0
    v_leak: float = 0.0
    v_reset: float | None = 0.0
    """Potential after a spike; None subtracts the threshold instead (soft reset)."""
    surrogate: str = "atan"
    slope: float = 2.0
    """Slope of the surrogate derivative, per unit of membrane potential."""
    detach_reset: bool = True
    """Let the reset pass no gradient."""


@checked(v_threshold="positive", slope="positive")
class PLIF(Constants, Neuron):
    """A leaky membrane whose time constant is learned."""

    learned = MappingProxyType({"w": "tau_mem"})

    def init(self, batch: int, n: int, device: torch.device | None = None) -> LIFState:
        v = resting(self.v_leak, batch, n, device)
        return LIFState(v)

    def tau_mem(self) -> Tensor:
        """ms, [] or [N]."""
        w = torch.as_tensor(self.w)
        return TAU_MIN + softplus(w)

    def learning(self, tau_mem: float | None, n: int) -> Self:
        """The same with a fresh parameter per neuron, [n], that starts at `tau_mem` ms; None for
        where w is.
        """
        if tau_mem is None:
            w = torch.as_tensor(self.w).detach()
            return self._replace(w=w.expand(n).clone())
        if not tau_mem > TAU_MIN:
            raise ValueError(f"tau_mem is {tau_mem} ms, expected more than {TAU_MIN}")
        # the inverse of softplus
        w = math.log(math.expm1(tau_mem - TAU_MIN))
        return self._replace(w=torch.full((n,), w))

    def step(self, s: LIFState, drive: Tensor, dt: float = 1.0) -> tuple[Tensor, LIFState]:
        # a tensor, through which the gradient reaches w
        decay = torch.exp(-dt / self.tau_mem())
        above_rest = s.v - self.v_leak
        charge = (1.0 - decay) * drive
        v = self.v_leak + decay * above_rest + charge
        z = spike(v - self.v_threshold, self.surrogate, self.slope)
        v = after_spike(v, z, self.v_threshold, self.v_reset, self.detach_reset)
        return z, LIFState(v)

    def core(self, dt: float) -> Core:
        """Raises ValueError for a reset that carries gradient."""
        refuse_attached_reset("plif", self.detach_reset)
        return Core(
            decay=torch.exp(-dt / self.tau_mem()),
            v_threshold=self.v_threshold,
            v_leak=self.v_leak,
            v_reset=self.v_reset,
            surrogate=self.surrogate,
            slope=self.slope,
        )


NEURON = PLIF
