"""A recurrent spiking network: every layer also hears its own spikes of the tick before. It has memory across decisions.

The neurons' time loop cannot be fused here, since each tick needs a product: it runs in PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.connections import recurrent
from bio_rl.kernels.unroll import leaky_average
from bio_rl.networks import spiking
from bio_rl.networks._spikes import Layer
from bio_rl.neurons import reset_rows
from bio_rl.types import Probe, State


@dataclass(frozen=True, kw_only=True)
class Config(spiking.Config):
    memory: bool = True
    """Carry state from one decision to the next; without it the recurrence lasts for a decision."""
    dale: bool = False
    """Every neuron either excites or inhibits all others, one in five the latter (Dale's law)."""
    recurrent_gain: float = 0.5
    """Initial length of a neuron's recurrent weights."""
    critic: str = "lstm"
    """Network that values states while training."""


class RecurrentState(NamedTuple):
    neurons: State
    spikes: Tensor
    """[B, N] of the last tick."""


class RecurrentLayer(Layer):
    """A layer whose neurons also drive each other."""

    def __init__(self, config: Config, depth: int, connection: torch.nn.Module, n: int) -> None:
        super().__init__(config, depth, connection, n)
        self.recurrent = recurrent.Connection(n, n, gain=config.recurrent_gain, dale=config.dale)

    def rest(self, key: Tensor) -> RecurrentState:
        return RecurrentState(super().rest(key), torch.zeros(len(key), self.n, device=key.device))

    def run(
        self,
        drive: Tensor,
        state: RecurrentState,
        reset: Tensor,
        *,
        ticks: int,
        hold: int,
        readout: float | None,
        probe: Probe | None,
    ) -> tuple[Tensor, RecurrentState, Tensor | None]:
        p, weight = self.constants(), self.recurrent.effective_weight() * self.unit
        neurons, z = state
        spikes, membranes = [], []
        for s in range(drive.shape[0] * hold):
            if s % ticks == 0:
                mask = reset[s // ticks]
                neurons, z = reset_rows(p, mask, neurons), torch.where(mask[:, None], 0.0, z)
            z, neurons = p.step(neurons, torch.addmm(drive[s // hold], z, weight.t()))
            spikes.append(z)
            membranes.append(neurons.v)
        train = torch.stack(spikes)
        if probe is not None:
            before = torch.cat([state.spikes.unsqueeze(0), train[:-1]])
            probe.synapses("recurrent", weight, before)
            return train, RecurrentState(neurons, z), torch.stack(membranes)
        return (train if readout is None else leaky_average(train, ticks, readout)), RecurrentState(neurons, z), None


class Network(spiking.Network):
    """[B, n_in] features to [B, n_out]."""

    LAYER = RecurrentLayer
