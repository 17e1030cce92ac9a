"""A recurrent spiking network: every layer also hears its own spikes of the tick before. It has
memory across decisions.

The neurons' time loop cannot be fused here, since each tick needs a product: it runs in PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from bio_rl.connections import recurrent
from bio_rl.networks import spiking
from bio_rl.networks._layers import RecurrentLayer


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


def layer(config: Config, depth: int, connection: nn.Module, n: int) -> RecurrentLayer:
    """Neurons that all drive each other."""
    within = recurrent.Connection(n, n, gain=config.recurrent_gain, dale=config.dale)
    return RecurrentLayer(config, depth, connection, n, within)


class Network(spiking.Network):
    """[B, n_in] features to [B, n_out]."""

    LAYER = staticmethod(layer)
