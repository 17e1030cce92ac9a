"""A spiking network: population-coded input, layers of neurons, K ticks per decision, a linear
readout of averaged spikes.

Memoryless by default; with `memory` the neurons' state is carried across decisions. PopSAN's form:
Tang et al. 2020.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bio_rl.connections import BaseConnection
from bio_rl.networks._encoder import Encoder, PopulationEncoder, Populations
from bio_rl.networks._layers import Layer
from bio_rl.networks._settings import Spikes
from bio_rl.networks._spikes import SpikingNetwork


@dataclass(frozen=True, kw_only=True)
class Config(Spikes, Populations):
    """Settings of the spiking network."""

    critic: str = "mlp"
    """Network that values states while training; `spiking` for one like this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_code()

    def encoder(self, n_in: int) -> PopulationEncoder:
        return PopulationEncoder(self, n_in, self.ticks)

    def layers(self, n_in: int) -> list[Layer]:
        layers: list[Layer] = []
        for connection, n in zip(stack(self, self.encoder(n_in)), self.hidden, strict=True):
            p = self.neurons(len(layers), n)
            layers.append(Layer(p, len(layers) + 1, connection, n))
        return layers


def stack(config: Spikes, encoder: Encoder) -> Iterator[BaseConnection]:
    """The connections onto the layers of `config`, the first on what the encoder gives."""
    n_pre = encoder.size
    graded = not encoder.gives_spikes
    for n_post in config.hidden:
        yield config.connect(n_pre, n_post, graded)
        n_pre = n_post
        graded = False  # all later layers read spikes


Network = SpikingNetwork
