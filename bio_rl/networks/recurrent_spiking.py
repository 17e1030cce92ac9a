"""A recurrent spiking network: every layer also hears its own spikes of the tick before. It has
memory across decisions.

The neurons' time loop cannot be fused here, since each tick needs a product: it runs in PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass

from bio_rl.connections import recurrent
from bio_rl.networks._encoder import PopulationEncoder, Populations
from bio_rl.networks._layers import Layer, RecurrentLayer
from bio_rl.networks._settings import Spikes
from bio_rl.networks._spikes import SpikingNetwork
from bio_rl.networks.spiking import stack


@dataclass(frozen=True, kw_only=True)
class Config(Spikes, Populations):
    """Settings of the recurrent spiking network."""

    memory: bool = True
    """Carry state from one decision to the next; without it the recurrence lasts for a decision."""
    dale: bool = False
    """Every neuron either excites or inhibits all others, one in five the latter (Dale's law)."""
    recurrent_gain: float = 0.5
    """Initial length of a neuron's recurrent weights."""
    critic: str = "lstm"
    """Network that values states while training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_code()

    def encoder(self, n_in: int) -> PopulationEncoder:
        return PopulationEncoder(self, n_in, self.ticks)

    def layers(self, n_in: int) -> list[Layer]:
        """Neurons of a layer all drive each other."""
        layers: list[Layer] = []
        for connection, n in zip(stack(self, self.encoder(n_in)), self.hidden, strict=True):
            within = recurrent.Connection(n, n, gain=self.recurrent_gain, dale=self.dale)
            p = self.neurons(len(layers), n)
            layers.append(RecurrentLayer(p, len(layers) + 1, connection, n, within))
        return layers


Network = SpikingNetwork
