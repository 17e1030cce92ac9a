"""A spiking network: population-coded input, layers of neurons, K ticks per decision, a linear
readout of averaged spikes.

Memoryless by default; with `memory` the neurons' state is carried across decisions. PopSAN's form:
Tang et al. 2020.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from bio_rl.connections import dense
from bio_rl.networks._encoder import PopulationEncoder, Populations
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
        connections = stack(self, self.encoder(n_in).size, spikes_in=self.code != "current")
        return [
            Layer(self.neurons(depth, n), depth + 1, connection, n)
            for depth, (connection, n) in enumerate(zip(connections, self.hidden, strict=True))
        ]


def stack(config: Spikes, n_in: int, *, spikes_in: bool) -> Iterator[dense.Connection]:
    """The connections of the dense layers of `config`, the first on `n_in` spikes or currents."""
    for depth, (n_pre, n_post) in enumerate(itertools.pairwise((n_in, *config.hidden))):
        graded = depth == 0 and not spikes_in
        yield dense.Connection(n_pre, n_post, gain=config.gain, graded=graded)


Network = SpikingNetwork
