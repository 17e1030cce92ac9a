"""The readout that does not spike: a leaky integrator of its input.      dt and τ in ms.

    y ← κ y + (1 - κ) drive,   κ = e^{-dt/τ_out}

Bellec et al. 2020, methods, "output": τ_out 20 ms, 2 ms on Atari. The output of a tick is the
membrane itself.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.neurons import Neuron, checked, exp


class LeakyIntegratorState(NamedTuple):
    v: Tensor
    """[B, N] membrane potential."""


class Constants(NamedTuple):
    """The time constant."""

    tau_out: float = 20.0
    """ms."""


@checked(tau_out="positive")
class LeakyIntegrator(Constants, Neuron):
    """A leaky membrane without a threshold."""

    spikes = False

    def init(self, batch: int, n: int, device: torch.device | None = None) -> LeakyIntegratorState:
        v = torch.zeros(batch, n, device=device)
        return LeakyIntegratorState(v)

    def step(
        self, s: LeakyIntegratorState, drive: Tensor, dt: float = 1.0
    ) -> tuple[Tensor, LeakyIntegratorState]:
        """(membrane [B, N], state): no spikes."""
        keep = exp(-dt / self.tau_out)
        charge = (1.0 - keep) * drive
        v = keep * s.v + charge
        return v, LeakyIntegratorState(v)


NEURON = LeakyIntegrator
